"""js/ without a page: lint, types, and its rules for records and names against the pack's own Python."""

import json
import os
import re
import shutil
import subprocess
from random import Random

import pytest
import torch

from ace_model.lcu import DEFAULT_ROUNDS, ConditionUnit, LCUError, LongContextUnit, check_placeholders
from ace_model.record import Picture, Record, RecordError, Settings, Turn
from ace_model.record_json import from_data, to_data
from tools.gallery.graph import ROOT

FOLDER = ROOT / "tools/javascript"
RULES = """
import {branch, siblings, leaf, parse, remembered} from '%(js)s/record.mjs'
import {namesIn, misspelt, pieces} from '%(js)s/names.mjs'
let text = ''
for await (const part of process.stdin) text += part
const {records, broken, texts} = JSON.parse(text)
console.log(JSON.stringify({
  records: records.map(record => ({
    branch: branch(record).map(turn => turn.id),
    siblings: record.turns.map(turn => siblings(record, turn).map(other => other.id)),
    leaf: record.turns.map(turn => leaf(record, turn.id)),
    remembered: branch(record).map((turn, i, all) =>
      remembered(all.slice(0, i), turn.images.length, turn.settings.max_rounds).kept.map(t => t.id)),
    whole: 'record' in parse(JSON.stringify(record))
  })),
  broken: broken.map(record => 'error' in parse(JSON.stringify(record))),
  texts: texts.map(text => ({names: namesIn(text), marked: pieces(text, () => true).filter(p => p.kind === 'misspelt').length}))
}))"""


@pytest.fixture(scope="module")
def node():
    """Node.js. Where it is missing these tests are left out, except in CI."""
    found = shutil.which("node")
    if not found and not os.environ.get("CI"):
        pytest.skip("js/ is not checked: Node.js is missing (Debian, Ubuntu: apt install nodejs npm)")
    assert found, "CI needs Node.js"
    return found


@pytest.fixture(scope="module")
def tools(node):
    """Biome and TypeScript in the versions of package.json, installed once into .dev/."""
    folder = ROOT / ".dev/javascript"
    wanted = (FOLDER / "package.json").read_text(encoding="utf-8")
    stamp = folder / "package.json"
    if not (stamp.is_file() and stamp.read_text(encoding="utf-8") == wanted and (folder / "node_modules/.bin/tsc").exists()):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        stamp.write_text(wanted, encoding="utf-8")
        done = subprocess.run(["npm", "install", "--no-package-lock", "--no-audit", "--no-fund", "--silent"], cwd=folder,
                              capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-1000:]
    return folder / "node_modules/.bin"


@pytest.mark.parametrize("command", [("biome", "lint", f"--config-path={FOLDER}", "js"), ("tsc", "-p", str(FOLDER))],
                         ids=["lint", "types"])
