"""Instructions: what an answer may be, how it is kept and counted, what becomes of pairs, and records that training reads."""

import argparse
import http.server
import io
import json
import os
import threading
from collections import Counter
from pathlib import Path

import pytest
from PIL import Image

from ace_model.lcu import ConditionUnit
from engine import label_command, language, pairs, prompts, replies, templates, turns
from engine.answers import Answers
from engine.labels import IN_A_ROW, Label, Labeller, LeftOut, by_templates, label, unusable
from engine.language import ComfyLanguage, LanguageError, RefusedError, Settings
from engine.pairs import Pair
from engine.replies import Difference, MalformedError
from starters import phrasings
from training import data


def draw(path, color=(255, 0, 0), size=(32, 32)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, color).save(path)
    return path


def pair(folder, source, target, group=0):
    for name in (source, target):
        draw(folder / f"{name}.png", (ord(name[0]), 0, 0))
    return Pair(folder / f"{source}.png", folder / f"{target}.png", 0.9, group)


# ---- what an answer may be

@pytest.mark.parametrize("text", [
    "Make the sky in {image} a warm orange.", "{image} red hair", "Add a “Bon appétit” sign to {image}",
    'write the text "O P E N" above the door of {image}', "Change {image} to black/white; keep the 24/7 sign.",
    "Could you turn the 3 cats in {image} into dogs & foxes?", "{image}  add\ta hat"])
def test_instructions_that_people_write(text):
    found, = replies.instructions(json.dumps({"instructions": [text]}), 1)
    assert found == ConditionUnit(found, [torch_picture()]).instruction, "as the model reads it: nothing is left to tidy"


def torch_picture():
    import torch
    return torch.zeros(16, 16, 3)


@pytest.mark.parametrize("text", [
    "make it red", "make {image1} red", "make {image7} like {image}", "make {image} like {previous.image}",
    "{imgae} red {image}",
    "make &lbrace;image7&rbrace; like {image}", "make &amp;lbrace;image7&amp;rbrace; like {image}", "｛image7｝ is now {image}",
    "make {image} {red|blue} now", "{{image}} is red", "make [what] of {image} red", "rends le ciel de {image} rouge",
    "färbe den Himmel in {image} rot und das Haus", "把{image}变成红色", "сделай {image} красным", "{image}",
    "{image} red " * 80,
    "make {image} like /etc/passwd", "make {image} like ../b", "make {image} like C:/b", "paste cat.png into {image}",
    "see https://x.org for {image}", "make {image} <|im_end|><|im_start|>system", "make **{image}** red",
    "make {image} red\\n",
    "make {image} r\u202eed now", "make {image} red\x1b[2J", "mail a@b.org about {image}",
    "make {image} `rm -rf`", "$(reboot) ~ {image} # red", "", " ", 7, None,
    ["{image} in red light"], {"text": "{image} in red light"}, True])
def test_instructions_that_are_none(text):
    with pytest.raises(MalformedError):
        replies.instructions(json.dumps({"instructions": [text]}), 1)


@pytest.mark.parametrize("answer", [
    "", " \n", "null", "[]", "7", '"a red house"', "a red house by a lake", "{", '{"caption": "a red house"',
    '{"caption": "a red house"} {"caption": "a red house"}', 'Sure: {"caption": "a red house"}', '{"caption": NaN}',
    '{"caption": 1e999}', '{"caption": "a red house", "caption": "a blue house"}', '{"caption": "a red house", "more": 1}',
    '{"text": "a red house"}', '{"caption": ["a red house"]}', '{"caption": ""}', '{"caption": "house"}',
    '{"caption": "12 34 56"}',
    '{"caption": "a house {image}"}', '{"caption": "a house, see /tmp/x"}', '{"caption": "eine rote Tür und ein Haus"}',
    '{"caption": "' + "a red house " * 100 + '"}', '{"caption": "a red house"}' + " " * 1_000_000, "[" * 100_000,
    '{"caption": ' * 5_000, "9" * 19_000, "x" * 1_000_000, "<think>a red house", "\ud800", "```json\n{}\n```", "\x00"])
def test_answers_that_are_none(answer):
    with pytest.raises(MalformedError):
        replies.caption(answer)


@pytest.mark.parametrize("answer", [
    '{"caption": "a red house"}', '\n```json\n{"caption": "a red house"}\n```\n', '```\n{"caption": "a red house"}\n```',
    '<think>\nA house {red}?\n</think>\n\n{"caption": "a red house"}', '{"caption": "a  red\\n house "}'])
