"""Long-context condition units: placeholders, frames, limits (spec/ace.md section 5, DESIGN.md contracts)."""

import pytest
import torch

from ace_model.images import ImageError
from ace_model.lcu import ConditionUnit, LCUError, LongContextUnit, name_image
from ace_model.masks import MaskError


def picture(height=32, width=48):
    return torch.rand(height, width, 3)


def box_mask(height=32, width=48):
    mask = torch.zeros(height, width)
    mask[:16, :16] = 1
    return mask


def conversation(*turns, rounds=9):
    """Each turn: (instruction, number of images)."""
    lcu = LongContextUnit()
    for instruction, images in turns:
        lcu = lcu.then(ConditionUnit(instruction, [picture() for _ in range(images)]), rounds)
    return lcu


def test_first_turn_keeps_placeholders_as_written():
    assert conversation(("{image} in the style of {image1}", 2)).instructions() == ["{image} in the style of {image1}"]


def test_single_image_history_is_numbered_as_the_reference_does():
    lcu = conversation(("{image} a", 1), ("{image} b", 1), ("{image} c", 1))
    assert lcu.instructions() == ["{image} a", "{image1} b", "{image2} c"]
    frames = lcu.frames(negative="bad")
    assert [f.text for f in frames] == ["{image2} c", "{image} a", "{image1} b", "{image2} c"]
    assert [f.negative_text for f in frames] == ["bad", "{image} a", "{image1} b", "bad"]
    assert frames[0].image is None and [f.image is t.images[0] for f, t in zip(frames[1:], lcu.turns, strict=True)] == [
        True] * 3


def test_several_images_of_a_turn_share_its_text_and_only_the_last_gets_the_negative():
    frames = conversation(("{image} a", 1), ("{image} with {image1}", 2)).frames(negative="bad")
    assert [f.text for f in frames] == ["{image1} with {image2}", "{image} a", *["{image1} with {image2}"] * 2]
    assert [f.negative_text for f in frames] == ["bad", "{image} a", "{image1} with {image2}", "bad"]


def test_text_only():
    frames = conversation(("a red barn", 0)).frames(negative="bad")
    assert [(f.text, f.negative_text) for f in frames] == [("a red barn", "bad")]


def test_a_last_turn_without_image_leaves_earlier_texts_alone():
    frames = conversation(("{image} a", 1), ("now only words", 0)).frames(negative="bad")
    assert [(f.text, f.negative_text) for f in frames] == [("now only words", "bad"), ("{image} a", "{image} a")]


def test_earlier_pictures_by_counting_turns_back():
    lcu = conversation(("{image} and {image1}", 2), ("{image} x", 1),
                       ("{image} like {previous.image}, hat of {previous2.image1}", 1))
    assert lcu.instructions()[-1] == "{image3} like {image2}, hat of {image1}"


def test_history_is_cut_to_the_maximum_rounds_and_renumbered():
    lcu = conversation(*[("{image} turn", 1)] * 5, rounds=2)
    assert len(lcu.turns) == 3 and lcu.instructions()[-1] == "{image2} turn"
    assert len(conversation(*[("{image} turn", 1)] * 3, rounds=0).turns) == 1


def test_target_mask_and_frame_follow_the_chosen_image():
    unit = ConditionUnit("{image} {image1}", [picture(), picture()], [None, box_mask()])
    lcu = conversation(("{image}", 1)).then(unit)
    assert lcu.target_frame(0) == 2 and lcu.target_frame(1) == 3
    assert lcu.frames(target_index=0)[0].mask is None
    assert lcu.frames(target_index=1)[0].mask is unit.masks[1]
    assert conversation(("words", 0)).target_frame(0) is None


def test_name_image_only_where_there_are_images_and_no_name():
    assert name_image("make it blue", 1) == "{image} make it blue"
    assert name_image("make {image1} blue", 2) == "make {image1} blue"
    assert name_image("put back {previous.image}", 1) == "put back {previous.image}"
    assert name_image("a blue car", 0) == "a blue car"


