"""Every workflow opens as it was described and would submit what the server tests run. The models are not there: the page
names every missing file, and nothing else is wrong.

SCREENSHOTS=FOLDER also saves a picture of each.
"""

import json
import os
import re
from pathlib import Path

import pytest

from tools.gallery.api import api_graph
from tools.gallery.build import workflows
from tools.gallery.descriptions.data import WORKFLOWS as DATA
from tools.gallery.graph import PACK, ROOT

FLOWS = {title: describe(title) for title, describe in workflows().items()}
BY_HAND = ("ACE Start here", "ACE Outpaint", "ACE++ Try-on")  # the others are opened without the template dialog

PLACEHOLDERS = {  # what ordinary prompt boxes would destroy
    "ACE Start here": {"{image}", "{previous.image}"}, "ACE Inpaint": {"{image}"},
    "ACE Style from a picture": {"{image}", "{image1}"}, "ACE Try-on": {"{image}", "{image1}"},
    "ACE Reference": {"{image}", "{image1}", "{image2}"}, "ACE Conversation": {"{image}", "{previous2.image}"},
}


@pytest.fixture(scope="module")
def models():
    return False


def names_in(submitted: dict) -> set[str]:
    """The placeholders in all instructions that the page submits."""
    texts = [node["inputs"]["instruction"] for node in submitted.values() if node["class_type"] == "ACEEditorConditionUnit"]
    return {name for text in texts if isinstance(text, str) for name in re.findall(r"\{[^}]*\}", text)}


def differences(expected, found, path="") -> list[str]:
    """Where two JSON values differ."""
    if isinstance(expected, dict) and isinstance(found, dict):
        return [text for key in expected.keys() | found.keys()
                for text in differences(expected.get(key), found.get(key), f"{path}/{key}")]
    if isinstance(expected, list) and isinstance(found, list) and len(expected) == len(found):
        return [text for i, pair in enumerate(zip(expected, found, strict=True))
                for text in differences(*pair, f"{path}[{i}]")]
    return [] if expected == found else [f"{path}: {str(expected)[:80]} → {str(found)[:80]}"]


def test_templates_are_listed(page):
    listed = page.tab.evaluate("async () => (await fetch('/api/workflow_templates')).json()")
    assert set(listed[PACK]) == set(FLOWS)


@pytest.mark.parametrize("title", FLOWS)
def test_workflow_opens(page, title):
    content = json.loads((ROOT / "workflows" / f"{title}.json").read_text(encoding="utf-8"))
    if title in BY_HAND:
        page.open_template(title)
    else:
        page.load(page.template(title))
    wanted = {value for node in api_graph(FLOWS[title]).values() for value in node["inputs"].values()
              if isinstance(value, str) and re.search(r"\.(safetensors|pth)$", value)}
    if title not in ("ACE Start here", "ACE Talk to your pictures", "ACE What the model sees", "ACE Fast", *DATA):  # need none
        assert len(wanted) >= 3
        page.see_errors()
        assert page.missing_models() == wanted
    assert page.complaints(models=False) == []
    saved = page.serialized()
    saved["extra"].pop("ds", None)  # where the view stands
    assert differences(content, saved) == []  # every link, slot, size and value is as the page itself would write it
    submitted = {key: {"class_type": node["class_type"], "inputs": node["inputs"]} for key, node in page.prompt().items()}
    assert differences(api_graph(FLOWS[title]), submitted) == []
    assert PLACEHOLDERS.get(title, set()) <= names_in(submitted)
    if folder := os.environ.get("SCREENSHOTS"):
        Path(folder).mkdir(parents=True, exist_ok=True)
        page.picture(Path(folder) / f"{title}.png", wait=250)
    assert [error[:200] for error in page.errors] == []