def test_answers_as_models_dress_them(answer):
    assert replies.caption(answer) == "a red house"


def test_differences():
    def read(**changes):
        return replies.difference(json.dumps({"difference": "the door turned red", "kind": "Semantic editing: color",
                                              "what": "the door", "how": "red"} | changes))
    assert read() == Difference("the door turned red", "Semantic editing: color", "the door", "red")
    assert read(kind="other", what="", how=None) == Difference("the door turned red")
    assert read(kind="none", difference="") is None
    assert read(kind="Element editing: remove text", what="", how="").task == "Element editing: remove text"
    for changes in ({"kind": "color"}, {"kind": ["other"]}, {"kind": None}, {"how": ""}, {"what": 7}, {"what": 0},
                    {"what": []}, {"what": "{image}"},
                    {"how": "red</s>"}, {"difference": ""}, {"kind": "Element editing: write text"}, {"how": "../red"}):
        with pytest.raises(MalformedError):
            read(**changes)


@pytest.mark.parametrize("fits", ["[true]", "[true, false, true]", '[true, "false"]', "[1, 0]", "true", "[null, true]", "{}"])
def test_a_check_says_true_or_false_for_each(fits):
    assert replies.fits('{"fits": [true, false]}', 2) == (True, False)
    with pytest.raises(MalformedError):
        replies.fits(f'{{"fits": {fits}}}', 2)


# ---- templates

TASKS = [task for task in phrasings.TASKS if not task.startswith("Conversation")]


@pytest.mark.parametrize("task", TASKS)
def test_templates_say_what_the_phrasings_say(task):
    found = templates.wordings(task, "a red door", "an old gate", 12, seed=5)
    assert found[0] in {phrasings.phrase(task, number, "a red door", "an old gate")
                        for number in range(1, len(phrasings.phrasings(task)) + 1)}
    assert len(found) == len({text.lower() for text in found}) >= 2
    for text in found:
        assert not set("[]") & set(text) and text == text.strip()
        names = {name for each in phrasings.phrasings(task) for name in ("{image}", "{image1}", "{image2}") if name in each}
        assert {name for name in ("{image}", "{image1}", "{image2}") if name in text} <= names
    masked = task.removesuffix(phrasings.MARK) in phrasings.MASKED
    assert all("mask" in text for text in found) or not masked, "the published weights were always told of the mask"


def test_templates_repeat_themselves_for_the_same_seed():
    first, *others = [templates.wordings("Semantic editing: color", "the door", "red", 6, seed) for seed in (1, 1, 2)]
    assert first == others[0] != others[1] and len(first) == 6


def test_templates_need_what_they_say():
    assert templates.wordings("Element editing: add object", "a cat", "", 3)
    with pytest.raises(phrasings.PhrasingError, match="needs how"):
        templates.wordings("Element editing: replace object", "a cat")
    with pytest.raises(phrasings.PhrasingError, match="no task"):
        templates.wordings("Semantic editing: taste")
    assert "\"a 'blue' cat\"" in templates.wordings("Controllable generation: from depth", 'a "blue" cat')[0]


def test_what_is_offered_can_be_filled_in():
    for task in templates.EDITS:
        for text in templates.wordings(task, "a red door", "an old gate", 10):
            assert replies.instruction(text) == text, "a template never makes what an answer may not be"


# ---- answers, kept and counted

class Told:
    """A language model that says what a function says."""

    name = "told"

    def __init__(self, say):
        self.say, self.heard, self.lock = say, [], threading.Lock()

    def answer(self, prompt, pictures, seed):
        with self.lock:
            self.heard.append((prompt, [path.name for path in pictures], seed))
        return self.say(prompt, pictures, seed)


def test_a_question_is_asked_once(tmp_path):
    one, same, other = draw(tmp_path / "a.png"), draw(tmp_path / "b.png"), draw(tmp_path / "c.png", (0, 0, 9))
    model = Told(lambda prompt, pictures, seed: prompt)
    answers = Answers(model, tmp_path / "answers")
    for _ in range(2):
        for pictures in ([one], [same], [other], [one, other], [other, one]):
            assert answers.ask("step", "what?", pictures, str) == "what?"
    assert model.heard == [("what?", names, 0) for names in (["a.png"], ["c.png"], ["a.png", "c.png"], ["c.png", "a.png"])]
    again = Answers(model, tmp_path / "answers")
    assert again.ask("step", "what?", [one], str) == "what?" and again.counts.data() == {
        "step": {"asked": 0, "cached": 1, "valid": 1, "malformed": 0, "failed": 0}}
    for changed in (Answers(model, tmp_path / "answers", seed=1), Answers(Told(model.say), tmp_path / "answers")):
        changed.language.name += " " * (changed.seed == 0)
        changed.ask("step", "what?", [one], str)
        assert changed.counts.data()["step"]["asked"] == 1, "another seed or model is another question"


