"""ACE Conversation in a real server: answers are kept, only new ones run; turns wired by hand give the same bits."""

import json
import os
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from ace_model.comfyui import graph
from ace_model.comfyui.graph import node
from ace_model.record import Picture, Record, Settings, Turn
from ace_model.record_json import write
from demo.page import toys
from demo.requests import to_tensor
from demo.world.judge import judge
from demo.world.scenes import Picture as Shown
from demo.world.scenes import image_of
from demo.world.tasks import MULTI_TURN
from tests.fuzz.clear import is_clear
from tools.comfy_server import ComfyServer, PromptError
from tools.gallery.graph import ROOT
from tools.gallery.models import DEMO_DIT, DEMO_T5, DEMO_VAE

import graphs  # isort: skip

FAST = Settings(steps=2)
FOLDER = "output/ACE conversation"


def turn(name, parent, instruction, images, **more):
    return Turn(name, parent, instruction, tuple(images), settings=FAST, **more)


FIRST = turn("t1", None, "make {image} night", [Picture("a.png", "input")], masks=(Picture("mask.png", "input"),), seed=1)
SECOND = turn("t2", "t1", "{image} in the colors of {image1}", [Picture(answer_of="t1"), Picture("c.png", "input")], seed=2)
THIRD = turn("t3", "t2", "{image} as {previous.image}", [Picture(answer_of="t2")], seed=3)
FOURTH = turn("t4", "t3", "go on", [Picture(answer_of="t3")], seed=4)
TREE = Record((FIRST, SECOND, THIRD), "t3")


def talk(record, model="ace_tiny.safetensors", **links):
    return graphs.loaders(model) | {"chat": node("ACEEditorConversation", model=["model", 0], clip=["clip", 0], vae=["vae", 0],
                                                 record=record if isinstance(record, str) else write(record), **links)}


def ask(server, graph, **extra):
    """({turn: answer}, how many were sampled)."""
    begin = len(server.events)
    outputs = server.run(graph, **extra)
    sampled = {e["data"]["node"] for e in server.events[begin:] if e["type"] == "executing" and str(
        e["data"]["node"]).endswith((" latent",))}
    found = [answer for out in outputs.values() for answer in out.get("ace_answers", ())]
    return {answer["turn"]: answer for answer in found}, len(sampled)


def pixels(base, answer):
    return np.array(Image.open(base / answer["in"] / answer["file"]))


@pytest.fixture(scope="module")
def asked(server):
    return ask(server, talk(TREE))


def test_three_turns_are_the_same_bits_as_wired_by_hand(server, base, asked):
    answers, sampled = asked
    assert sampled == 3 and set(answers) == {"t1", "t2", "t3"} and all(answer["made"] for answer in answers.values())
    saved = {name: f"{answer['file']} [output]" for name, answer in answers.items()}
    loaded = {name: node("LoadImage", image=image) for name, image in {**saved, "a": "a.png", "c": "c.png"}.items()}
    by_hand = graphs.loaders() | loaded | {"mask": node("LoadImageMask", image="mask.png", channel="red")}
    for n, (turn, images, masks) in enumerate([
            (FIRST, ["a"], {0: ["mask", 0]}), (SECOND, ["t1", "c"], {}), (THIRD, ["t2"], {})]):
        by_hand |= graph.turn(f"by hand {n}", turn.instruction, [[image, 0] for image in images], masks,
                              history=[f"by hand {n - 1} lcu", 0] if n else None, sampling={"seed": turn.seed, "steps": 2},
                              name_image=True)
        made = [f"by hand {n} image", 0]
        if masks:
            by_hand["paste"] = node("ACEEditorKeepUntouched", original=["a", 0], result=made, mask=["mask", 0], grow=8,
                                    feather=8)
            made = ["paste", 0]
        by_hand[f"save {n}"] = node("SaveImage", images=made, filename_prefix="by hand")
    outputs = server.run(by_hand)
    for n, name in enumerate(answers):
        exact = np.array(server.image(outputs[f"save {n}"]["images"][0]))
        assert (pixels(base, answers[name]) == exact).all(), name
    assert (pixels(base, answers["t1"])[:, :8] == np.array(Image.open(base / "input/a.png"))[:, :8]).all(), "far from the mask"


def test_only_new_turns_run(server, base, asked):
    assert ask(server, talk(TREE))[1] == 0, "nothing changed"
    more = TREE.then(FOURTH)
    answers, sampled = ask(server, talk(more))
    assert sampled == 1 and answers["t4"]["made"] and {name: answers[name]["key"] for name in asked[0]} == {
        name: answer["key"] for name, answer in asked[0].items()}
    server.run({"load": node("LoadImage", image="c.png"), "see": node("PreviewImage", images=["load", 0])})
    assert ask(server, talk(more))[1] == 0, "another graph ran"
    branch = more.then(turn("t2b", "t1", "something else", [Picture(answer_of="t1")]))
    assert ask(server, talk(branch))[1] == 1 and ask(server, talk(replace(branch, at="t4")))[1] == 0, "a branch, and back"
    assert ask(server, talk(replace(branch, at="t2b")))[1] == 0


