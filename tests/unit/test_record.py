"""The LCU record: rules against JSON Schema's own validator, round trips of random trees, keys, and the way to the model."""

import copy
import json
from dataclasses import replace
from pathlib import Path

import jsonschema
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ace_model import record as records
from ace_model.errors import InputError
from ace_model.lcu import FORGOTTEN
from ace_model.record import Answer, Picture, Record, RecordError, Settings, Turn
from ace_model.record_json import read, write
from tests.fuzz.clear import is_clear

SCHEMA = json.loads(Path(records.__file__).with_name("record.schema.json").read_text(encoding="utf-8"))
jsonschema.Draft202012Validator.check_schema(SCHEMA)
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)
KEY = "0123456789abcdef-fedcba9876543210"
TREE = {"version": 1, "at": "t3", "turns": [
    {"id": "t1", "parent": None, "instruction": "make {image} night", "images": [{"file": "street.png", "in": "input"}],
     "masks": [{"file": "masks/sky.png", "in": "input"}], "blank": True, "seed": 7, "settings": {"steps": 20, "guidance": 3},
     "answer": {"file": "ace/t1.png", "in": "output", "key": KEY}},
    {"id": "t2", "parent": "t1", "instruction": "add a moon to {image}", "images": [{"answer_of": "t1"}],
     "room": [0, 0.5, 0, 0], "meta": {"from": "a test"}},
    {"id": "t3", "parent": "t1", "instruction": "{image} in the colors of {image1}",
     "images": [{"answer_of": "t1"}, {"file": "bunt.png"}], "target": {"file": "exact.png"}}]}


def changed(path: str, value) -> dict:
    """TREE with one place changed; a value of KeyError takes it away."""
    data = copy.deepcopy(TREE)
    *way, last = [int(step) if step.isdigit() else step for step in path.split("/")]
    inside = data
    for step in way:
        inside = inside[step]
    if value is KeyError:
        del inside[last]
    else:
        inside[last] = value
    return data


def test_the_example_is_read_whole():
    found = read(json.dumps(TREE))
    VALIDATOR.validate(TREE)
    assert found.at == "t3" and [turn.id for turn in found.branch()] == ["t1", "t3"]
    first, second, third = found.turns
    assert first.images == (Picture("street.png", "input"),) and first.masks == (Picture("masks/sky.png", "input"),)
    assert first.settings == Settings(steps=20, guidance=3.0) and first.answer == Answer("ace/t1.png", "output", KEY)
    assert second.room == (0, 0.5, 0, 0) and second.meta == {"from": "a test"} and not second.blank
    assert third.images == (Picture(answer_of="t1"), Picture("bunt.png")) and third.target == Picture("exact.png")
    assert [turn.id for turn in found.siblings("t2")] == ["t2", "t3"]


def test_defaults_are_the_schemas():
    assert {name: rule["default"] for name, rule in SCHEMA["$defs"]["settings"]["properties"].items()} == vars(Settings())