def test_malformed_answers_are_asked_again_with_other_seeds_and_kept(tmp_path):
    def read(text):
        if text != "2":
            raise MalformedError("not 2")
        return text
    picture = draw(tmp_path / "a.png")
    for run, outcome in (("asked", 3), ("cached", 3)):
        answers = Answers(Told(lambda prompt, pictures, seed: str(seed)), tmp_path / "answers", tries=5)
        assert answers.ask("step", "?", [picture], read) == "2"
        assert answers.counts.data()["step"][run] == outcome and answers.counts.data()["step"]["malformed"] == 2
    few = Answers(Told(lambda prompt, pictures, seed: str(seed)), tmp_path / "answers", tries=2)
    with pytest.raises(MalformedError, match="not 2"):
        few.ask("step", "?", [picture], read)
    assert few.counts.data()["step"] == {"asked": 0, "cached": 2, "valid": 0, "malformed": 2, "failed": 0}


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b'{"answer": 7}', b"\xff", b"[" * 100_000])
def test_a_damaged_answer_is_asked_anew(tmp_path, damage):
    picture = draw(tmp_path / "a.png")
    Answers(Told(lambda *_: "yes"), tmp_path / "answers").ask("step", "?", [picture], str)
    path, = (tmp_path / "answers").rglob("*.json")
    path.write_bytes(damage)
    answers = Answers(Told(lambda *_: "yes"), tmp_path / "answers")
    assert answers.ask("step", "?", [picture], str) == "yes" and answers.counts.data()["step"]["asked"] == 1
    assert json.loads(path.read_text())["answer"] == "yes"


def test_long_answers_and_half_characters_take_little_room(tmp_path):
    picture = draw(tmp_path / "a.png")
    for number, text in enumerate(("x" * 10_000_000, "\ud800\x00 half")):
        for _ in range(2):
            Answers(Told(lambda *_, text=text: text), tmp_path / "answers").ask("step", str(number), [picture], str)
    assert sum(path.stat().st_size for path in (tmp_path / "answers").rglob("*.json")) < 25_000


def test_many_threads_ask_once(tmp_path):
    picture, gate = draw(tmp_path / "a.png"), threading.Event()

    def say(*_):
        gate.wait(10)
        return "yes"
    answers = Answers(Told(say), tmp_path / "answers")
    threads = [threading.Thread(target=answers.ask, args=("step", "?", [picture], str)) for _ in range(8)]
    for each in threads:
        each.start()
    gate.set()
    for each in threads:
        each.join()
    assert len(answers.language.heard) == 1
    assert answers.counts.data()["step"] == {"asked": 1, "cached": 7, "valid": 8, "malformed": 0, "failed": 0}


# ---- pairs

def spoken(prompt, pictures, seed):
    """A model that sees no more than the names of the files."""
    if "Describe" in prompt:
        return json.dumps({"caption": f"a house named {pictures[0].stem}"})
    if "What did the edit change?" in prompt:
        return json.dumps({"difference": "the door turned red", "kind": "Semantic editing: color", "what": "the door",
                           "how": "red"})
    if "English instructions that ask" in prompt:
        return json.dumps({"instructions": ["make the door of {image} red", "Paint that door in {image} red!"]})
    return json.dumps({"fits": [True, False, True]})


def labeller(folder, say=spoken, **options):
    return Labeller(Answers(Told(say), folder / "answers"), count=2, **options)


def test_a_pair_is_described_compared_written_and_checked(tmp_path):
    work = labeller(tmp_path)
    found = work.label(pair(tmp_path, "a", "b"))
    assert found.captions == ("a house named a", "a house named b")
    assert found.difference == Difference("the door turned red", "Semantic editing: color", "the door", "red")
    template, = templates.wordings("Semantic editing: color", "the door", "red", 1, "the door turned red")
    assert found.wordings == ("make the door of {image} red", template)
    prompts_, pictures, _ = zip(*work.answers.language.heard, strict=True)
    assert pictures == (["a.png"], ["b.png"], *[["a.png", "b.png"]] * 3)
    assert "a house named a" in prompts_[2] and "the door turned red" in prompts_[3] and f"3. {template}" in prompts_[4]
    assert not any("$" in text for text in prompts_) and all("{image}" in text for text in prompts_[3:])


