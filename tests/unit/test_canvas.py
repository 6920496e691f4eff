"""Outpainting canvas, window around a mask, and the composite that keeps the rest bit-identical."""

import pytest
import torch

from ace_model.canvas import Window, inner_feather, keep_untouched, outpaint, window_around
from ace_model.images import ImageError, fit


def picture(height, width, batch=1, seed=0):
    return torch.rand(batch, height, width, 3, generator=torch.Generator().manual_seed(seed))


def mask_of(height, width, rows, columns):
    mask = torch.zeros(1, height, width)
    mask[:, rows, columns] = 1
    return mask


def test_outpaint_keeps_the_picture_and_marks_the_room():
    image = picture(128, 160)
    canvas, mask = outpaint(image, 0.25, 0.25, 0.25, 0.25, token_budget=1024, shrink=True)
    assert canvas.shape == (1, 192, 240, 3) and mask.shape == (1, 192, 240)
    rows, columns = torch.where(mask[0] == 0)
    inside = canvas[:, rows.min():rows.max() + 1, columns.min():columns.max() + 1]
    assert torch.equal(inside, image)
    assert canvas[mask == 1].abs().max() == 0 and (mask == 0).sum() == 128 * 160


def test_outpaint_sizes_are_whole_tokens_within_the_budget():
    random = torch.Generator().manual_seed(1)
    for _ in range(300):
        height, width = (int(v) for v in torch.randint(640, 1500, (2,), generator=random))
        room = [0.3 * float(v) for v in torch.rand(4, generator=random)]
        canvas, mask = outpaint(torch.zeros(1, height, width, 1), *room, token_budget=1024, shrink=True)
        assert canvas.shape[1] % 16 == 0 and canvas.shape[2] % 16 == 0
        assert fit(canvas.shape[1], canvas.shape[2], 1024) == ((canvas.shape[1], canvas.shape[2]),) * 2
        assert 0 < mask.mean() < 1


def test_outpaint_on_one_side_adds_only_there():
    canvas, mask = outpaint(picture(100, 96), 0, 0.3, 0, 0, 1024, True)
    assert canvas.shape[1:3] == (144, 96)
    assert mask[0, :44].all() and not mask[0, 44:].any()


@pytest.mark.parametrize("arguments, message", [
    ((0, 0, 0, 0, 1024, True), "nothing to outpaint"),
    ((-0.5, 0, 0, 0, 1024, True), "left is -0.5"),
    ((0.5, 0.5, 0.5, 0.5, 64, False), "over the token budget of 64"),
    ((0, 0, 4, 4, 16, True), "would shrink to"),
    ((4, 0, 4, 0, 1024, True), "shapes up to 4:1"),
])
def test_outpaint_errors(arguments, message):
    with pytest.raises(ImageError, match=message):
        outpaint(picture(160, 160), *arguments)


def test_window_holds_the_mask_and_lies_in_the_picture():
    random = torch.Generator().manual_seed(2)
    for _ in range(300):
        height, width = (int(v) for v in torch.randint(128, 900, (2,), generator=random))
        y, x = (int(v) for v in torch.randint(0, 100, (2,), generator=random))
        mask = mask_of(height, width, slice(y, y + 27), slice(x, x + 20))
        window = window_around(mask, margin=0.5, min_size=64)
        rows, columns = window.slices
        assert mask[:, rows, columns].sum() == mask.sum()
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
    with pytest.raises(ImageError, match=message):
        window_around(mask, margin, min_size)


@pytest.mark.parametrize("feather", [0, 1, 8, 300])
def test_outside_the_mask_every_bit_is_the_original(feather):
    original, result = picture(96, 128), picture(96, 128, batch=2, seed=1)
    mask = mask_of(96, 128, slice(20, 60), slice(30, 128))
    out = keep_untouched(original, result, mask, feather)
    assert out.shape == (2, 96, 128, 3)
    outside = mask[0] == 0
    assert torch.equal(out[:, outside], original.expand(2, -1, -1, -1)[:, outside])
    if feather <= 8:
        assert torch.equal(out[:, 30:50, 50:], result[:, 30:50, 50:])  # deep inside, up to the picture's edge


def test_feather_rises_inwards():
    weights = inner_feather(mask_of(32, 32, slice(8, 24), slice(8, 24)) > 0, feather=3)[0]
    assert weights[16, 7:13].tolist() == [0, 0.25, 0.5, 0.75, 1, 1]


def test_stitching_a_window_back():
    original = picture(300, 400)
    mask = mask_of(300, 400, slice(100, 140), slice(200, 260))
    window = window_around(mask, 0.5, 64)
    rows, columns = window.slices
    result = torch.ones(1, window.height, window.width, 3)
    out = keep_untouched(original, result, mask, 0, window)
    assert torch.equal(out[mask == 0], original[mask == 0]) and (out[mask == 1] == 1).all()
    smaller = keep_untouched(original, result[:, ::2, ::2], mask, 0, window)
    assert torch.equal(smaller, out)


def test_keep_untouched_errors():
    original, mask = picture(96, 96), mask_of(96, 96, slice(9), slice(9))
    with pytest.raises(ImageError, match="the shapes differ"):
        keep_untouched(original, picture(96, 256), mask, 4)
    with pytest.raises(ImageError, match="cut from another picture"):
        keep_untouched(original, picture(64, 64), mask, 4, Window(64, 64, 64, 64))
    with pytest.raises(ImageError, match="batches do not match"):
        keep_untouched(picture(96, 96, 2), picture(96, 96, 3), mask, 4)
    with pytest.raises(ImageError, match="mask 2 of 2 is all black"):
        keep_untouched(original, picture(96, 96, 2), torch.cat([mask, torch.zeros_like(mask)]), 4)