def test_checks(tools, command):
    done = subprocess.run([tools / command[0], *command[1:]], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def records(count):
    """Random trees of turns with pictures."""
    rng = Random(5)
    for _ in range(count):
        turns = []
        for number in range(rng.randrange(1, 14)):
            parent = rng.choice([None, *(turn.id for turn in turns[-2:]), *(turn.id for turn in turns[-2:])])
            turns.append(Turn(f"t{number}", parent, "", (Picture("x.png"),) * rng.choice([0, 1, 1, 1, 2, 4]),
                              settings=Settings(max_rounds=rng.choice([0, 1, 2, 5, 5, 9]))))
        yield Record(tuple(turns), rng.choice(turns).id)


def test_the_composers_fields_are_the_schemas():
    schema = json.loads((ROOT / "ace_model/record.schema.json").read_text(encoding="utf-8"))["$defs"]["settings"]["properties"]
    code = (ROOT / "js/conversation/composer.mjs").read_text(encoding="utf-8").replace("ROUNDS,", f"{DEFAULT_ROUNDS},")
    fields = re.findall(r"^  (\w+): \[([\d.]+), ([\d.]+), [\d.]+, ([\d.]+), '", code, re.MULTILINE)
    assert len(fields) == 8 and {name: tuple(map(float, numbers)) for name, *numbers in fields} == {
        name: tuple(float(schema[name][key]) for key in ("minimum", "maximum", "default")) for name, *_ in fields}


TEXTS = ["{image} and {image1}", "{image12}{previous.image}{previous3.image2}", "{imgae}", "{iamge1} in {image}", "{img}",
         "{red}", "no name", "{a|b}", "{damage}", "{images}", "{image}}", "{previus.image}", "{}", "{1}",
         "{village} by {image2}"]


BROKEN = [{"turns": turns, "at": at, "version": 1} for turns, at in (
    ([{}], None), ([None], None), ("t", None), ([{"id": "a"}], "a"), ([{"id": "a", "instruction": 1}], "a"),
    ([{"id": "a b", "instruction": ""}], "a b"), ([{"id": "a", "instruction": ""}], "b"),
    ([{"id": "a", "instruction": ""}], None),
    ([{"id": "a", "instruction": "", "parent": "b"}], "a"), ([{"id": "a", "instruction": "", "images": {}}], "a"),
    ([{"id": "a", "instruction": "", "images": [None]}], "a"), ([{"id": "a", "instruction": "", "images": [{}]}], "a"),
    ([{"id": "a", "instruction": "", "images": [{"answer_of": "a"}]}], "a"),
    ([{"id": "a", "instruction": "", "masks": [1]}], "a"),
    ([{"id": "a", "instruction": "", "answer": {}}], "a"), ([{"id": "a", "instruction": "", "settings": []}], "a"),
    ([{"id": "a", "instruction": ""}, {"id": "a", "instruction": ""}], "a"))]


def test_rules_are_the_same_as_in_python(node):
    made = list(records(60))
    for record in BROKEN:
        with pytest.raises(RecordError):
            from_data(record)
    done = subprocess.run([node, "--input-type=module", "-e", RULES % {"js": (ROOT / "js/conversation").as_uri()}],
                          input=json.dumps({"records": [*map(to_data, made)], "broken": BROKEN, "texts": TEXTS}),
                          capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert all(found["broken"]) and len(found["broken"]) == len(BROKEN)
    for record, told in zip(made, found["records"], strict=True):
        assert told["whole"] and told["branch"] == [turn.id for turn in record.branch()]
        assert told["siblings"] == [[other.id for other in record.siblings(turn.id)] for turn in record.turns]
        lcu = LongContextUnit()
        for turn, kept in zip(record.branch(), told["remembered"], strict=True):
            lcu = lcu.then(ConditionUnit("", [torch.zeros(16, 16, 3)] * len(turn.images)), turn.settings.max_rounds)
            assert len(kept) == len(lcu.turns) - 1
        for turn, leaf in zip(record.turns, told["leaf"], strict=True):
            assert turn.id in [t.id for t in record.branch(leaf)] and not any(t.parent == leaf for t in record.turns)
    for text, told in zip(TEXTS, found["texts"], strict=True):
        try:
            check_placeholders(text, 3)
        except LCUError:
            assert told["marked"] == 1, text
        else:
            assert told["marked"] == 0, text
    assert [name["text"] for name in found["texts"][1]["names"]] == ["{image12}", "{previous.image}", "{previous3.image2}"]


def test_chinese_has_every_text():
    used = set()
    for path in (ROOT / "js/ace_editor.js", *(ROOT / "js/conversation").glob("*.mjs")):
        used |= set(re.findall(r"\bt\('([^']*)'", path.read_text(encoding="utf-8")))
    labels = re.findall(r"\[\d+, [^\]]*'([^']+)'\]", (ROOT / "js/conversation/composer.mjs").read_text(encoding="utf-8"))
    known = json.loads((ROOT / "locales/zh/main.json").read_text(encoding="utf-8"))["aceEditor"]
    assert used | set(labels) == set(known) and all(
        sorted(re.findall(r"\{\w+\}", text)) == sorted(re.findall(r"\{\w+\}", known[text])) for text in known)