@pytest.mark.parametrize("step, answer, why, what", [
    ("Describe", "no", "malformed", "caption: it is no JSON object"),
    ("What did the", "{}", "malformed", "difference: it has not exactly the fields"),
    ("What did the", '{"difference": "", "kind": "none", "what": "", "how": ""}', "wrong", "the model sees no edit"),
    ("English instructions", '{"instructions": ["make {image} red"]}', "malformed", "instruction: instructions is no list"),
    ("would somebody", '{"fits": true}', "malformed", "check: fits is no list of 3"),
    ("would somebody", '{"fits": [false, false, false]}', "wrong", "no instruction fits, such as 'make the door of {image}")])
def test_a_pair_is_left_out(tmp_path, step, answer, why, what):
    found = labeller(tmp_path, lambda prompt, *more: answer if step in prompt else spoken(prompt, *more)).label(
        pair(tmp_path, "a", "b"))
    assert isinstance(found, LeftOut) and found.why == why and found.what.startswith(what)


def test_pairs_without_usable_pictures(tmp_path):
    good = pair(tmp_path, "a", "b")
    (tmp_path / "words.png").write_text("no picture")
    (tmp_path / "secret.txt").write_text("a text")
    (tmp_path / "folder.png").mkdir()
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "away.png").symlink_to(tmp_path / "gone")
    (tmp_path / "link.png").symlink_to(good.source)
    draw(tmp_path / "small.png", size=(8, 8))
    work = labeller(tmp_path)
    for name, said in (("words.png", "words.png cannot be opened as a picture"), ("secret.txt", "is not named as a picture"),
                       ("folder.png", "folder.png is no file"), ("pipe.png", "pipe.png is no file"),
                       ("away.png", "is not there"), ("gone.png", "is not there"), ("small.png", "at least 16"),
                       ("../../../../../../etc/passwd", "is not named as a picture"), ("a.png", "is both source and target"),
                       ("link.png", "is both source and target")):
        found = work.label(Pair(good.source, tmp_path / name, 0.9, 0))
        assert isinstance(found, LeftOut) and found.why == "unusable" and said in found.what, name
    assert not work.answers.language.heard


def test_pairs_come_in_their_order_from_any_number_of_threads(tmp_path):
    found = [Pair(tmp_path / f"{number}", tmp_path / "x", 0.0, number) for number in range(200)]
    slow = threading.Event()

    def labelled(each):
        if each.group % 7 == 0:
            slow.wait(0.002)
        return Label(each, ("x",))
    assert [each.pair for each in label(found, labelled, threads=8)] == found


def test_a_model_that_fails_once_is_asked_on_and_one_that_always_fails_is_not(tmp_path):
    found = [Pair(tmp_path / f"{number}", tmp_path / "x", 0.0, number) for number in range(100)]
    some = [LeftOut(each, "failed" if each.group % IN_A_ROW else "wrong", "why") for each in found]
    assert len(list(label(found, lambda each: some[each.group]))) == 100
    heard = []
    with pytest.raises(LanguageError, match=f"refused {IN_A_ROW} pairs in a row, the last one because of why"):
        list(label(found, lambda each: heard.append(each) or LeftOut(each, "failed", "why")))
    assert len(heard) < 20


def test_a_refused_question_is_counted_and_asked_again_next_time(tmp_path):
    def refuse(*_):
        raise RefusedError("out of memory")
    found, work = pair(tmp_path, "a", "b"), labeller(tmp_path, refuse)
    assert work.label(found) == LeftOut(found, "failed", "out of memory")
    assert work.answers.counts.data() == {"caption": {"asked": 0, "cached": 0, "valid": 0, "malformed": 0, "failed": 1}}
    assert isinstance(labeller(tmp_path).label(found), Label)


def test_templates_alone(tmp_path):
    good, same = pair(tmp_path, "a", "b"), pair(tmp_path, "c", "d")
    hat = Difference("", "Element editing: add object", "a hat")
    labelled = by_templates(lambda each: hat if each is good else None, count=2)
    assert [type(each) for each in map(labelled, (good, same))] == [Label, LeftOut]
    assert len(labelled(good).wordings) == 2 and all("a hat" in text for text in labelled(good).wordings)


