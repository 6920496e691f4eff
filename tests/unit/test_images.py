"""Preprocessing against Pillow and closed forms; the authors' own numbers are in tests/parity."""

import math

import numpy as np
import pytest
import torch
from PIL import Image

from ace_model.images import ImageError, as_rgb, check_size, fit, preprocess
from ace_model.masks import latent_mask


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


def test_latent_mask_takes_the_center_pixel_of_each_cell():
    mask = torch.zeros(16, 16)
    mask[4, 4] = 1
    assert latent_mask(mask).tolist() == [[[1, 0], [0, 0]]]


def test_target_sizes():
    check_size(512, 512, 1024)
    with pytest.raises(ImageError, match="width is 500, but it must be a positive multiple of 16: use 496 or 512"):
        check_size(500, 512, 1024)
    with pytest.raises(ImageError, match="height is 0, but it must be a positive multiple of 16: use 16 or 32"):
        check_size(512, 0, 1024)
    with pytest.raises(ImageError, match="1024×1024 pixels need 4096 tokens, but the token budget is 1024: set width "
                                         "and height to at most 512×512"):
        check_size(1024, 1024, 1024)
