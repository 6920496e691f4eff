"""Windows around masks, and pasting: all result where the mask is, bit-identical beyond the blend."""

import random

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

from ace_model.images import ImageError, fit
from ace_model.masks import MaskError, distance_to
from ace_model.outpaint import add_room
from ace_model.paste import Window, paste, window_around


def picture(height, width, batch=1, seed=0):
    return torch.rand(batch, height, width, 3, generator=torch.Generator().manual_seed(seed))


def mask_of(height, width, rows, columns):
    mask = torch.zeros(1, height, width)
    mask[:, rows, columns] = 1
    return mask


def test_window_holds_the_mask_and_lies_in_the_picture():
    random = torch.Generator().manual_seed(2)
    for _ in range(300):
        height, width = (int(v) for v in torch.randint(128, 900, (2,), generator=random))
        y, x = (int(v) for v in torch.randint(0, 100, (2,), generator=random))
        mask = mask_of(height, width, slice(y, y + 27), slice(x, x + 20))
        window = window_around(mask, margin=0.5, min_size=64)
        assert window.of(mask).sum() == mask.sum()
        assert window.top >= 0 and window.top + window.height <= height
        assert window.left >= 0 and window.left + window.width <= width
        assert window.height % 16 == 0 and window.width % 16 == 0 and min(window.height, window.width) >= 64


def test_window_widens_a_strip():
    window = window_around(mask_of(600, 1200, slice(300, 304), slice(100, 1100)), margin=0, min_size=16)
    assert window.width == 1008 and 4 * window.height >= window.width


@pytest.mark.parametrize("mask, margin, min_size, message", [
    (torch.zeros(1, 200, 300), 0.5, 64, "covers nothing"),
    (torch.ones(1, 200, 300), 0.5, 64, "covers everything"),
    (mask_of(200, 300, slice(9), slice(9)), 0.5, 256, "min_size 256 is larger than the picture of 300×200"),
    (mask_of(40, 800, slice(9), slice(0, 790)), 0.5, 32, "shapes up to 4:1"),
])
def test_window_errors(mask, margin, min_size, message):
    with pytest.raises((ImageError, MaskError), match=message):
        window_around(mask, margin, min_size)


@pytest.mark.parametrize(("grow", "feather"), [(0, 0), (0, 8), (8, 8), (5, 0), (200, 100)])
def test_all_result_under_the_mask_and_every_bit_the_original_beyond_the_blend(grow, feather):
    original, result = picture(96, 128), picture(96, 128, batch=2, seed=1)
    mask = mask_of(96, 128, slice(20, 60), slice(30, 128))
    before = original.clone()
    out = paste(original, result, mask, grow, feather)
    assert out.shape == (2, 96, 128, 3) and torch.equal(original, before)
    near = mask_of(96, 128, slice(max(20 - grow, 0), 60 + grow), slice(max(30 - grow, 0), 128))[0] == 1
    reach = grow + feather
    far = mask_of(96, 128, slice(max(20 - reach, 0), 60 + reach), slice(max(30 - reach, 0), 128))[0] == 0
    assert torch.equal(out[:, near], result[:, near])
    assert torch.equal(out[:, far], original.expand(2, -1, -1, -1)[:, far])
    between = ~near & ~far
    low, high = torch.minimum(original, result), torch.maximum(original, result)
    assert (out[:, between] >= low[:, between] - 1e-6).all() and (out[:, between] <= high[:, between] + 1e-6).all()


def test_the_blend_falls_linearly_outside_the_grown_mask():
    out = paste(torch.zeros(1, 40, 40, 3), torch.ones(1, 40, 40, 3), mask_of(40, 40, slice(10, 20), slice(10, 20)), 2, 3)
    assert out[0, 15, 19:28, 0].tolist() == [1, 1, 1, 0.75, 0.5, 0.25, 0, 0, 0]


@pytest.mark.parametrize("reach", [0, 1, 7])
def test_distance_is_that_of_a_brute_force_search(reach):
    chosen = torch.rand(2, 23, 31, generator=torch.Generator().manual_seed(4)) > 0.99
    y, x = torch.meshgrid(torch.arange(23), torch.arange(31), indexing="ij")
    for one, given in zip(chosen, distance_to(chosen, reach), strict=True):
        rows, columns = torch.nonzero(one).unbind(1)
        exact = torch.maximum((y[..., None] - rows).abs(), (x[..., None] - columns).abs()).amin(-1)
        assert torch.equal(given, exact.clamp(max=reach + 1).float())


def test_a_stroke_of_four_pixels_is_all_result():
    mask = mask_of(64, 64, slice(30, 34), slice(8, 56))
    out = paste(torch.zeros(1, 64, 64, 3), torch.ones(1, 64, 64, 3), mask, grow=0, feather=8)
    assert (out[mask == 1] == 1).all()


def test_a_mask_equal_to_an_object_leaves_nothing_of_it():
    """An object with soft edges, drawn by PIL; the mask is its 50 % line, the result is the empty background."""
    drawn = Image.new("L", (4 * 96, 4 * 96), 40)
    ImageDraw.Draw(drawn).ellipse((100, 120, 280, 260), fill=220)
    original = torch.from_numpy(np.array(drawn.resize((96, 96), Image.Resampling.BOX))).float()[None, ..., None] / 255
    mask, empty = (original[..., 0] > 130 / 255).float(), torch.full_like(original, 40 / 255)
    assert (original - empty).max() > 0.6
    assert torch.equal(paste(original, empty, mask, grow=8, feather=8), empty)
    assert (paste(original, empty, mask, grow=0, feather=0) - empty).max() > 0.05, "what growing is for"