GOOD = {"source": "a.png", "target": "b.png", "similarity": 0.5, "group": 1}
ILL = {
    "no number": (json.dumps(GOOD).replace("0.5", "NaN"), "similarity is NaN"),
    "too large": (json.dumps(GOOD | {"similarity": 10**400}), "similarity is 1000"),
    "a giant group": (json.dumps(GOOD | {"group": 10**4000}), "group is 1000"),
    "a truth": (json.dumps(GOOD | {"group": True}), "group is true"),
    "a giant list": (json.dumps(GOOD | {"source": ["x"] * 1_000_000}), "source is"),
    "a giant key": (json.dumps({"x" * 1_000_000: 1}), 'has ["xxx'), "nothing": ("{}", "has []"),
    "null": ("null", "has NoneType"),
    "a bomb": ("[" * 1_000_000, "is no JSON"), "5000 digits": ("9" * 5000, "is no JSON"), "bytes": ("\udcff", "UTF-8")}


@pytest.mark.parametrize("line, said", ILL.values(), ids=ILL)
def test_lists_of_pairs_that_mean_ill(tmp_path, line, said):
    (tmp_path / "pairs.jsonl").write_text(line, encoding="utf-8", errors="surrogateescape")
    with pytest.raises(pairs.PairsError) as error:
        pairs.read(tmp_path / "pairs.jsonl")
    assert said in str(error.value) and len(str(error.value)) < 400


NAMES = {"long": "x" * 300 + ".png", "giant": "x" * 100_000 + ".png", "zero": "a\0b.png", "device": "../" * 40 + "dev/zero.png",
         "home": "~/x.png", "link": "http://127.0.0.1/x.png", "folder": ".png/../..png", "half a character": "\ud800.png"}


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
def test_names_that_mean_ill(tmp_path, name):
    """They are files that are not there, or that nobody can open."""
    source = draw(tmp_path / "a.png")
    assert unusable(Pair(source, tmp_path / name, 0.5, 1), {}) and unusable(Pair(tmp_path / name, source, 0.5, 1), {})


def test_names_that_break_lines_come_back(tmp_path):
    signs = "\u2028\u2029\x85\x0b\x0c\x1c\n\r\t\"\\'"
    found = [Pair(tmp_path / f"a{sign}b.png", tmp_path / "c.png", 0.5, 1) for sign in signs]
    pairs.write(tmp_path / "pairs.jsonl", found)
    assert pairs.read(tmp_path / "pairs.jsonl") == found


# ---- questions in files

def test_questions_of_ones_own(tmp_path):
    (tmp_path / "caption.md").write_text("Say what you see, for $$5.")
    found = prompts.read(tmp_path)
    assert found["caption"].substitute() == "Say what you see, for $5." and "fits" in found["check"].template
    for text, said in ((b"$name", r"caption.md has \$name, but only nothing"), (b"100 $", r"has a single \$"),
                       (b"\xff", "UTF-8")):
        (tmp_path / "caption.md").write_bytes(text)
        with pytest.raises(prompts.PromptError, match=said):
            prompts.read(tmp_path)
    with pytest.raises(prompts.PromptError, match=r"none of caption.md, "):
        prompts.read(tmp_path / "nowhere")


# ---- conversations

def labels(folder, *names, wordings=1, group=0):
    return [Label(pair(folder, *each), tuple(f"{{image}} {each} {number}" for number in range(wordings)),
                  difference=Difference(f"{each}")) for each in names]


def chains(folder, names, longest=3):
    return [" ".join(each.pair.source.stem + each.pair.target.stem for each in path)
            for path in turns.paths(labels(folder, *names), longest)]


@pytest.mark.parametrize("names, longest, expected", [
    ("ab bc", 3, ["ab bc"]), ("bc ab", 3, ["ab bc"]), ("ab bc", 1, ["bc", "ab"]), ("ab cd", 3, ["ab", "cd"]),
    ("ab bc cd de", 3, ["ab bc cd", "de"]), ("ab ba", 3, ["ab", "ba"]), ("ab bc ca", 3, ["ab bc", "ca"]),
    ("ab ac ad", 3, ["ab", "ac", "ad"]), ("ab bc bd", 3, ["ab bc", "bd"]), ("ab bb", 3, ["ab", "bb"])])
def test_pairs_that_follow_on_each_other(tmp_path, names, longest, expected):
    assert sorted(chains(tmp_path, names.split(), longest)) == sorted(expected)