def error(match, kind=LCUError):
    return pytest.raises(kind, match=match)


def test_names_without_their_image():
    with error(r"names \{image1\}, but nothing is connected to image1 \(this turn has 1 image"):
        conversation(("{image} and {image1}", 1))
    with error(r"names \{image\}, but nothing is connected to image \(this turn has no image.*previous\.image"):
        conversation(("{image}", 1), ("{image} again", 0))
    with error(r"names \{previous\.image\}, but there is no earlier turn: connect history"):
        conversation(("{image} like {previous.image}", 1))
    with error(r"names \{previous\.image1\}, but that turn has 1 image"):
        conversation(("{image}", 1), ("{image} like {previous.image1}", 1))


def test_a_forgotten_turn_cannot_be_named():
    with error(r"names \{previous2\.image\}, but only 1 earlier turn is remembered: .*raise max_rounds"):
        conversation(("{image}", 1), ("{image}", 1), ("{image} like {previous2.image}", 1), rounds=1)


def test_ten_images():
    with error("there are 10 images in one turn, but ACE takes at most 9: remove 1"):
        ConditionUnit("{image}", [picture() for _ in range(10)])
    lcu = conversation(("{image}", 4), ("{image}", 3))
    assert len(lcu.then(ConditionUnit("{image}", [picture(), picture()])).frames()) == 10
    longer = lcu.then(ConditionUnit("{image} as in {previous.image}", [picture() for _ in range(3)]))
    assert len(longer.turns) == 2 and longer.forgotten == 1, "the oldest turn is forgotten"
    assert longer.instructions()[-1] == "{image3} as in {image}"
    with error("names {previous2.image}, but only 1 earlier turn is remembered"):
        lcu.then(ConditionUnit("{image} as in {previous2.image}", [picture() for _ in range(3)]))


def test_target_index_out_of_range():
    with error("target_image is 2, but this turn has 2 images: use 0 to 1"):
        conversation(("{image}", 2)).frames(target_index=2)


@pytest.mark.parametrize("mask", [None, torch.zeros(32, 48), torch.ones(32, 48), torch.zeros(64, 64)])
def test_blanking_needs_a_mask_that_leaves_something(mask):
    with error("no mask marks a part of a picture"):
        ConditionUnit("{image} fill in", [picture()], [mask], blank=True)


def test_blanking_with_a_second_image_without_mask_is_fine():
    unit = ConditionUnit("{image} wears {image1}", [picture(), picture()], [box_mask(), torch.zeros(64, 64)], blank=True)
    assert unit.masks[1].shape == (64, 64)


def test_broken_pictures_are_named():
    bad = picture()
    bad[3, 4, 0] = float("nan")
    with error("image1 contains values that are not numbers", ImageError):
        ConditionUnit("{image}", [picture(), bad])
    with error(r"image has shape \(2, 32, 48, 3\)", ImageError):
        ConditionUnit("{image}", [torch.rand(2, 32, 48, 3)])
    with error("image is 48×8 pixels, but ACE needs at least 16×16", ImageError):
        ConditionUnit("{image}", [picture(8, 48)])
    with error("mask has shape", MaskError):
        ConditionUnit("{image}", [picture()], [torch.rand(1, 32, 48)])
    with error(r"more masks \(1\) than images \(0\): connect an image"):
        ConditionUnit("x", [], [box_mask()])


def test_a_text_longer_than_any_instruction_is_refused_at_once():
    """Looking for names in two million characters took a minute, before the run and for the whole server."""
    with pytest.raises(LCUError, match="2,000,000 characters, but must have at most 100,000"):
        ConditionUnit("{xy} " * 400_000)
    with pytest.raises(LCUError, match="the negative instruction has 100,001 characters"):
        conversation(("{image}", 1)).frames("x" * 100_001)
    ConditionUnit("{xy} " * 20_000)
