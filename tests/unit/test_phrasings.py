"""Phrasings, held to the language of the published weights (spec/tasks.md), and example pictures."""

import re
from dataclasses import dataclass

import pytest
import torch

from ace_model.lcu import PLACEHOLDER, ConditionUnit, LongContextUnit, check_placeholders
from starters.phrasings import EXPERIMENTAL, MARK, MASKED, PHRASINGS, TASKS, PhrasingError, phrase, phrasings

PLAIN = [task.removesuffix(MARK) for task in TASKS]
SHOWN = [task for task in PLAIN if task not in EXPERIMENTAL]
WRITE = "Element editing: write text"
CAPTIONED = [task for task in PLAIN if task.startswith("Controllable generation") and not task.endswith(("deblur", "denoise"))]
SHORT = [task for task in SHOWN if task.startswith(("Analysis", "Semantic editing", "Element editing"))]
BRITISH = r"colour|grey|centre|favour|mould|moustache|draught|plough|\w+(?:[aeo]r|al|el)ise\b"


def tasks(*starts):
    return [task for task in PLAIN if task.startswith(starts)]


def others(named):
    return [task for task in PLAIN if task not in named]


@dataclass(frozen=True)
class Rule:
    """What every phrasing of the tasks (with `some`: at least one) must be like, and one that is not."""

    tasks: list[str]
    pattern: str
    wrong: str
    must: bool = True  # False: must not be like it
    some: bool = False

    def holds(self, text):
        return bool(re.search(self.pattern, text)) == self.must


RULES = {
    "the mask is called the mask": Rule(sorted(MASKED), r"\bthe mask\b", "fill the blank part of {image}: [what]"),
    "the mask has no other name": Rule(PLAIN, r"\b(region|blank|selection|selected|hole|missing|white area)\b",
                                       'write "[what]" in the marked region of {image}, per the mask', must=False),
    "no mask where none goes in, nor for try-on": Rule(others(MASKED), r"mask", "remove [what] in the mask area of {image}",
                                                       must=False),
    "masked removal names no object": Rule(["Element editing: remove object (mask)"], r"\[|object|thing\b",
                                           "remove [what] per the mask in {image}", must=False),
    "text to remove is not spelled": Rule(tasks("Element editing: remove text"), r'\[|"',
                                          'remove any text like "[what]" from {image}', must=False),
    "text to remove is any text": Rule(tasks("Element editing: remove text"), r"\bany text(ual element)?\b",
                                       "remove the letters from {image}"),
    "text to write is quoted": Rule([WRITE], r'text "\[what\]"', "write [what] in the mask area of {image}"),
    "a map comes with a quoted caption": Rule(CAPTIONED, r'"\[what\]"$', "undo the pixelation of {image}"),
    "a quoted caption is called one": Rule(others([WRITE]), r'^[^"]*$|\b(description|caption|context) "\[what\]"$',
                                           'make a picture from the edge map {image}: "[what]"'),
    "deblurring and denoising may have a caption": Rule(tasks("Controllable generation: de"), r'caption "\[what\]"',
                                                        "make {image} sharp again", some=True),
    "quotes are straight": Rule(PLAIN, r"[“”„‘’«»`']", "fill the mask with “[what]”", must=False),
    "style is changed, not painted": Rule(tasks("Semantic editing: style"), r"style", "paint {image} like {image1}"),
    "repainting is another task": Rule(others(tasks("Repainting")), r"paint", "repaint {image} in the style of {image1}",
                                       must=False),
    "contours and edges make a vivid image": Rule(
        ["Controllable generation: from contour", "Controllable generation: from edges"],
        r"create a vivid image based on .*\{image\} and the description", 'paint the outlines of {image} as "[what]"',
        some=True),
    "outlines are not drawn": Rule(PLAIN, r"outline", "draw the outlines of the objects in {image}", must=False),
    "short forms are among the choices": Rule(SHORT, r"^\{image\}( [^ ]+){1,6}$", "make a depth map of {image}", some=True),
    "American spelling": Rule(PLAIN, BRITISH, "colourise {image}", must=False),
    "segmenting one thing is experimental": Rule([t for t in SHOWN if t.startswith("Analysis")], r"\[",
                                                 "segment [what] in {image}", must=False),
    "relighting is experimental": Rule(SHOWN, r"\b(re)?light\b", "relight {image}: [what]", must=False),
    "naming an earlier picture is experimental": Rule(SHOWN, r"previous", "[what] as it was in {previous.image}", must=False),
    "splitting layers is experimental": Rule(SHOWN, r"\blayer\b|cut out", "cut out [what] from {image}", must=False),
    "an earlier picture and this one are named": Rule(tasks("Conversation"), r"^(?=.*\{image\})(?=.*\{previous2?\.image\})",
                                                      "bring back [what] as it was in {previous.image}"),
}