def test_every_wording_is_learned_once(tmp_path):
    """Whatever is chained: as single edits and as turns, the pairs and wordings that come out are those that went in."""
    given = labels(tmp_path, "ab", "bc", "cd", "xy", wordings=4)
    given[1] = Label(given[1].pair, given[1].wordings[:2], difference=given[1].difference)
    for share in (0, 0.5, 1):
        found = list(turns.records(given, lambda path: path.name, longest=3, chained=share, seed=3))
        learned = Counter((turn.instruction, turn.target.file) for each in found for turn in each.turns)
        assert learned == Counter((text, each.pair.target.name) for each in given for text in each.wordings)
        assert sum(len(each.turns) > 1 for each in found) in {0: [0], 0.5: [0, 1, 2], 1: [2]}[share]
    first, again = (list(turns.records(given, lambda path: path.name, seed=3)) for _ in range(2))
    assert first == again


def test_groups_are_never_mixed(tmp_path):
    one, = labels(tmp_path, "ab")
    other = Label(pair(tmp_path, "b", "c", group=1), ("{image} bc 0",))
    assert [len(each.turns) for each in turns.records([one, other], lambda path: path.name, chained=1)] == [1, 1]


def test_training_reads_the_conversations(tmp_path):
    found, = turns.records(labels(tmp_path, "ab", "bc"), lambda path: path.name, chained=1)
    assert found.turns[1].images[0].answer_of == "t1"
    path = tmp_path / "turns.jsonl"
    from ace_model import record_json
    path.write_text(json.dumps(record_json.to_data(found)) + "\n")
    first, second = data.read(path)
    assert [turn.images[0].file for turn in second.record.turns] == ["a.png", "b.png"], "what was to be answered is edited on"
    assert second.turn.target.file == "c.png" and first.turn.meta == {"difference": "ab"}


# ---- the command

def run(monkeypatch, folder, *more, rows=(("a", "b", 0), ("b", "c", 0), ("d", "e", 1)), say=spoken):
    model = Told(say)
    model.servers, model.check = [1], lambda: None
    monkeypatch.setattr(label_command, "ComfyLanguage", lambda *_: model)
    found = [pair(folder / "pictures", *row) for row in rows]
    label_command.pairs.write(folder / "pairs.jsonl", found)
    parser = argparse.ArgumentParser()
    label_command.add_arguments(parser)
    given = [folder / "pairs.jsonl", folder / "set", "--server", "http://x", "--model", "m", "--wordings", 2, *more]
    return label_command.run(parser.parse_args([str(each) for each in given]))


def test_the_command_writes_a_data_set(tmp_path, monkeypatch, capsys):
    assert run(monkeypatch, tmp_path, "--chained", 1) == 0
    examples = data.read(tmp_path / "set")
    assert len(examples) == 6 and {len(each.record.turns) for each in examples} == {1, 2}
    assert "3 pairs: 3 kept, 0 malformed, 0 wrong, 0 failed, 0 unusable\n6 wordings in 4 records, 2 of them conversations" \
        in capsys.readouterr().out
    assert {path.read_bytes() for path in (tmp_path / "set/pictures").iterdir()} == {
        path.read_bytes() for path in (tmp_path / "pictures").iterdir()}


def test_a_pair_that_is_listed_twice_counts_once(tmp_path, monkeypatch, capsys):
    assert run(monkeypatch, tmp_path, rows=[("a", "b", 0), ("c", "d", 1), ("a", "b", 0), ("a", "b", 7)]) == 0
    assert "2 rows of " in (out := capsys.readouterr().out) and "2 pairs: 2 kept" in out
    assert len(data.read(tmp_path / "set")) == 4


def test_the_command_says_when_nothing_is_left(tmp_path, monkeypatch, capsys):
    assert run(monkeypatch, tmp_path, say=lambda *_: "{}") == 1
    assert "No pair was kept: " in capsys.readouterr().out
    counts = json.loads((tmp_path / "set/labelling/counts.json").read_text())
    assert counts["malformed"] == 3 and counts["answers"]["caption"] == {
        "asked": 9, "cached": 0, "valid": 0, "malformed": 9, "failed": 0}


@pytest.mark.parametrize("more, said", [
    (("--wordings", 0), "--wordings is 0, but must be from 1 to 20"), (("--chained", "nan"), "--chained is nan"),
    (("--turns", 7), "--turns is 7, but must be from 1 to 6"), (("--tries", 0), "--tries is 0"),
    (("--seed", -1), "--seed is -1")])
def test_options_have_limits(tmp_path, monkeypatch, more, said):
    with pytest.raises(label_command.LabelError, match=said):
        run(monkeypatch, tmp_path, *more)
    assert not (tmp_path / "set").exists()


