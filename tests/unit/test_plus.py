"""ACE++'s canvas against closed forms: sizes, blanking, packing, and the way back (arXiv 2501.02487)."""

import random

import pytest
import torch

from ace_model import plus
from ace_model.images import ImageError
from ace_model.masks import MaskError
from ace_model.paste import Window, paste
from ace_model.plus import GRAY, PlusError, arrange, crop, make_canvas, restore, split

NAN = float("nan")


def picture(height, width, batch=1, channels=3, seed=0):
    return torch.rand(batch, height, width, channels, generator=torch.Generator().manual_seed(seed))


def rectangle(height, width, top, left, h, w):
    mask = torch.zeros(1, height, width)
    mask[:, top:top + h, left:left + w] = 1
    return mask


# Sizes


def size_pairs(count=500):
    """(reference, edit, budget, keep_size): sides from 64 to 4000 pixels, up to 4 to 1."""
    draw = random.Random(5)

    def size():
        short = draw.randint(64, 1000)
        return draw.choice([(short, draw.randint(short, 4 * short)), (draw.randint(short, 4 * short), short)])

    return [(size(), size(), draw.choice([1024, 2048, 4096, 8192]), draw.random() < 0.5) for _ in range(count)]


def natural_widths(reference, edit, keep_size):
    """Closed form: the reference's width at the edit panel's height, or its own width up to 0.8 of that height."""
    height, width = reference
    return width * (min(1, 0.8 * edit[0] / height) if keep_size else edit[0] / height), edit[1]


def test_500_size_pairs_lie_on_tokens_within_the_budget_and_keep_their_shape():
    refused = 0
    for reference, edit, budget, keep_size in size_pairs():
        widths = natural_widths(reference, edit, keep_size)
        scale = min(1, (budget * 256 / (edit[0] * sum(widths))) ** 0.5)
        try:
            sizes = arrange([reference], edit, budget, keep_size)
        except PlusError:
            refused += 1
            assert min(edit[0], *widths) * scale < 64, (reference, edit, budget)
            continue
        assert all(side % 16 == 0 and side > 0 for size in sizes for side in size)
        assert len({height for height, _ in sizes}) == 1
        assert sizes[0][0] * sum(width for _, width in sizes) <= budget * 256
        sides = zip((sizes[0][0], *(width for _, width in sizes)), (edit[0], *widths), strict=True)
        assert all(abs(side - exact * scale) < 16 for side, exact in sides), (reference, edit, budget, sizes)
    assert refused < 50