BY_SCHEMA = [  # places and values that both the schema and `read` refuse, and what the error names
    ("at", 3, r"at is 3, but must be 1 to 64 letters"),
    ("turns", {}, r"turns is an object of 0, but must be a list"),
    ("turns", KeyError, r"turns is missing"),
    ("turns/0", [], r"turns\[0\] is a list of 0, but must be an object"),
    ("turns/0/id", KeyError, r"turns\[0\].id is missing"),
    ("turns/0/id", "", r"turns\[0\].id is \"\""),
    ("turns/0/id", "a b", "letters, digits"),
    ("turns/0/id", "x" * 65, "1 to 64"),
    ("turns/0/parent", False, r"turns\[0\].parent is false"),
    ("turns/0/instruction", KeyError, "instruction is missing"),
    ("turns/0/instruction", None, "instruction is null, but must be a text"),
    ("turns/0/instruction", "x" * 100_001, "at most 100,000 characters"),
    ("turns/0/instructions", "x", "instructions is not a field of a record"),
    ("turns/0/images", [{"file": f"{i}.png"} for i in range(10)], "list of at most 9"),
    ("turns/0/images/0", "street.png", r"images\[0\] is \"street.png\", but must be an object"),
    ("turns/0/images/0", {}, "either file or answer_of"),
    ("turns/0/images/0", {"file": "a.png", "answer_of": "t1"}, "either file or answer_of"),
    ("turns/1/images/0", {"answer_of": "t1", "in": "output"}, "leave out in"),
    ("turns/0/images/0/in", "temp", '"input" or "output"'),
    *(("turns/0/images/0/file", name, "images.0..file is") for name in (
        "", "/etc/passwd", "../secret.png", "a/../../b.png", "a//b.png", "./a.png", "a/.", "C:/a.png", "a\\b.png", "a\0.png",
        "a\n.png", "a.png [output]", "x" * 1025, None, 5)),
    ("turns/0/answer/file", "../t1.png", "answer.file is"),
    ("turns/0/answer/key", "", "answer.key is"),
    ("turns/0/answer/key", KeyError, "answer.key is missing"),
    ("turns/0/answer/in", KeyError, "answer.in is missing"),
    ("turns/0/blank", 1, "blank is 1, but must be true or false"),
    ("turns/0/seed", -1, "whole number from 0"),
    ("turns/0/seed", 2**64, "whole number from 0"),
    ("turns/0/seed", "7", "seed is \"7\""),
    ("turns/0/seed", True, "seed is true"),
    ("turns/1/room", [0.5], "room is a list of 1, but must be a list of 4"),
    ("turns/1/room", [0, 0, 0, 5], r"room\[3\] is 5, but must be a number from 0 to 4"),
    ("turns/0/settings/steps", 1001, "from 0 to 1000"),
    ("turns/0/settings/guidance", "3", "settings.guidance is"),
    ("turns/0/settings/guidance", 101, "from 0 to 100"),
    ("turns/0/settings/rescale", -0.1, "from 0 to 1"),
    ("turns/0/settings/width", 20, "multiple of 16"),
    ("turns/0/settings/height", 8192, "from 0 to 4096"),
    ("turns/0/settings/cfg", 3, "settings.cfg is not a field"),
    ("turns/0/meta", [], "meta is a list of 0"),
]
BY_READING = [  # what a schema cannot say
    ("at", "t9", "at is \"t9\", but must be the id of a turn: use t1, t2, t3"),
    ("at", None, "at is null"),
    ("turns/1/id", "t1", r"turns\[1\].id is t1, which an earlier turn has already"),
    ("turns/0/parent", "t2", r"turns\[0\].parent is t2, which stands after it"),
    ("turns/0/parent", "t1", "is the turn itself"),
    ("turns/1/parent", "t7", "no turn before it has that id: use t1"),
    ("turns/1/images/0/answer_of", "t3", r"turns\[1\].images\[0\].answer_of is t3, which stands after it"),
    ("turns/2/masks", [{"answer_of": "t9"}], r"masks\[0\].answer_of is t9"),
    ("turns/1/masks", [None, None], "more masks .2. than the turn has images .1."),
    ("turns/1/masks", [{"file": "m.png"}], "has both room and a mask"),
    ("turns/1/settings", {"target_image": 1}, "adds room around image 1, which the turn does not have"),
]


@pytest.mark.parametrize("path, value, says", BY_SCHEMA + BY_READING, ids=lambda x: str(x)[:20].replace("\0", "0"))
def test_what_is_wrong_is_named(path, value, says):
    data = changed(path, value)
    with pytest.raises(RecordError, match=says) as caught:
        read(json.dumps(data))
    assert is_clear(str(caught.value))
    assert VALIDATOR.is_valid(data) == ((path, value, says) in BY_READING)


@pytest.mark.parametrize("version, says", [
    (2, "up to version 1: update the pack"), (0, "version is 0"), ("1", "version is \"1\""), (True, "version is true"),
    (None, "a record begins with")])
def test_versions(version, says):
    with pytest.raises(RecordError, match=says):
        read(json.dumps({**TREE, "version": version, "something": "new"}))


def test_a_name_twice_among_very_many_is_found_at_once():
    many = ", ".join(f'"{number}": 0' for number in (*range(300_000), 299_999))
    with pytest.raises(RecordError, match='"299999" twice'):
        read(f'{{"version": 1, "turns": [], "meta": {{{many}}}}}')


@pytest.mark.parametrize("source, says", [
    ("", "not valid JSON"), ("[" * 100_000, "nested too deeply"), ('{"version": 1, "turns": [], "turns": []}', '"turns" twice'),
    ('{"version": NaN, "turns": []}', "NaN"), ('{"version": 1, "turns": [], "at": -Infinity}', "Infinity"),
    ('{"version": 1' + "0" * 5000 + ', "turns": []}', "too many digits|update"), (b"\xff\xfe{", "not valid (UTF-8|JSON)"),
    ("[]", "version"),
    ("null", "version")], ids=range(9))
def test_what_is_no_record(source, says):
    with pytest.raises(RecordError, match=says) as caught:
        read(source)
    assert is_clear(str(caught.value))


