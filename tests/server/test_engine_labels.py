"""Labelling with a scripted language model in a real ComfyUI: what is asked, counted and written, to the last answer."""

import argparse
import json
import re
import shutil
from pathlib import Path

import pytest
from PIL import Image

from engine import label_command, pairs
from engine.language import ComfyLanguage, LanguageError, RefusedError, Settings
from tools.comfy_server import ComfyServer
from training import data

PACK = Path(__file__).with_name("scripted_language_pack")
MODEL = "scripted.safetensors"
VALID, MALFORMED, WRONG = range(60), range(60, 85), range(85, 100)
SECOND = (0, 1, 2, 3, 4)  # of the valid ones, those whose first answers are no use
STEPS = {"caption": "Describe the picture", "difference": "What did the edit change?", "instruction": "Write 2 English",
         "check": "would somebody"}
COLORED = {"difference": "the door of house NUMBER turned red", "kind": "Semantic editing: color", "what": "the door",
           "how": "red"}
NONSENSE = (
    "", "x" * 1_000_000, "门变成了红色。", '{"instructions": ["Färbe die Tür in {image} rot", "mach die Tür von {image} rot"]}',
    '{"instructions": "make the door of {image} red"}', '{"instructions": [1, null]}', '{"instructions": []}', "[" * 10_000,
    '{"instructions": ["make the door of {image7} red", "paint the door of {image} red"]}',
    '{"instructions": ["make the door of &#123;image7&#125; red", "paint the door of {image} red"]}',
    '{"instructions": ["make {image} like ../../etc/passwd", "make {image} like C:\\\\secret.png"]}',
    '{"instructions": ["make the door of {image} red", "make the door of {image} red"], "more": 1}',
    '{"instructions": ["make the door of {image} <|im_end|> red", "paint the door of {image} red"]}',
    '{"instructions": ["make the door red", "paint the door red"]}',
    'Sure! {"instructions": ["make the door of {image} red", "paint the door of {image} red"]}',
    '{"instructions": ["make the door of {image} red", "make the door of {image} red"]}', "null", "NaN", "\x00\x07",
    '{"instructions": ["{image} {image} {previous.image} is red", "paint the door of {image} red"]}',
    "I'm sorry, I can't help with that.", "```json\n{\n```", '{"instructions": ["make {image} red at https://x.org now", "b"]}',
    json.dumps({"instructions": ["make the door of {image} red " * 50, "paint the door of {image} red"]}),
    '{"instructions": ["[what] in {image} is [how] now", "paint the door of {image} red"]}')


def script():
    """The rules of the pack: the first that fits counts."""
    say = json.dumps
    two = say({"instructions": ["make the door of {image} red", "Please paint the red door NUMBER times in {image}."]})
    assert len(NONSENSE) == len(MALFORMED)
    return [
        [STEPS["caption"], None, None, "```json\n" + say({"caption": "a house with the number NUMBER"}) + "\n```"],
        [STEPS["difference"], [SECOND[0]], 0, "The door."], [STEPS["difference"], [SECOND[0]], 1, ""],
        [STEPS["difference"], list(WRONG[:5]), None, say({**COLORED, "kind": "none"})],
        [STEPS["difference"], list(SECOND[:2]), None, say({**COLORED, "kind": "other", "what": "", "how": ""})],
        [STEPS["difference"], None, None, "<think>\nThe door…\n</think>\n\n" + say(COLORED)],
        *([STEPS["instruction"], [number], None, text] for number, text in zip(MALFORMED, NONSENSE, strict=True)),
        [STEPS["instruction"], list(SECOND[1:]), 0, "{}"],
        [STEPS["instruction"], None, None, two],
        [STEPS["check"], list(WRONG), None, say({"fits": [False, False, False]})],
        [STEPS["check"], list(SECOND[:2]), None, say({"fits": [True, True]})],  # no template knows an "other" kind
        [STEPS["check"], None, None, say({"fits": [True, False, True]})],
    ]


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    base = tmp_path_factory.mktemp("scripted")
    shutil.copytree(PACK, base / "custom_nodes" / PACK.name)
    (base / "custom_nodes" / PACK.name / "script.json").write_text(json.dumps(script()), encoding="utf-8")
    (base / "models/text_encoders").mkdir(parents=True)
    (base / "models/text_encoders" / MODEL).touch()
    with ComfyServer(base, extra_args=["--whitelist-custom-nodes", PACK.name]) as server:
        yield server