def test_another_meta_tells_the_answers_again(server, asked):
    """Of the very same text ComfyUI runs nothing, and tells nothing."""
    ask(server, talk(TREE))
    assert ask(server, talk(TREE)) == ({}, 0)
    answers, sampled = ask(server, talk(replace(TREE, turns=(FIRST, SECOND, replace(THIRD, meta={"run": "2"})))))
    assert sampled == 0 and {name: answer["key"] for name, answer in answers.items()} == {
        name: answer["key"] for name, answer in asked[0].items()}


@pytest.mark.parametrize("options", [[], ["--cache-classic"], ["--cache-lru", "20"], ["--cache-none"]])
def test_after_a_restart_and_with_other_caches(base, asked, options):
    more = TREE.then(turn("t4", "t3", "go on", [Picture(answer_of="t3")], seed=100 + len(str(options))))
    with ComfyServer(base, extra_args=options) as other:
        assert ask(other, talk(TREE))[1] == 0
        assert ask(other, talk(more))[1] == 1 and ask(other, talk(more))[1] == 0


def test_a_lost_or_damaged_answer_is_made_again_the_same(server, base, asked):
    answer = asked[0]["t2"]
    path, before = base / "output" / answer["file"], pixels(base, asked[0]["t2"])
    path.unlink()
    answers, sampled = ask(server, talk(TREE))
    assert sampled == 1 and answers["t2"]["key"] == answer["key"] and (pixels(base, answers["t2"]) == before).all()
    path.write_bytes(path.read_bytes()[:-200])
    assert ask(server, talk(TREE))[1] == 1 and (pixels(base, answer) == before).all()
    assert not list(path.parent.glob("*.new"))


def test_no_file_but_an_answers_own_is_ever_written(server, base, asked):
    """A record may claim any file as its answer."""
    for place in ("input", "output"):
        (base / place / "notes.txt").write_text("mine")
        record = json.loads(write(replace(TREE, turns=(FIRST,), at="t1")))
        record["turns"][0]["answer"] = {"file": "notes.txt", "in": place, "key": asked[0]["t1"]["key"]}
        answers, _ = ask(server, talk(json.dumps(record)))
        assert (base / place / "notes.txt").read_text() == "mine"
        assert answers["t1"]["file"] == asked[0]["t1"]["file"]


@pytest.mark.parametrize("file, place, key", [
    ("../escaped.png", "output", "0123456789abcdef-0123456789abcdef"), ("ACE conversation/mine.png", "output", "mine"),
    ("notes.png", "input", "0123456789abcdef-0123456789abcdef"), ("/tmp/escaped.png", "output", "x"),
    ("ACE conversation/../../x.png", "output", "0123456789abcdef-0123456789abcdef")])
def test_the_part_that_saves_answers_writes_nothing_else(server, base, file, place, key):
    """A workflow from somebody else may hold it, though no menu does."""
    before = {path for path in base.rglob("*") if path.is_file()}
    with pytest.raises(PromptError, match="is not where an answer with the key") as caught:
        server.run(graphs.picture("a.png") | {"part": node(
            "ACEEditorConversationAnswer", turn="t", key=key, maker="", file=file, place=place, record="", answered="",
            image=["load a.png", 0]), "see": node("PreviewImage", images=["part", 0])})
    assert is_clear(caught.value.message)
    new = {path for path in base.rglob("*") if path.is_file()} - before
    assert not [path for path in new if "escaped" in path.name or path.suffix == ".png"]


@pytest.mark.parametrize("file", ["../outside.png", "{base}/outside.png", "sub/../../outside.png"])
def test_the_part_that_opens_pictures_stays_in_their_folders(server, base, file):
    Image.new("RGB", (16, 16), "red").save(base / "outside.png")
    with pytest.raises(PromptError, match="a name inside its folder"):
        server.run({"part": node("ACEEditorRecordPicture", file=file.format(base=base), place="input"),
                    "see": node("PreviewImage", images=["part", 0])})


def test_the_part_that_opens_pictures_waits_for_no_pipe(server, base):
    os.mkfifo(base / "input/pipe.png")
    record = Record((turn("a", None, "", [Picture("pipe.png", "input")]),), "a")
    with pytest.raises(PromptError, match="pipe.png in ComfyUI's input folder is no file: choose"):
        server.run(talk(record), timeout=60)