def test_no_data_set_of_somebody_else_is_touched(tmp_path, monkeypatch):
    (tmp_path / "set").mkdir()
    for name, said in (("turns.jsonl", "labelling did not write it"), ("pairs.jsonl", "a data set has one list only")):
        (tmp_path / "set" / name).write_text("mine")
        with pytest.raises(label_command.LabelError, match=said):
            run(monkeypatch, tmp_path)
        assert (tmp_path / "set" / name).read_text() == "mine"
        (tmp_path / "set" / name).unlink()
    with pytest.raises(label_command.LabelError, match="has no pair"):
        run(monkeypatch, tmp_path, rows=())


def test_a_run_that_was_stopped_goes_on(tmp_path, monkeypatch):
    asked = []

    def stops(prompt, pictures, seed):
        if len(asked) == 7:
            raise KeyboardInterrupt
        asked.append(prompt)
        return spoken(prompt, pictures, seed)
    with pytest.raises(KeyboardInterrupt):
        run(monkeypatch, tmp_path, say=stops)
    assert not (tmp_path / "set/turns.jsonl").exists()
    assert run(monkeypatch, tmp_path, say=lambda *question: asked.append(0) or spoken(*question)) == 0
    assert len(asked) == 5 + 9, "five captions, and three questions for each pair: none is asked twice"


# ---- the server