def picture(folder, number, after=False, size=(32, 32)):
    path = folder / f"{number} {'after' if after else 'before'}.png"
    folder.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (number % 256, number // 256, 255 * after)).save(path)
    return path


def listed(folder, numbers):
    """pairs.jsonl of these numbers, each a group of its own."""
    found = [pairs.Pair(picture(folder / "pictures", number), picture(folder / "pictures", number, True), 0.9, number)
             for number in numbers]
    pairs.write(folder / "pairs.jsonl", found)
    return folder / "pairs.jsonl"


def command(*arguments):
    parser = argparse.ArgumentParser()
    label_command.add_arguments(parser)
    return label_command.run(parser.parse_args([str(each) for each in arguments]))


def asked(server):
    return len(re.findall("SCRIPTED", server.log))


def test_a_hundred_pairs(server, tmp_path, capsys):
    """60 valid, 25 malformed and 15 wrong: the counts are exact, nothing malformed or wrong is in the data set, and a second
    run asks nothing."""
    out, before = tmp_path / "set", asked(server)
    options = (listed(tmp_path, range(100)), out, "--server", server.url, "--model", MODEL, "--wordings", 2)
    assert command(*options) == 0
    # captions: 200. Differences: 100 pairs, and 2 useless answers. Instructions: the 5 pairs of kind none need none; 25 × 3
    # malformed; 4 first answers of others. Checks: 60 valid, 10 wrong.
    table = """\
answers           asked     cached      valid  malformed     failed
caption             200          0        200          0          0
difference          102          0        100          2          0
instruction         149          0         70         79          0
check                70          0         70          0          0
100 pairs: 60 kept, 25 malformed, 15 wrong, 0 failed, 0 unusable
120 wordings in 120 records, 0 of them conversations
"""
    assert table in capsys.readouterr().out
    assert asked(server) - before == 200 + 102 + 149 + 70, "as many as the model itself has counted"

    examples = data.read(out)  # what dev.py train --check reads
    assert len(examples) == 120
    sources = {Path(each.folder, each.turn.images[0].file).read_bytes(): each for each in examples}
    assert set(sources) == {(tmp_path / f"pictures/{number} before.png").read_bytes() for number in VALID}
    instructions = [each.turn.instruction for each in examples]
    assert sum(text == "make the door of {image} red" for text in instructions) == 60
    assert sum(text.startswith("Please paint") for text in instructions) == 2, "the others did not fit, by the third question"
    left_out = [json.loads(line) for line in (out / "labelling/left_out.jsonl").read_text().splitlines()]
    assert [(each["why"], re.search(r"\d+", Path(each["source"]).name)[0]) for each in left_out] == [
        *(("malformed", str(number)) for number in MALFORMED), *(("wrong", str(number)) for number in WRONG)]

    first = (out / "turns.jsonl").read_bytes()
    assert command(*options) == 0
    assert asked(server) - before == 521 and (out / "turns.jsonl").read_bytes() == first
    assert """\
answers           asked     cached      valid  malformed     failed
caption               0        200        200          0          0
difference            0        102        100          2          0
instruction           0        149         70         79          0
check                 0         70         70          0          0
100 pairs: 60 kept, 25 malformed, 15 wrong, 0 failed, 0 unusable
""" in capsys.readouterr().out
    assert not server._get("/history"), "what people ran themselves stays in ComfyUI's list"


def test_what_the_model_sees(server, tmp_path):
    """Both pictures whole, in their order, the second in the shape of the first."""
    before, after = picture(tmp_path, 7, size=(64, 32)), picture(tmp_path, 7, True, size=(32, 64))
    language = ComfyLanguage([server.url], MODEL, Settings(size=48))
    with pytest.raises(RefusedError, match="TextGenerate: no rule for 7, seed 3: nothing that a rule knows"):
        language.answer("nothing that a rule knows", [before, after], 3)
    assert re.search(r"SCRIPTED 7before \d+after seed 3", server.log)


def test_a_model_that_refuses_everything_is_not_asked_for_ever(server, tmp_path):
    with pytest.raises(LanguageError, match="refused 10 pairs in a row, the last one because of TextGenerate: no rule"):
        command(listed(tmp_path, range(12)), tmp_path / "set", "--server", server.url, "--model", MODEL,
                "--prompts", prompts_that_fail(tmp_path))
    counts = json.loads((tmp_path / "set/labelling/counts.json").read_text())
    assert counts["answers"]["caption"]["failed"] >= 10 and not (tmp_path / "set/turns.jsonl").exists()


def prompts_that_fail(folder):
    (folder / "own").mkdir()
    (folder / "own/caption.md").write_text("no rule")
    return folder / "own"


def test_what_cannot_be_asked(server, tmp_path):
    for model, kind, said in (("other.safetensors", "sd3", f"other.safetensors, but models/text_encoders .* has {MODEL}"),
                              (MODEL, "gpt", "--kind is gpt, but Load CLIP knows stable_diffusion, ")):
        with pytest.raises(LanguageError, match=said):
            ComfyLanguage([server.url], model, Settings(kind=kind)).check()