def test_the_part_that_shows_answers_says_that_there_are_none(server):
    unit = {"unit": graph.condition_unit("a barn")} | graph.remember("", ["unit", 0])
    with pytest.raises(PromptError, match="needs images") as caught:
        server.run(unit | {"part": node("ACEEditorConversationBranch", lcu=["lcu", 0], other=1),
                           "see": node("PreviewImage", images=["part", 0])})
    assert is_clear(caught.value.message)


@pytest.mark.parametrize("name", ["turns", "branch", "a answer"])
def test_nodes_around_it_may_have_any_id(server, name):
    """Those of the nodes inside, too."""
    record = Record((turn("a", None, f"not the {name}", []),), "a")
    answers, sampled = ask(server, talk(record, image=[name, 0]) | {name: node("LoadImage", image="c.png")})
    assert sampled == 1 and answers["a"]["made"]


@pytest.mark.parametrize("extra", [
    {"workflow": []}, {"workflow": "text"}, {"workflow": {"nodes": None}}, {"workflow": {"nodes": [1, None, [2]]}},
    {"workflow": {"nodes": [], "definitions": {"subgraphs": None}}}, [1], "text", {"ключ": 1}, {"": 1}, {"k" * 80: 1},
    {"a\0b": 1}, {" a": 1}])
def test_an_answer_is_kept_whatever_is_sent_beside_its_graph(server, base, extra):
    """Over the API: no other program than the page need send a workflow as the page does."""
    record = Record((turn("a", None, f"make {{image}} {ascii(extra)}", [Picture("a.png", "input")]),), "a")
    answers, sampled = ask(server, talk(record), extra_pnginfo=extra)
    info = Image.open(base / "output" / answers["a"]["file"]).info
    assert sampled == 1 and "prompt" in info
    if isinstance(extra, dict) and "workflow" in extra:
        assert json.loads(info["workflow"]) == extra["workflow"]
    else:
        assert set(info) == {"prompt"}


def test_another_model_replaces_nothing(server, base, asked):
    record = json.loads(write(TREE.then(FOURTH)))
    for data in record["turns"][:3]:
        answer = asked[0][data["id"]]
        data["answer"] = {name: answer[name] for name in ("file", "in", "key")}
    files = {path.name: path.stat().st_mtime_ns for path in (base / FOLDER).iterdir()}
    patched = talk(json.dumps(record))
    patched["rescale"] = node("RescaleCFG", model=["model", 0], multiplier=0.3)
    patched["chat"]["inputs"]["model"] = ["rescale", 0]
    answers, sampled = ask(server, patched)
    assert sampled == 1 and answers["t4"]["made"] and [answers[f"t{n}"]["key"] for n in (1, 2, 3)] == [
        asked[0][f"t{n}"]["key"] for n in (1, 2, 3)]
    plain = ask(server, talk(json.dumps(record)))[0]["t4"]
    assert plain["key"].split("-")[0] == answers["t4"]["key"].split("-")[0] and plain["key"] != answers["t4"]["key"]
    assert files == {
        path.name: path.stat().st_mtime_ns for path in (base / FOLDER).iterdir() if path.name in files}


@pytest.mark.parametrize("color", ["red", "green"])
def test_the_third_answer_is_right_and_only_the_history_tells_it(server, base, color):
    """The demo model, by its own judge. The pictures of the second and third turn are the same for both colors."""
    first, purple = (toys.TOY.change(0, color=each) for each in (color, "purple"))
    texts = (f"make the {color} star in {{image}} purple", "show {image} at night",
             "{image} with the colors of {previous2.image}")
    turns = []
    for i, (scene, text) in enumerate(zip((first, purple, purple.but(light="night")), texts, strict=True)):
        image_of(Shown(scene)).save(base / f"input/{color} {i}.png")
        turns.append(Turn(f"t{i}", f"t{i - 1}" if i else None, text, (Picture(f"{color} {i}.png", "input"),), seed=1,
                          settings=Settings(guidance=1.5, rescale=0.0)))
    demo = talk(Record(tuple(turns), "t2")) | graphs.loaders(DEMO_DIT, DEMO_T5, DEMO_VAE)
    answer = ask(server, demo)[0]["t2"]
    picture = Image.open(base / "output" / answer["file"]).convert("RGB")
    assert judge(toys.asked(MULTI_TURN, texts[2], [first], first.but(light="night")), to_tensor(picture))[0]