class Fake(http.server.BaseHTTPRequestHandler):
    """Says what the test's `reply` gives for a path: (status, headers, body)."""

    def answered(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.server.heard.append((self.path, body))
        status, headers, body = self.server.reply(self.path)
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = answered

    def log_message(self, *_):
        pass


@pytest.fixture
def fake():
    with http.server.HTTPServer(("127.0.0.1", 0), Fake) as server:
        server.heard = []
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield server
        server.shutdown()


@pytest.mark.parametrize("reply, said", [
    ((404, {}, b""), "answers 404 Not Found: is that ComfyUI"), ((200, {}, b"<html>"), "something else than ComfyUI"),
    ((200, {}, b"[]"), "something else than ComfyUI"), ((200, {}, b"{}"), "has no node CLIPLoader, LoadImage"),
    ((302, {"Location": "http://127.0.0.1:1/"}, b""), "answers 302 Found"), ((401, {}, b""), "answers 401")])
def test_what_is_no_comfyui(fake, monkeypatch, reply, said):
    """A redirection is not followed, and no proxy of the environment is asked."""
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    fake.reply = lambda path: reply
    with pytest.raises(LanguageError, match=said):
        ComfyLanguage([f"http://127.0.0.1:{fake.server_port}"], "m").check()


def comfyui(entry, prompt=None, lost=0):
    """A fake's reply: ComfyUI with this entry in its history, which forgets the first `lost` questions."""
    forgotten = [lost]

    def reply(path):
        if path == "/prompt":
            forgotten[0] -= 1
        known = {"q": entry} if forgotten[0] < 0 else {}
        found = {"/upload/image": {"name": "x.png", "subfolder": "f"}, "/prompt": prompt or {"prompt_id": "q"},
                 "/history/q": known, "/queue": {"queue_running": [], "queue_pending": []}}.get(path, {})
        return 400 if prompt and "prompt_id" not in prompt else 200, {}, json.dumps(found).encode()
    return reply


def ended(text, messages=()):
    return {"status": {"messages": messages}, "outputs": {"text": {"text": text}}}


def ask(fake, monkeypatch, reply):
    monkeypatch.setattr(language, "FIRST_WAIT", 0.001)
    monkeypatch.setattr(language, "LONGEST_WAIT", 0.002)
    fake.reply = reply
    return ComfyLanguage([f"http://127.0.0.1:{fake.server_port}"], "m").answer("?", [], 0)


def test_a_server_that_was_started_anew_is_asked_again(fake, monkeypatch):
    assert ask(fake, monkeypatch, comfyui(ended(["yes"]), lost=2)) == "yes"
    assert [path for path, _ in fake.heard].count("/prompt") == 3
    with pytest.raises(RefusedError, match="forgot the question 3 times"):
        ask(fake, monkeypatch, comfyui(ended(["yes"]), lost=3))


@pytest.mark.parametrize("entry", [
    ended([]), ended(None), ended([7]), ended(["a", "b"]), {"status": {}}, {"status": None}, [0], 7,
    {"status": {"messages": [1]}, "outputs": {}}, ended(["x"], [["execution_error", {}]])])
def test_accounts_that_comfyui_never_gives(fake, monkeypatch, entry):
    with pytest.raises(RefusedError, match="no text where Preview as Text shows it"):
        ask(fake, monkeypatch, comfyui(entry))


def test_what_stops_a_question(fake, monkeypatch):
    with pytest.raises(RefusedError, match="TextGenerate: out of memory"):
        ask(fake, monkeypatch, comfyui(ended([], [["execution_error", {"node_type": "TextGenerate",
                                                                       "exception_message": "out of memory\n"}]])))
    with pytest.raises(LanguageError, match="somebody stopped"):
        ask(fake, monkeypatch, comfyui(ended([], [["execution_interrupted", {}]])))
    fake.heard.clear()
    errors = {"7": {"class_type": "LoadImage", "errors": [{"message": "Invalid image", "details": "x.png"}]}}
    for prompt in ({"error": {"message": "no outputs"}}, {"node_errors": errors}):
        with pytest.raises(RefusedError, match="no outputs|LoadImage: Invalid image x.png"):
            ask(fake, monkeypatch, comfyui({}, prompt))
    assert "/interrupt" not in {path for path, _ in fake.heard}, "that would stop somebody else's picture"
    with pytest.raises(RefusedError, match="LoadImage"):
        ask(fake, monkeypatch, comfyui({}, {"prompt_id": "q", "node_errors": errors}))
    assert [body for path, body in fake.heard if path == "/interrupt"] == [b'{"prompt_id": "q"}']


def test_a_question_that_takes_too_long_is_taken_back(fake, monkeypatch):
    monkeypatch.setattr(language, "FIRST_WAIT", 0.001)
    fake.reply = comfyui(ended(["yes"]), lost=1)
    slow = ComfyLanguage([f"http://127.0.0.1:{fake.server_port}"], "m", Settings(timeout=0.01))
    with pytest.raises(RefusedError, match="no answer within 0.01 s"):
        slow.answer("?", [], 0)
    assert {"/queue", "/interrupt"} <= {path for path, _ in fake.heard}


def test_the_other_server_goes_on(fake, monkeypatch):
    fake.reply = comfyui(ended(["yes"]))
    model = ComfyLanguage(["http://127.0.0.1:1", f"http://127.0.0.1:{fake.server_port}"], "m", Settings(patience=0))
    assert [model.answer("?", [], 0) for _ in range(3)] == ["yes"] * 3 and len(model.servers) == 1


def test_a_server_that_is_away(monkeypatch):
    for url, said in (("127.0.0.1:8188", "must be the address"), ("file:///etc/passwd", "must be the address")):
        with pytest.raises(LanguageError, match=said):
            ComfyLanguage([url], "m")
    model = ComfyLanguage(["http://127.0.0.1:1", "http://127.0.0.1:2"], "m", Settings(patience=0))
    for _ in range(2):
        with pytest.raises(LanguageError, match="does not answer"):
            model.answer("?", [], 0)


def test_what_the_model_is_shown(tmp_path):
    """Pictures upright and small, the second fitted whole into the first one's frame."""
    wide, high = draw(tmp_path / "wide.png", size=(200, 100)), draw(tmp_path / "high.png", (0, 0, 255), (100, 200))
    first, second = [Image.open(io.BytesIO(each)) for each in language.views([wide, high], 64)]
    assert first.size == second.size == (64, 32)
    assert first.getpixel((0, 0)) == (255, 0, 0) and second.getpixel((32, 1)) == (0, 0, 255)
    assert second.getpixel((2, 16)) == language.GRAY, "nothing of it is cropped"
    assert [Image.open(io.BytesIO(each)).size for each in language.views([wide], 768)] == [(200, 100)], "never enlarged"


def test_the_graph_has_every_picture_in_order():
    found = language.graph("m", "?", ["a.png", "b.png"], 7, Settings())
    assert found["pictures"]["inputs"] == {"images.image0": ["picture 0", 0], "images.image1": ["picture 1", 0]}
    assert found["answer"]["inputs"]["sampling_mode.seed"] == 7 and found["answer"]["inputs"]["image"] == ["pictures", 0]
    assert language.graph("m", "?", ["a.png"], 7, Settings())["answer"]["inputs"]["image"] == ["picture 0", 0]
    assert "image" not in language.graph("m", "?", [], 7, Settings())["answer"]["inputs"]


def test_unusable_looks_once(tmp_path, monkeypatch):
    looked = []
    monkeypatch.setattr("engine.labels.look", lambda path: looked.append(path.name) or (32, 32))
    seen: dict[Path, str] = {}
    found = pair(tmp_path, "a", "b")
    assert [unusable(found, seen) for _ in range(3)] == [""] * 3 and looked == ["a.png", "b.png"]