@pytest.mark.parametrize("name", RULES)
def test_phrasings_keep_the_rule(name):
    rule = RULES[name]
    assert rule.tasks and set(rule.tasks) <= set(PLAIN)
    for task in rule.tasks:
        broken = [text for text in phrasings(task) if not rule.holds(text)]
        assert len(broken) < len(phrasings(task)) if rule.some else not broken, (task, broken)


@pytest.mark.parametrize("name", RULES)
def test_the_rule_catches_what_it_is_for(name):
    assert not RULES[name].holds(RULES[name].wrong)


@pytest.mark.parametrize("task", TASKS)
def test_every_phrasing_can_be_filled(task):
    choices = phrasings(task)
    assert len(set(choices)) == len(choices) >= 2
    for number in range(1, len(choices) + 1):
        text = phrase(task, number, "a red ball", "blue")
        assert "[" not in text
        braces = re.findall(r"\{[^}]*\}", text)
        assert all(PLACEHOLDER.fullmatch(brace) for brace in braces)
        assert bool(braces) == (task != "Text to image: create")
        check_placeholders(text, 3)


def test_gaps_are_filled_and_only_text_to_write_is_spelled():
    replaced = phrase("Element editing: replace object", 1, " the cup ", "a glass")
    assert replaced == "replace the cup in {image} with a glass"
    for number in (1, 2, 3):
        assert '"N O E X I T"' in phrase(WRITE, number, "No exit")
    spelled = [task for task in TASKS if any("N O" in phrase(task, i + 1, "no exit", "x") for i in range(len(phrasings(task))))]
    assert spelled == [WRITE]


def test_experimental_tasks_say_so():
    assert "Layer editing: split layers, subject (experimental)" in TASKS
    assert {task.removesuffix(MARK) for task in TASKS if task.endswith(MARK)} == EXPERIMENTAL
    assert phrasings("Semantic editing: lighting (experimental)") == phrasings("Semantic editing: lighting")


@pytest.mark.parametrize("task", tasks("Conversation"))
def test_an_earlier_picture_is_the_one_that_is_said(task):
    """Each turn edits the answer before: the third turn's pictures are {image}, {image1}, {image2} of the conversation."""
    earlier = "{image}" if "two turns" in task else "{image1}"
    for number in range(1, len(phrasings(task)) + 1):
        lcu = LongContextUnit()
        for text in ("{image} a", "{image} b", phrase(task, number, "the face")):
            lcu = lcu.then(ConditionUnit(text, [torch.rand(32, 48, 3)]))
        assert set(re.findall(r"\{[^}]*\}", lcu.instructions()[-1])) == {earlier, "{image2}"}


def test_errors_say_what_there_is():
    with pytest.raises(PhrasingError, match="Analysis: depth"):
        phrase("Analysis: deepness")
    with pytest.raises(PhrasingError, match="Repainting"):
        phrase("Painting: oil")
    with pytest.raises(PhrasingError, match="has 3: choose 1 to 3"):
        phrase("Analysis: pose", 4)
    with pytest.raises(PhrasingError, match="needs what, but what is empty"):
        phrase("Element editing: remove object")


def test_all_task_types_are_there():
    assert len(PHRASINGS) >= 9 and len(TASKS) >= 40