def test_cut_off_anywhere():
    whole = write(read(json.dumps(TREE)))
    for end in range(len(whole)):
        with pytest.raises(RecordError, match="cut off|version|twice|missing"):
            read(whole[:end])


def test_halves_of_characters_are_replaced_so_that_it_can_be_saved():
    found = read('{"version": 1, "at": "a", "turns": [{"id": "a", "instruction": "\\ud83d\\ude00 \\ud800"}]}')
    assert found.turns[0].instruction == "\N{GRINNING FACE} \ufffd"
    write(found).encode()


NAMES = st.text("abcz09-_ é中", min_size=1, max_size=8).map(lambda name: f"{name}.png")
FILES = st.builds(Picture, file=st.lists(NAMES, min_size=1, max_size=3).map("/".join),
                  place=st.sampled_from(["", "input", "output"]))
SETTINGS = st.builds(Settings, steps=st.integers(0, 1000), guidance=st.floats(0, 100), rescale=st.floats(0, 1),
                     negative=st.text(max_size=9), width=st.integers(0, 256).map(lambda n: 16 * n),
                     max_rounds=st.integers(0, 9))


@st.composite
def trees(draw, most=8):
    turns = []
    for number in range(draw(st.integers(0, most))):
        before = [turn.id for turn in turns]
        pictures = FILES if not before else st.one_of(FILES, st.sampled_from(before).map(lambda name: Picture(answer_of=name)))
        images = tuple(draw(st.lists(pictures, max_size=3)))
        turns.append(Turn(
            f"turn-{number}", draw(st.sampled_from([None, *before])), draw(st.text(max_size=20)), images,
            tuple(draw(st.lists(st.one_of(st.none(), pictures), max_size=len(images)))), draw(st.booleans()),
            seed=draw(st.integers(0, 2**64 - 1)), settings=draw(SETTINGS), target=draw(st.one_of(st.none(), FILES)),
            answer=draw(st.sampled_from([None, Answer("x/y.png", "output", KEY)])),
            meta=draw(st.dictionaries(st.text(max_size=3), st.integers(), max_size=2))))
    return Record(tuple(turns), draw(st.sampled_from([turn.id for turn in turns])) if turns else None)


@given(trees())
def test_random_trees_come_back_the_same_and_keep_the_schema(tree):
    text = write(tree)
    VALIDATOR.validate(json.loads(text))
    assert read(text) == read(text.encode()) == tree
    branch = tree.branch()
    assert not branch or branch[0].parent is None and branch[-1].id == tree.at
    assert all(child.parent == turn.id for turn, child in zip(branch, branch[1:], strict=False))
    made = set()
    for turn in tree.needed():
        assert {turn.parent, *(p.answer_of for p in (*turn.images, *turn.masks) if p and p.answer_of)} - {None} <= made
        made.add(turn.id)
    assert {turn.id for turn in branch} <= made


PLAIN = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(max_size=5))
ANYTHING = st.recursive(PLAIN, lambda inner: st.one_of(
    st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=5), inner, max_size=3)))
PLACES = sorted({path for path, *_ in BY_SCHEMA + BY_READING})


@given(st.sampled_from(PLACES), ANYTHING)
def test_whatever_stands_in_a_place_is_read_or_refused_as_the_schema_does(path, value):
    data = changed(path, value)
    try:
        found = read(json.dumps(data))
    except InputError as error:
        assert isinstance(error, RecordError) and is_clear(str(error))
        return
    VALIDATOR.validate(data)
    assert read(write(found)) == found


def keys(record: Record, maker="model 1", digest=lambda p: f"content of {p.file}", kept=lambda answer: False, at=None):
    return record.keys(maker, digest, kept, at)


@pytest.mark.parametrize("change", [
    {"instruction": "another"}, {"seed": 8}, {"blank": True}, {"room": (0.5, 0, 0, 0)}, {"settings": Settings(guidance=3.0)},
    {"images": (Picture("other.png"),)}, {"masks": (Picture("mask.png"),)}])
def test_a_key_holds_everything_before_an_answer_and_nothing_beside_it(change):
    turn = Turn("b", "a", "look at {image}", (Picture("x.png"),))
    before = Record((Turn("a"), turn, Turn("c", "b"), Turn("d", "a")), "c")
    after = replace(before, turns=tuple(replace(t, **change) if t.id == "b" else t for t in before.turns))
    old, new = keys(before), keys(after)
    assert old["a"] == new["a"] and old["b"] != new["b"] and old["c"] != new["c"]
    assert keys(before, at="d")["d"] == keys(after, at="d")["d"]
    noted = tuple(replace(turn, meta={"read": 1}, target=Picture("t.png")) for turn in before.turns)
    assert keys(replace(before, turns=noted)) == old


