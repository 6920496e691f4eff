"""Preprocessing against Pillow and closed forms; the authors' own numbers are in tests/parity."""

import math
import random

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from ace_model.images import ImageError, as_rgb, check_size, fit, preprocess
from ace_model.masks import MaskError, latent_mask


def test_published_sizes():
    assert fit(1080, 1920, 1024)[1] == (384, 672)
    assert fit(1080, 1920, 4096)[1] == (768, 1360)


def test_sizes_keep_every_promise():
    generator = np.random.default_rng(0)
    for _ in range(500):
        height, width, tokens = (int(x) for x in (*generator.integers(16, 3000, 2), generator.integers(16, 4097)))
        crop, (h, w) = fit(height, width, tokens)
        assert h % 16 == w % 16 == 0 and 16 <= h <= height and 16 <= w <= width
        assert max(crop) <= 4 * min(crop) and crop[0] <= height and crop[1] <= width
        assert (h // 16) * (w // 16) <= tokens
        if math.prod(crop) / 256 <= tokens:  # fits: only rounded down
            assert (h, w) == (crop[0] // 16 * 16, crop[1] // 16 * 16)


def test_shrinking_matches_pillow():
    y, x = np.mgrid[:150, :210]
    pixels = np.stack([(x * 7 + y * 3) % 256, 128 + 90 * np.sin(x / 9), 255 * (y > x)], -1).astype(np.uint8)
    image, mask = preprocess(torch.from_numpy(pixels) / 255, None, max_tokens=40)
    h, w = image.shape[:2]
    pillow = np.asarray(Image.fromarray(pixels).resize((w, h), Image.BICUBIC), dtype=np.float32)
    assert np.abs(image.numpy() * 255 - pillow).max() <= 2
    assert mask.shape == (h, w) and mask.min() == 1


def test_gray_and_alpha_match_pillow():
    rgba = np.random.default_rng(1).integers(0, 256, (20, 30, 4), dtype=np.uint8)
    assert np.array_equal(as_rgb(torch.from_numpy(rgba)).numpy(), np.asarray(Image.fromarray(rgba).convert("RGB")))
    gray = rgba[..., :1]
    assert np.array_equal(as_rgb(torch.from_numpy(gray)).numpy(), np.asarray(Image.fromarray(gray[..., 0]).convert("RGB")))


def test_mask_threshold_is_128_of_255():
    mask = torch.full((32, 32), 128 / 255)
    mask[0, 0] = 129 / 255
    selected = preprocess(torch.rand(32, 32, 3), mask, 1024)[1]
    assert selected.sum() == 1 and selected[0, 0] == 1


def test_mask_of_another_size_is_resized_by_nearest():
    small = torch.zeros(4, 4)
    small[0, :] = 1
    selected = preprocess(torch.rand(64, 64, 3), small, 1024)[1]
    assert torch.equal(selected, small.repeat_interleave(16, 0).repeat_interleave(16, 1))


@pytest.mark.parametrize("mask", [None, torch.zeros(64, 64), torch.zeros(32, 32)])
def test_no_mask_means_everywhere_and_is_never_blanked(mask):
    picture = torch.rand(32, 32, 3)
    image, selected = preprocess(picture, mask, 1024, blank=True)
    assert selected.min() == 1
    assert torch.equal(image, picture)


def test_blanking_blackens_under_the_mask_and_nothing_else():
    picture, mask = torch.rand(32, 32, 3), torch.zeros(32, 32)
    mask[:, 16:] = 1
    image, _ = preprocess(picture, mask, 1024, blank=True)
    assert (image[:, 16:] == 0).all()
    assert torch.equal(image[:, :16], picture[:, :16])


def test_a_shape_wider_than_a_cell_is_sampled_as_in_the_reference():
    """There a cell takes the pixel in its middle."""
    for seed in range(20):
        rng = random.Random(seed)
        mask, (top, left) = torch.zeros(96, 128), (rng.randrange(80), rng.randrange(100))
        mask[top:top + rng.randrange(16, 60), left:left + rng.randrange(16, 60)] = 1
        centers = mask[4::8, 4::8]
        assert torch.equal(latent_mask(mask)[0], centers)


@pytest.mark.parametrize("budget", [60, 240])
def test_no_stroke_is_too_thin(budget):
    """Every pixel of a spot, a line or a ring selects the latent cell that it lies in, or the next; nothing far away is
    selected."""
    height, width = 480, 640
    yy, xx = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    radius = ((yy - 240) ** 2 + (xx - 320) ** 2) ** 0.5
    rng = random.Random(budget)
    spots = [(yy - rng.randrange(height)).abs().maximum((xx - rng.randrange(width)).abs()) < size for size in (1, 1, 2, 2, 3)]
    for chosen in (*spots, yy == xx, (yy - xx).abs() < 2, yy == 37, xx == 639, (radius - 160).abs() < 1.5):
        _, small = preprocess(torch.rand(height, width, 1), chosen.float(), budget)
        cells = latent_mask(small)
        reached = F.max_pool2d(cells, 3, 1, 1)[0] > 0
        under = F.adaptive_max_pool2d(chosen[None].float(), cells.shape[1:])
        assert reached[yy[chosen] * cells.shape[1] // height, xx[chosen] * cells.shape[2] // width].all()
        assert not cells[F.max_pool2d(under, 3, 1, 1) == 0].any()


def test_a_mask_that_is_cropped_away_is_no_mask_of_everything():
    mask = torch.zeros(100, 900)
    mask[:, :50] = 1
    with pytest.raises(MaskError, match="the mask of image1 selects only what is cropped away: image1 is 900×100 pixels, and "
                                        "ACE takes shapes up to 4:1, so it sees the middle 400×100. Put ACE Crop Around Mask"):
        preprocess(torch.rand(100, 900, 3), mask, 1024, name="image1")


def test_a_mask_of_nearly_everything(caplog):
    mask = torch.ones(3000, 3000)
    mask[7, 7] = 0
    assert preprocess(torch.rand(3000, 3000, 1), mask, 256)[1].all()
    assert "the mask of image selects all but a few pixels" in caplog.text
    with pytest.raises(MaskError, match="so blank_masked would hide the whole picture: paint a smaller mask"):
        preprocess(torch.rand(3000, 3000, 1), mask, 256, blank=True)


def test_target_sizes():
    check_size(512, 512, 1024)
    with pytest.raises(ImageError, match="width is 500, but it must be a positive multiple of 16: use 496 or 512"):
        check_size(500, 512, 1024)
    with pytest.raises(ImageError, match="height is 0, but it must be a positive multiple of 16: use 16 or 32"):
        check_size(512, 0, 1024)
    with pytest.raises(ImageError, match="1024×1024 pixels need 4096 tokens, but the token budget is 1024: set width "
                                         "and height to at most 512×512"):
        check_size(1024, 1024, 1024)