def test_outputs_the_connected_picture_room_and_another_sampler(server, base):
    wider = turn("b", "a", "wider", [Picture(answer_of="a")], room=(0.0, 0.0, 0.5, 0.0))
    again = replace(turn("c", "b", "again", [Picture(answer_of="b")]), settings=replace(FAST, sampler="heun"))
    record = Record((turn("a", None, "go on", []), wider, again), "c")
    asking = talk(record, image=["load b.png", 0]) | graphs.picture("b.png") | {
        "one": node("SaveImage", images=["chat", 0], filename_prefix="one"),
        "all": node("SaveImage", images=["chat", 1], filename_prefix="all")} | graph.turn(
            "next", "and once more", [["chat", 0]], history=["chat", 2], sampling={"steps": 2}) | {
        "last": node("SaveImage", images=["next image", 0], filename_prefix="last")}
    outputs = server.run(asking)
    found = {a["turn"]: a for out in outputs.values() for a in out.get("ace_answers", ())}
    sizes = {name: Image.open(base / a["in"] / a["file"]).size for name, a in found.items()}
    assert sizes == {"a": (32, 80), "b": (48, 80), "c": (48, 80)}
    several = [np.array(server.image(info)) for info in outputs["all"]["images"]]
    assert [(image == pixels(base, found[name])).all() for name, image in zip("abc", several, strict=True)] == [True] * 3
    assert (np.array(server.image(outputs["one"]["images"][0])) == several[-1]).all()
    assert outputs["last"]["images"]


def test_the_saved_picture_opens_as_the_same_conversation(server, base):
    record = Record((turn("x", None, "make {image} gray", [Picture("a.png", "input")], seed=11),), "x")
    text = write(record)
    page = {"nodes": [{"id": 1, "type": "ACEEditorConversation", "widgets_values": [text]}], "links": [], "version": 0.4}
    answers, _ = ask(server, talk(text), extra_pnginfo={"workflow": page})
    saved = json.loads(Image.open(base / "output" / answers["x"]["file"]).info["workflow"])
    turns = json.loads(saved["nodes"][0]["widgets_values"][0])["turns"]
    assert turns[0]["answer"] == {name: answers["x"][name] for name in ("file", "in", "key")}
    assert {name: value for name, value in turns[0].items() if name != "answer"} == json.loads(text)["turns"][0]


def test_answers_hold_no_workflow_where_metadata_is_off(base, asked):
    with ComfyServer(base, extra_args=["--disable-metadata"]) as quiet:
        record = Record((turn("q", None, "make {image} plain", [Picture("a.png", "input")], seed=12),), "q")
        answers, _ = ask(quiet, talk(record), extra_pnginfo={"workflow": {"nodes": []}})
    assert not {"prompt", "workflow"} & set(Image.open(base / "output" / answers["q"]["file"]).info)


def test_settings_have_the_limits_and_defaults_of_the_widgets(server):
    schema = json.loads((ROOT / "ace_model/record.schema.json").read_text(encoding="utf-8"))["$defs"]["settings"]["properties"]
    widgets = {}
    for kind in ("KeepUntouched", "LongContextUnit", "ConditionTokenizer", "Sampler"):
        for inputs in server.object_info(f"ACEEditor{kind}")["input"].values():
            widgets |= {name: spec[1] for name, spec in inputs.items() if len(spec) > 1 and "min" in spec[1]}
    numbers = {name: rule for name, rule in schema.items() if "minimum" in rule}
    assert numbers and {name: (rule["minimum"], rule["maximum"], rule["default"]) for name, rule in numbers.items()} == {
        name: (widgets[name]["min"], widgets[name]["max"], widgets[name]["default"]) for name in numbers}


@pytest.mark.parametrize("record, says", [
    ('{"version": 1, "turns": []}', "no turn yet"), ('{"version": 2, "turns": []}', "update the pack"), ("{", "not valid JSON"),
    (Record((turn("a", None, "", [Picture("gone.png", "input")]),), "a"), "gone.png.*put it back, or choose another"),
    (Record((turn("a", None, "", [Picture("x.png")]),), "a"), "x.png has no folder"),
    (Record((turn("a", None, "{imgae}", [Picture("a.png", "input")]),), "a"), "did you mean {image}"),
    (Record((Turn("a", None, "", (Picture("a.png", "input"),), settings=Settings(sampler="none such")),), "a"), "sampler"),
])
def test_a_record_that_cannot_run(server, base, record, says):
    before = set((base / FOLDER).glob("*"))
    with pytest.raises(PromptError, match=says) as caught:
        server.run(talk(record))
    assert is_clear(caught.value.message)
    assert set((base / FOLDER).glob("*")) == before


def test_a_failed_turn_keeps_the_answers_before_it(server, base):
    record = Record((turn("ok", None, "make {image} red", [Picture("a.png", "input")], seed=21),
                     turn("bad", "ok", "{image5} is not there", [Picture(answer_of="ok")])), "bad")
    with pytest.raises(PromptError, match="image5"):
        server.run(talk(record))
    assert ask(server, talk(replace(record, at="ok")))[1] == 0