def test_an_outpainted_flat_picture_has_no_dark_ring():
    flat, made = torch.full((1, 128, 128, 3), 175 / 255), 180 / 255
    padded, room = add_room(flat, 0.25, 0.25, 0.25, 0.25, 1024, True)
    out = paste(padded, torch.full_like(padded, made), room, grow=8, feather=8)
    ring = distance_to(room < 1, 1)[0] == 1  # the room's innermost pixels
    assert ring.sum() == 4 * 128 + 4 and (out[0, ring] - made).abs().max() <= 1 / 255
    assert out.min() >= 175 / 255 - 1e-6, "the room's black is nowhere"
    assert torch.equal(out[0, 48:-48, 48:-48], padded[0, 48:-48, 48:-48])


def test_stitching_a_window_back():
    original = picture(300, 400)
    mask = mask_of(300, 400, slice(100, 140), slice(200, 260))
    window = window_around(mask, 0.5, 64)
    result = torch.ones(1, window.height, window.width, 3)
    out = paste(original, result, mask, 0, 0, window)
    assert torch.equal(out[mask == 0], original[mask == 0]) and (out[mask == 1] == 1).all()
    smaller = paste(original, result[:, ::2, ::2], mask, 0, 0, window)
    assert torch.equal(smaller, out)


def test_results_of_one_picture_follow_each_other():
    originals, mask = picture(64, 64, batch=2), mask_of(64, 64, slice(16), slice(16))
    results = torch.arange(6.0).reshape(6, 1, 1, 1).expand(6, 64, 64, 3)
    out = paste(originals, results, mask)
    assert out[:, 0, 0, 0].tolist() == [0, 1, 2, 3, 4, 5]
    assert all(torch.equal(out[i, 20:], originals[i // 3, 20:]) for i in range(6))
    masks = torch.cat([mask, mask_of(64, 64, slice(32, 48), slice(32, 48))])
    out = paste(originals, torch.zeros(4, 64, 64, 3), masks)
    assert [bool(one[0, 0].any()) for one in out] == [False, False, True, True]  # each by its own mask
    assert [bool(one[40, 40].any()) for one in out] == [True, True, False, False]
    out = paste(originals[:1], torch.zeros(2, 64, 64, 3), masks)
    assert out[0, 0, 0, 0] == 0 and torch.equal(out[1, 0, 0], originals[0, 0, 0]) and out[1, 40, 40, 0] == 0


@pytest.mark.parametrize("mask", [None, torch.zeros(1, 64, 64), torch.ones(1, 96, 96)])
def test_an_edit_of_everything_is_the_result_itself(mask):
    result = picture(48, 80)
    assert paste(picture(96, 96), result, mask, 8, 8) is result
    assert paste(picture(96, 96), result, mask, 8, 8, Window(0, 0, 32, 32)) is result


def test_alpha_of_the_original_stays():
    original = torch.cat([picture(32, 32), torch.full((1, 32, 32, 1), 0.5)], dim=-1)
    out = paste(original, torch.ones(1, 32, 32, 3), mask_of(32, 32, slice(9), slice(9)))
    assert (out[0, :9, :9, :3] == 1).all() and (out[..., 3] == 0.5).all()


def test_a_mask_of_another_size_is_fitted_with_a_warning(caplog):
    small = mask_of(32, 32, slice(16), slice(16))
    out = paste(torch.zeros(1, 64, 64, 3), torch.ones(1, 64, 64, 3), small)
    assert torch.equal(out[0, ..., 0], mask_of(64, 64, slice(32), slice(32))[0])
    assert "mask is 32×32 pixels, but original is 64×64" in caplog.text


@pytest.mark.parametrize(("change", "message"), [
    ({"result": picture(96, 256)}, "result is 256×96 pixels, but its place in the original is 96×96"),
    ({"window": Window(64, 64, 64, 64), "result": picture(64, 64)}, "cut from another picture"),
    ({"original": picture(96, 96, 2), "result": picture(96, 96, 3)}, "batch sizes do not match"),
])
def test_what_cannot_be_pasted_is_named(change, message):
    arguments = {"original": picture(96, 96), "result": picture(96, 96), "mask": mask_of(96, 96, slice(9), slice(9))}
    with pytest.raises((ImageError, MaskError), match=message):
        paste(**(arguments | change), grow=4, feather=4)


def test_every_result_that_ace_can_make_fits():
    """Whatever the shape and the budget: sizes are rounded down to 16 pixels, and the middle of a long picture is used."""
    rng = random.Random(4)
    shapes = [(497, 1167, 1024), (100, 700, 1024), (1167, 497, 300), *((rng.randrange(16, 600), rng.randrange(16, 600),
                                                                        rng.randrange(1, 600)) for _ in range(200))]
    for height, width, budget in shapes:
        (tall, wide), (high, broad) = fit(height, width, budget)
        original, result = torch.zeros(1, height, width, 1), torch.ones(1, high, broad, 1)
        mask = torch.zeros(1, height, width)
        mask[:, height // 2, width // 2] = 1
        assert (paste(original, result, mask) > 0).sum() == 1
        mask[:] = 1
        mask[:, :1, :1] = 0
        shown = paste(original, result, mask)[0, ..., 0] > 0
        if min(tall, wide) > 1 and (tall, wide) != (height, width):
            assert shown.any(1).sum() == tall and shown.any(0).sum() == wide, "only the middle was edited"


@pytest.mark.parametrize("result", [(512, 512), (256, 512), (497, 1300)])
def test_results_of_another_picture_do_not_fit(result):
    mask = torch.zeros(1, 1167, 497)
    mask[:, 5, 5] = 1
    with pytest.raises(ImageError, match="a different shape"):
        paste(torch.zeros(1, 1167, 497, 3), torch.zeros(1, *result, 3), mask)
