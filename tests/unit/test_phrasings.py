"""Phrasings and example pictures."""

import re

import pytest

from ace_model.lcu import PLACEHOLDER
from starters import pictures
from starters.phrasings import PHRASINGS, TASKS, PhrasingError, phrase, phrasings


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


def test_gaps_are_filled_and_text_is_spelled():
    replaced = phrase("Element editing: replace object", 1, " the cup ", "a glass")
    assert replaced == "replace the cup in {image} with a glass"
    assert phrase("Element editing: write text", 1, "NO EXIT").startswith('write "N O E X I T"')


def test_errors_say_what_there_is():
    with pytest.raises(PhrasingError, match="Analysis: depth"):
        phrase("Analysis: deepness")
    with pytest.raises(PhrasingError, match="Repainting"):
        phrase("Painting: oil")
    with pytest.raises(PhrasingError, match="has 2: choose 1 to 2"):
        phrase("Analysis: pose", 3)
    with pytest.raises(PhrasingError, match="needs what, but what is empty"):
        phrase("Element editing: remove object")


def test_all_task_types_are_there():
    assert len(PHRASINGS) >= 9 and len(TASKS) >= 40


@pytest.mark.parametrize("name", pictures.names())
def test_every_example_loads(name):
    image, mask = pictures.load(name)
    assert image.shape[0] == 1 and image.shape[-1] == 3 and image.shape[:3] == mask.shape
    assert all(side % 16 == 0 for side in image.shape[1:3]) and image.shape[1] * image.shape[2] <= 1200 * 256
    assert image.min() >= 0 and image.max() <= 1


def test_a_missing_example_says_what_there_is(tmp_path, monkeypatch):
    with pytest.raises(pictures.ExampleError, match="cat.jpg"):
        pictures.load("../../LICENSE")
    monkeypatch.setattr(pictures, "FOLDER", tmp_path)
    with pytest.raises(pictures.ExampleError, match="install the pack again"):
        pictures.load("cat.jpg")