def test_500_size_pairs_come_back_at_their_own_size_with_the_border_on_a_token():
    shrunk = 0
    for (h, w), edit, budget, keep_size in size_pairs():
        h, w = h // 16 + 64, w // 16 + 64  # small pictures: the arithmetic is the same
        edit = (edit[0] // 16 + 64, edit[1] // 16 + 64)
        image = torch.zeros(1, *edit, 3)
        made = make_canvas([torch.ones(1, h, w, 3)], image, fill_strength=0, keep_size=keep_size,
                           max_tokens=budget // 32 + 180)
        left = made.layout.edit.left
        shrunk += made.layout.edit.size[0] < edit[0] - 8
        assert left % 16 == 0 and tuple(made.pixels.shape[1:3]) == made.layout.canvas
        assert not crop(made.pixels, made.layout).any()  # nothing leaks in
        assert bool((made.pixels[:, :, :left] >= GRAY).all())  # nor out
        assert tuple(restore(made.pixels, made.layout).shape[1:3]) == edit
    assert shrunk > 20


@pytest.mark.parametrize(("reference", "edit", "budget", "keep", "expected"), [
    ((512, 512), (512, 512), 4096, False, [(512, 512), (512, 512)]),
    ((256, 128), (512, 512), 4096, False, [(512, 256), (512, 512)]),  # grows to the height
    ((256, 128), (512, 512), 4096, True, [(512, 128), (512, 512)]),  # keeps its size
    ((512, 512), (512, 512), 4096, True, [(512, 416), (512, 512)]),  # 0.8 · 512 = 409.6
    ((1024, 1024), (1024, 1024), 2048, False, [(512, 512), (512, 512)]),  # 8192 tokens → half the side
    ((1024, 1024), (1023, 1000), 8192, False, [(1024, 1024), (1024, 1008)]),  # 1023 · 2023 px fit; nearest multiples do
    ((1008, 1008), (1016, 1016), 8064, False, [(1008, 1008), (1008, 1008)]),  # nearest would be 8192 tokens
])
def test_arrange(reference, edit, budget, keep, expected):
    assert arrange([reference], edit, budget, keep) == expected


def test_several_references_lie_left_to_right():
    references = [torch.zeros(1, 64, 64, 3), torch.full((1, 128, 64, 3), 0.25)]
    made = make_canvas(references, torch.ones(1, 64, 96, 3), fill_strength=0)
    assert made.layout.panels == (Window(0, 0, 64, 64), Window(0, 64, 64, 32), Window(0, 96, 64, 96))
    for panel, level in zip(made.layout.panels, (0, 0.25, 1), strict=True):
        assert torch.allclose(panel.of(made.pixels), torch.tensor(float(level)), atol=1e-6)
    assert made.layout.tokens == 4 * 12


def test_long_pictures_are_cropped_to_four_to_one():
    made = make_canvas([torch.ones(1, 64, 640, 3)], torch.ones(1, 640, 64, 3), fill_strength=0)
    reference, edit = made.layout.panels
    assert reference.size == (256, 1024) and edit.size == (256, 64)
    assert made.layout.window == Window(192, 0, 256, 64) and made.layout.output == (256, 64)


def test_a_size_that_is_asked_for_crops_the_middle_and_comes_back_exactly():
    image = torch.zeros(1, 100, 300, 3)
    image[:, :, 100:200] = 1
    made = make_canvas([], image, width=131, height=129, fill_strength=0)
    assert made.layout.edit.size == (128, 128) and made.layout.window.left == 99
    assert restore(made.pixels, made.layout).shape == (1, 129, 131, 3)
    only = make_canvas([picture(64, 48)], width=200, height=150)
    assert restore(only.pixels, only.layout).shape == (1, 150, 200, 3) and only.layout.source is None
    assert make_canvas([picture(70, 48)]).layout.output == (70, 48)  # a reference lends its size


# Blanking and masks


@pytest.mark.parametrize("strength", [0, 0.25, 0.5, 0.8, 1])
def test_gray_blanking_at_every_strength(strength):
    image, mask = picture(64, 96), rectangle(64, 96, 8, 8, 20, 30)
    panel = make_canvas([], image, mask, fill_strength=strength).pixels
    signed = (image * 2 - 1) * (1 - mask[..., None] * strength)  # the paper's form, in [-1, 1]
    assert torch.allclose(panel * 2 - 1, signed, atol=1e-6)
    assert torch.equal(panel[mask == 0], image[mask == 0])
    if strength == 1:
        assert panel[mask == 1].unique().tolist() == [GRAY]


@pytest.mark.parametrize("mask", [None, torch.zeros(1, 64, 96), torch.zeros(64, 64), torch.full((1, 64, 96), 0.4)])
def test_no_mask_means_everywhere_but_never_the_reference(mask):
    made = make_canvas([picture(64, 64)], picture(64, 96), mask)
    assert made.mask[:, :, 64:].all() and not made.mask[:, :, :64].any()
    assert crop(made.pixels, made.layout).unique().tolist() == [GRAY]
    assert torch.equal(made.pixels[:, :, :64], picture(64, 64))


def test_a_reference_alone_leaves_a_gray_panel():
    made = make_canvas([picture(64, 64)], width=96, height=64)
    assert crop(made.pixels, made.layout).unique().tolist() == [GRAY]
    assert crop(made.mask[..., None], made.layout).all()


def test_a_reference_that_keeps_its_size_lies_in_the_middle_of_grey():
    made = make_canvas([torch.ones(1, 32, 32, 3)], torch.ones(1, 64, 64, 3), keep_size=True)
    reference = made.layout.panels[0].of(made.pixels)
    assert reference[:, 16:48].unique().tolist() == [1] and reference[:, :16].unique().tolist() == [GRAY]
    assert reference[:, 48:].unique().tolist() == [GRAY]


def test_thin_strokes_survive_shrinking():
    made = make_canvas([], picture(512, 512), rectangle(512, 512, 100, 0, 1, 512), max_tokens=64)
    assert made.layout.edit.size == (128, 128) and made.mask.sum() == 128


def test_split_parts_the_canvas_at_the_mask():
    image, mask = picture(64, 64), rectangle(64, 64, 16, 16, 32, 32)
    guided = make_canvas([picture(64, 64, seed=1)], image, mask, fill_strength=0)
    kept, modify = split(guided.pixels, guided.mask)
    inside = guided.mask == 1
    assert kept[inside].unique().tolist() == [GRAY] and torch.equal(kept[~inside], guided.pixels[~inside])
    assert modify[~inside].unique().tolist() == [GRAY] and torch.equal(modify[inside], guided.pixels[inside])
    repaint = make_canvas([], image, mask, fill_strength=1)
    assert split(repaint.pixels, repaint.mask)[1].unique().tolist() == [GRAY]  # gray, not black


# Packing


def test_mask_packing_order():
    h, w = 3, 5
    mask = torch.arange(8 * h * 8 * w, dtype=torch.float).reshape(1, 8 * h, 8 * w)
    packed = plus.pack_mask(mask)
    assert packed.shape == (1, 64, h, w)
    for channel, y, x in [(0, 0, 0), (1, 0, 0), (8, 0, 0), (63, 2, 4), (13, 1, 3)]:
        assert packed[0, channel, y, x] == mask[0, 8 * y + channel // 8, 8 * x + channel % 8]


@pytest.mark.parametrize(("modify", "width"), [(False, 384), (True, 448)])
def test_input_channels_lie_as_published(modify, width):
    h, w = 4, 6
    noise, canvas, second = (torch.full((1, 16, h, w), value) for value in (1.0, 2.0, 3.0))
    tokens = plus.model_input(noise, canvas, torch.full((1, 8 * h, 8 * w), 4.0), second if modify else None)
    assert tokens.shape == (1, h * w // 4, width)
    parts = [1.0] * 64 + [2.0] * 64 + [3.0] * 64 * modify + [4.0] * 256
    assert tokens.unique(dim=1).flatten().tolist() == parts
    noise = torch.arange(16 * h * w, dtype=torch.float).reshape(1, 16, h, w)
    tokens = plus.model_input(noise, canvas, torch.zeros(1, 8 * h, 8 * w))
    assert tokens[0, 4, :8].tolist() == [noise[0, c, 2 + dy, 2 + dx] for c in (0, 1) for dy in (0, 1) for dx in (0, 1)]


# The way back


@pytest.mark.parametrize("references", [0, 1, 3])
def test_crop_returns_the_panel_pixel_for_pixel(references):
    image = picture(64, 112, batch=2)
    made = make_canvas([picture(50 + i, 40, seed=i) for i in range(references)], image, fill_strength=0)
    assert torch.equal(crop(made.pixels, made.layout), image)
    assert torch.equal(restore(made.pixels, made.layout), image)


@pytest.mark.parametrize("budget", [4096, 40])
def test_the_panel_goes_back_into_its_picture(budget):
    original, mask = picture(101, 131), rectangle(101, 131, 20, 30, 40, 50)
    made = make_canvas([picture(64, 64)], original, mask, max_tokens=budget)
    out = paste(original, restore(torch.full_like(made.pixels, 0.75), made.layout), mask, window=made.layout.window)
    assert torch.equal(out[mask == 0], original[mask == 0])
    assert torch.allclose(out[mask == 1], torch.tensor(0.75), atol=1e-5)


def test_a_cropped_panel_goes_back_to_its_place():
    original = picture(64, 320)
    made = make_canvas([], original, width=64, height=64)
    result, mask = restore(torch.zeros_like(made.pixels), made.layout), rectangle(64, 320, 0, 128, 64, 64)
    out = paste(original, result, mask, window=made.layout.window)
    assert out[:, :, 128:192].unique().tolist() == [0]
    assert torch.equal(out[:, :, :128], original[:, :, :128]) and torch.equal(out[:, :, 192:], original[:, :, 192:])


# Batches


def test_batches_of_pictures_masks_and_references():
    masks = torch.cat([rectangle(64, 64, 0, 0, 16, 16), torch.zeros(1, 64, 64)])
    made = make_canvas([picture(64, 64, batch=2)], picture(64, 64, seed=1), masks, fill_strength=0)
    assert made.pixels.shape == (2, 64, 128, 3) and made.mask.shape == (2, 64, 128)
    assert made.mask[0].sum() == 256 and made.mask[1].sum() == 64 * 64  # an empty one means everywhere
    assert torch.equal(made.pixels[:, :, :64], picture(64, 64, batch=2))
    out = paste(picture(64, 64, seed=1), restore(torch.zeros_like(made.pixels), made.layout), masks, window=made.layout.window)
    assert out[0].any() and not out[1].any()


# Bad input


@pytest.mark.parametrize(("arguments", "says"), [
    ({}, "neither a reference nor an image"),
    ({"references": [picture(64, 64)], "mask": torch.ones(1, 64, 64)}, "a mask is connected, but no image"),
    ({"image": picture(64, 64), "mask": torch.ones(1, 1, 64, 64)}, "mask has shape"),
    ({"image": picture(64, 64), "mask": torch.full((64, 64), NAN)}, "mask contains values that are not numbers"),
    ({"image": picture(64, 64) * NAN}, "image contains values that are not numbers"),
    ({"image": picture(64, 8)}, "image is 8×64 pixels"),
    ({"image": picture(64, 64, channels=5)}, "image has shape"),
    ({"references": [picture(64, 64), picture(8, 64)]}, "reference1 is 64×8 pixels"),
    ({"references": [picture(64, 64)] * 9}, "there are 9 references, but a canvas takes at most 8"),
    ({"references": [picture(64, 64)], "width": 64}, "width 64 and height 0: set both"),
    ({"references": [picture(64, 64)], "width": 64, "height": 8}, "width 64 and height 8: set both to 16"),
    ({"references": [picture(64, 64)], "width": 640, "height": 64}, "one side is more than 4 times"),
    ({"image": picture(64, 64), "fill_strength": 1.5}, "fill_strength is 1.5, but must be between 0"),
    ({"references": [picture(64, 64, batch=2)], "image": picture(64, 64, batch=3)},
     "reference is a batch of 2, but image is a batch of 3"),
    ({"image": picture(64, 192), "mask": rectangle(64, 192, 0, 0, 64, 20), "width": 64, "height": 64},
     "the mask selects only pixels that are cropped away: just the image's middle 64×64"),
])
def test_canvas_refuses(arguments, says):
    with pytest.raises((PlusError, ImageError, MaskError), match=says):
        make_canvas(**arguments)


@pytest.mark.parametrize(("references", "edit", "budget"), [
    ([(64, 64)] * 8, (64, 64), 16), ([(1024, 1024)] * 8, (1024, 256), 256), ([(512, 512)], (1000, 1000), 16),
    ([(64, 64)], (64, 64), 1)])
def test_panels_beyond_the_budget_are_refused_and_the_advice_works(references, edit, budget):
    says = f"token_budget {budget} is too small for {len(references) + 1} panels"
    with pytest.raises(PlusError, match=says) as error:
        arrange(references, edit, budget)
    advice = int(str(error.value).split("Raise token_budget to ")[1].split()[0])
    assert advice % 16 == 0, "the widget goes in steps of 16"
    assert min(side for size in arrange(references, edit, advice) for side in size) >= 64


def test_odd_sizes_are_welcome():
    image, mask = picture(123, 77), rectangle(123, 77, 60, 30, 9, 9)
    made = make_canvas([picture(31, 45)], image, mask)
    assert made.layout.canvas[0] % 16 == 0 and made.layout.canvas[1] % 16 == 0
    assert restore(made.pixels, made.layout).shape == (1, 123, 77, 3)


@pytest.mark.parametrize("channels", [1, 4])
def test_gray_and_alpha(channels):
    image = picture(64, 64, channels=channels)
    made = make_canvas([picture(64, 64, channels=channels)], image, fill_strength=0)
    expected = image.expand(-1, -1, -1, 3) if channels == 1 else image[..., :3]
    assert torch.equal(crop(made.pixels, made.layout), expected)


def test_a_mask_of_another_size_is_fitted_with_a_warning(caplog):
    made = make_canvas([], picture(64, 64), rectangle(32, 32, 0, 0, 16, 32))
    assert torch.equal(made.mask, rectangle(64, 64, 0, 0, 32, 64)) and "mask is 32×32 pixels, but image is 64×64" in caplog.text


def test_a_layout_of_another_canvas_is_refused():
    layout = make_canvas([picture(64, 64)], picture(64, 64)).layout
    with pytest.raises(PlusError, match="image is 160×64 pixels, but layout belongs to a canvas of 128×64"):
        restore(picture(64, 160), layout)
