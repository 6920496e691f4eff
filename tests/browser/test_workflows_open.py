"""Every workflow opens from the template browser as it was described, and would submit what the server tests run."""

import json
import re

import pytest

from tools import tiny_models
from tools.gallery.api import api_graph
from tools.gallery.build import workflows
from tools.gallery.graph import ROOT

FLOWS = {title: describe(title) for title, describe in workflows().items()}
SCREENSHOTS = ROOT / ".dev" / "screenshots"

PLACEHOLDERS = {  # what ordinary prompt boxes would destroy
    "Start here": {"{image}", "{previous.image}"}, "Inpainting": {"{image}"},
    "Style from a second image": {"{image}", "{image1}"}, "Try-on": {"{image}", "{image1}"},
    "Reference generation": {"{image}", "{image1}", "{image2}"},
    "Conversation in three turns": {"{image}", "{previous.image}"},
}


@pytest.fixture(scope="module")
def models():
    return tiny_models.write


@pytest.fixture(scope="module", autouse=True)
def folder():
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)


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


@pytest.mark.parametrize("title", FLOWS)
def test_workflow_opens(page, title):
    content = json.loads((ROOT / "workflows" / f"{title}.json").read_text(encoding="utf-8"))
    page.open_template(title)
    assert page.complaints() == []
    saved = page.serialized()
    saved["extra"].pop("ds", None)  # where the view stands
    assert differences(content, saved) == []  # every link, slot, size and value is as the page itself would write it
    submitted = {key: {"class_type": node["class_type"], "inputs": node["inputs"]} for key, node in page.prompt().items()}
    assert differences(api_graph(FLOWS[title]), submitted) == []
    assert PLACEHOLDERS.get(title, set()) <= names_in(submitted)
    page.picture(SCREENSHOTS / f"{title}.png", wait=250)
    assert page.errors == []
