"""The templates' instructions, held to the rules of the phrasings (test_phrasings.py), so far as they fit finished texts."""

import re
from dataclasses import replace

import pytest

from ace_model.lcu import check_placeholders
from starters.phrasings import EXPERIMENTAL, phrase
from tests.unit.test_phrasings import BRITISH, PLAIN, RULES
from tools.gallery import build
from tools.gallery.api import api_graph
from tools.gallery.descriptions.data import WORKFLOWS as DATA

TRY_ON = "Reference generation: try-on"
TASKS = {  # of every turn of a template, in order; the phrasing whose rules it must keep
    "ACE Text to image": ["Text to image: create"],
    "ACE Edit": ["Semantic editing: color"],
    "ACE Edit at full size": ["Element editing: replace object (mask)"],
    "ACE Mask from words": ["Element editing: remove object (mask)"],
    "ACE Face edit": ["Semantic editing: expression"],
    "ACE Style from a picture": ["Semantic editing: style of a picture"],
    "ACE Analysis": ["Analysis: depth"],
    "ACE Controllable generation": ["Analysis: contour", "Controllable generation: from contour"],
    "ACE Add or replace an object": ["Element editing: add object (mask)"],
    "ACE Remove an object": ["Element editing: remove object (mask)"],
    "ACE Text in pictures": ["Element editing: write text"],
    "ACE Inpaint": ["Repainting: inpainting"],
    "ACE Outpaint": ["Repainting: outpainting"],
    "ACE Detail of a large photograph": ["Element editing: replace object (mask)"],
    "ACE Fuse layers": ["Layer editing: fuse layers"],
    "ACE Reference": ["Reference generation: several references"],
    "ACE Try-on": [TRY_ON],
    "ACE Conversation": ["Semantic editing: glasses", "Semantic editing: background",
                         "Conversation: undo a part, two turns back"],
    "ACE Teach a subject": ["Text to image: create"],
    "ACE Step by step": ["Element editing: remove object (mask)"],
    "ACE Refine with FLUX": ["Element editing: replace object"],
}
FLOWS = {title: describe(title) for title, describe in build.workflows().items()}
TOYS = ("ACE Start here", "ACE Fast", "ACE Talk to your pictures", "ACE What the model sees")  # their model has its own English
SPOKEN = [title for title in FLOWS if title.startswith("ACE ") and title not in (*TOYS, *DATA)]
# Rules that hold for one of several choices, or for the names of tasks, say nothing about a finished instruction.
FINISHED = {name: replace(rule, pattern=rule.pattern.replace(r"\[what\]", r'[^"\[\]]+')) for name, rule in RULES.items()
            if not rule.some and not name.endswith("experimental")}


def turns(title: str) -> list[tuple[str, bool, int]]:
    """(instruction, is anything masked, pictures) of every turn, in order."""
    graph = api_graph(FLOWS[title])
    found = []
    for node in graph.values():
        if node["class_type"] == "ACEEditorConditionUnit":
            text = node["inputs"]["instruction"]
            if isinstance(text, list):
                given = graph[text[0]]["inputs"]
                text = phrase(given["task"], given["phrasing"], given["what"], given["how"])
            pictures = sum(re.fullmatch(r"image\d*", name) is not None for name in node["inputs"])
            found.append((text, masked(graph, node["inputs"].get("mask")), pictures))
    return found


def masked(graph: dict, mask: list | None) -> bool:
    """Is there a mask that selects a part? Load Image gives an all-black one for a picture without alpha."""
    source = graph[mask[0]] if mask else None
    return bool(source) and (source["class_type"] != "LoadImage" or source["inputs"]["image"].endswith(", masked.png"))


def plain(text: str) -> str:
    """As the phrasings are written: no capital, no stop at the end."""
    return text[:1].lower() + text[1:].rstrip(".")


def broken(text: str, task: str) -> list[str]:
    """Names of the rules that an instruction of a task breaks."""
    return [name for name, rule in FINISHED.items() if task in rule.tasks and not rule.holds(plain(text))]


SPOKEN_TURNS = [(title, number) for title in SPOKEN for number in range(len(turns(title)))]


def test_every_template_has_its_tasks():
    assert {title: len(turns(title)) for title in SPOKEN} == {title: len(tasks) for title, tasks in TASKS.items()}
    assert {task for tasks in TASKS.values() for task in tasks} <= set(PLAIN)


@pytest.mark.parametrize("title, number", SPOKEN_TURNS)
def test_instructions_keep_the_rules(title, number):
    text, is_masked, pictures = turns(title)[number]
    task = TASKS[title][number]
    assert not broken(text, task), text
    assert bool(re.search(r"\bmask\b", text)) == (is_masked and task != TRY_ON), text
    check_placeholders(text, pictures)
    for name in range(pictures):
        assert f"{{image{name or ''}}}" in text, "every picture has a name in the instruction"
    if task in EXPERIMENTAL:
        assert "xperimental" in note(title), "the note says that the weights may not know this"


@pytest.mark.parametrize("title, text, rule", [
    ("ACE Inpaint", 'Fill in the mask area of {image}: "a cat".', "a quoted caption is called one"),
    ("ACE Outpaint", "Extend {image} beyond its borders.", "the mask is called the mask"),
    ("ACE Remove an object", "Remove the object in the mask area of {image}.", "masked removal names no object"),
    ("ACE Text in pictures", "Write O P E N in the mask area of {image}.", "text to write is quoted"),
    ("ACE Controllable generation", "Create a vivid image from the contours {image}.", "a map comes with a quoted caption"),
    ("ACE Style from a picture", "Repaint {image} in the style of {image1}.", "repainting is another task"),
    ("ACE Conversation", "Take off the glasses: the face as it was in {previous2.image}.",
     "an earlier picture and this one are named"),
    ("ACE Edit", "Change the colour of {image}.", "American spelling"),
])
def test_the_rules_catch_what_they_are_for(title, text, rule):
    assert rule in broken(text, TASKS[title][-1])


def note(title: str) -> str:
    return next(node.values[0] for node in FLOWS[title].nodes if node.type == "MarkdownNote")


@pytest.mark.parametrize("title", [title for title in FLOWS if title != "ACE Start here"])
def test_notes_and_instructions_are_in_american_spelling_and_in_straight_quotes(title):
    for text in (note(title), *(value for node in api_graph(FLOWS[title]).values() for value in node["inputs"].values()
                                if isinstance(value, str))):
        assert not re.search(BRITISH, text, re.IGNORECASE), text
        assert not re.search(r"[“”„‘’«»`]", text), text