def test_keys_follow_the_content_of_files_and_the_answers_taken():
    other = Turn("x", None, "elsewhere")
    tree = Record((other, Turn("a", None, "", (Picture("a.png"), Picture(answer_of="x")))), "a")
    assert list(keys(tree)) == ["x", "a"], "an answer of another branch is made first"
    assert keys(tree, digest=lambda p: "new content")["a"] != keys(tree)["a"]
    assert keys(replace(tree, turns=(replace(other, seed=1), tree.turns[1])))["a"] != keys(tree)["a"]


def test_a_changed_model_replaces_nothing_and_a_changed_turn_keeps_nothing():
    tree = Record((Turn("a"), Turn("b", "a"), Turn("c", "b")), "c")
    made = keys(tree)
    answered = tree.answered({name: Answer(f"{name}.png", "output", key) for name, key in made.items() if name != "c"})
    now = keys(answered, maker="model 2", kept=lambda answer: True)
    assert {name: now[name] == made[name] for name in made} == {"a": True, "b": True, "c": False}
    assert now["c"].split("-")[0] == made["c"].split("-")[0], "c goes on from the old answers"
    gone = keys(answered, maker="model 2", kept=lambda answer: answer.file != "b.png")
    assert gone["a"] == made["a"] and gone["b"] != made["b"], "the lost one is made anew, under a new key"
    assert keys(answered, kept=lambda answer: False) == made, "made again by the same model: the same keys"
    edited = replace(answered, turns=(replace(answered.turns[0], seed=5), *answered.turns[1:]))
    assert keys(edited, kept=lambda answer: True)["a"] != made["a"], "an answer of other words is none"


def opened(picture: Picture, mode: str):
    """A picture that tells where it came from."""
    value = {"a.png": 0.25, "b.png": 0.5, "made.png": 0.75}[picture.file]
    return torch.full((32, 48), 1.0) * (torch.arange(48) < 24) if mode == "L" else torch.full((32, 48, 3), value)


def test_the_branch_becomes_a_long_context_unit():
    tree = Record((
        Turn("t1", None, "make it night", (Picture("a.png"),), (Picture("b.png"),),
             answer=Answer("made.png", "output", KEY)),
        Turn("beside", "t1", "not this"),
        Turn("t2", "t1", "{image} as {previous.image}, and {image1}",
             (Picture(answer_of="t1"), Picture("b.png", "input")))), "t2")
    lcu = tree.lcu(opened)
    assert lcu.instructions() == ["{image} make it night", "{image1} as {image}, and {image2}"]
    assert [float(frame.image.mean()) for frame in lcu.frames()[1:]] == [0.25, 0.75, 0.5]
    assert lcu.turns[0].masks[0].sum() == 32 * 24 and lcu.turns[1].masks == (None, None)
    assert [turn.instruction for turn in tree.lcu(opened, "beside").turns] == ["{image} make it night", "not this"]
    short = replace(tree, turns=(*tree.turns[:2], replace(tree.turns[2], instruction="go on", settings=Settings(max_rounds=0))))
    assert len(short.lcu(opened).turns) == 1 and short.lcu(opened).forgotten == 1
    assert FORGOTTEN not in "".join(short.lcu(opened).instructions())


def test_room_is_added_around_the_target_image():
    tree = Record((Turn("a", None, "{image} go on", (Picture("a.png"),), room=(0.0, 0.0, 1.0, 0.0)),), "a")
    unit = tree.lcu(opened).turns[0]
    assert unit.images[0].shape == (32, 96, 3) and unit.masks[0].shape == (32, 96)
    assert (unit.masks[0] == (torch.arange(96) >= 48)).all() and (unit.images[0][:, 48:] == 0).all()


def test_an_answer_that_is_not_there_yet():
    tree = Record((Turn("a"), Turn("b", "a", "", (Picture(answer_of="a"),))), "b")
    with pytest.raises(RecordError, match="turn a has no answer yet.*run that turn first"):
        tree.lcu(opened)


def test_ten_thousand_turns():
    chain = Record(tuple(Turn(str(n), str(n - 1) if n else None) for n in range(10_000)), "9999")
    assert len(read(write(chain)).branch()) == len(chain.needed()) == len(keys(chain)) == 10_000
