"""What holds for every input, over inputs that hypothesis makes up."""

import pytest
import torch
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from ace_model.errors import InputError
from ace_model.images import MAX_ASPECT, TOKEN, fit, preprocess
from ace_model.lcu import MAX_IMAGES, PLACEHOLDER, ConditionUnit, LongContextUnit
from ace_model.masks import is_partial, latent_mask, resample
from ace_model.outpaint import add_room
from ace_model.paste import paste, window_around
from ace_model.plus import make_canvas, restore
from ace_model.text import clean
from tests.fuzz.clear import is_clear

SIDE = st.integers(1, 400)
PIECES = st.sampled_from([
    "{image}", "{image1}", "{image2}", "{previous.image}", "{previous2.image1}", "{imgae}", "{image 1}", "{", "}", "&#123;",
    "&amp;", "｛image｝", "\ud800", "\0", "ﬁ", " like ", "red", "{a|b}", "{image99999}", "\n"])
TEXT = st.one_of(st.text(max_size=60), st.lists(PIECES, max_size=8).map("".join))


def picture(height, width, channels=3, seed=0):
    return torch.rand(height, width, channels, generator=torch.Generator().manual_seed(seed))


@st.composite
def masks(draw, height, width):
    """A rectangle, a dot, nothing or everything."""
    mask = torch.zeros(height, width)
    top, left = draw(st.integers(0, height - 1)), draw(st.integers(0, width - 1))
    tall, wide = draw(st.integers(0, height)), draw(st.integers(0, width))
    mask[top:top + tall, left:left + wide] = draw(st.sampled_from([1.0, 0.6, 0.4]))
    return 1 - mask if draw(st.booleans()) else mask


@given(TEXT)
@example("＆ｌｔ；&amp;lt;｛image｝")
def test_cleaning_a_clean_text_changes_nothing(text):
    assert clean(clean(text)) == clean(text)
    clean(text).encode()  # no half characters


@given(st.lists(st.tuples(TEXT, st.integers(0, 10)), min_size=1, max_size=9), st.integers(0, 9), TEXT)
def test_a_conversation_is_refused_clearly_or_names_only_pictures_it_has(turns, rounds, negative):
    lcu = LongContextUnit()
    try:
        for text, images in turns:
            lcu = lcu.then(ConditionUnit(text, [picture(16, 16)] * images), rounds)
        frames = lcu.frames(negative)
    except InputError as error:
        assert is_clear(str(error))
        return
    assert 1 <= len(frames) <= MAX_IMAGES + 1 and len(lcu.turns) <= rounds + 1
    for frame in frames:
        for match in PLACEHOLDER.finditer(frame.text + frame.negative_text):
            assert match["back"] is None and int(match["number"] or 0) < len(frames) - 1


@given(SIDE, SIDE, st.integers(1, 5000))
def test_sizes_fit_the_budget_and_keep_the_shape(height, width, budget):
    assume(min(height, width) >= TOKEN)
    (tall, wide), (high, broad) = fit(height, width, budget)
    assert max(tall, wide) <= MAX_ASPECT * min(tall, wide) and high <= tall and broad <= wide
    assert high % TOKEN == broad % TOKEN == 0
    assert high * broad // TOKEN**2 <= max(budget, high // TOKEN, broad // TOKEN)  # a side is at least one token


@given(st.data(), st.integers(TOKEN, 200), st.integers(TOKEN, 200), st.integers(1, 64), st.booleans())
def test_a_partial_mask_stays_partial_or_is_refused(data, height, width, budget, blank):
    mask = data.draw(masks(height, width))
    try:
        pixels, chosen = preprocess(picture(height, width), mask, budget, blank)
    except InputError as error:
        assert is_partial(mask) and "mask of image" in str(error) and is_clear(str(error))
        return
    assert pixels.shape[:2] == chosen.shape and set(chosen.unique().tolist()) <= {0.0, 1.0}
    cells = latent_mask(chosen)
    assert cells.any(), "something is always edited"
    if not is_partial(mask):
        assert chosen.all() and cells.all()
    elif blank:
        assert not chosen.all() and torch.equal(pixels[chosen == 1], torch.zeros_like(pixels[chosen == 1]))


@given(st.data(), SIDE, SIDE, SIDE, SIDE)
def test_resampling_keeps_what_is_selected_and_what_is_not(data, height, width, high, broad):
    mask = (data.draw(masks(height, width)) > 0.5).float()
    out = resample(mask, (high, broad))
    assert out.shape == (high, broad)
    if mask.any() and high <= height and broad <= width:
        assert out.any()
    if mask.all() or not mask.any():
        assert out.eq(mask.flatten()[0]).all()


@given(st.data(), st.integers(16, 90), st.integers(16, 90), st.integers(0, 12), st.integers(0, 12))
def test_pasting_changes_only_what_it_may(data, height, width, grow, feather):
    mask = data.draw(masks(height, width))
    before, after = picture(height, width)[None], 1 + picture(height, width, seed=1)[None]
    out = paste(before, after, mask[None], grow, feather)
    if not is_partial(mask):
        assert torch.equal(out, after)
        return
    chosen = mask * 255 > 128
    near = torch.nn.functional.max_pool2d(chosen[None, None].float(), 2 * (grow + feather) + 1, 1, grow + feather)[0, 0] > 0
    assert torch.equal(out[0][chosen], after[0][chosen]) and torch.equal(out[0][~near], before[0][~near])


@given(st.data(), st.integers(16, 300), st.integers(16, 300), st.floats(0, 3), st.integers(16, 128))
def test_a_window_holds_the_mask(data, height, width, margin, least):
    mask = data.draw(masks(height, width))
    try:
        window = window_around(mask[None], margin, least)
    except InputError as error:
        assert is_clear(str(error))
        return
    inside = torch.zeros(1, height, width)
    window.of(inside).fill_(1)
    assert inside[0][mask * 255 > 128].all() and min(window.size) >= min(least, height, width)


@given(SIDE, SIDE, *[st.floats(-0.5, 4.0)] * 4, st.integers(1, 2000), st.booleans())
def test_outpainting_keeps_the_picture_or_refuses(height, width, left, top, right, bottom, budget, shrink):
    assume(min(height, width) >= TOKEN)
    try:
        padded, mask = add_room(picture(height, width)[None], left, top, right, bottom, budget, shrink)
    except InputError as error:
        assert is_clear(str(error))
        return
    assert padded.shape[1:3] == mask.shape[1:] and padded.shape[1] % TOKEN == padded.shape[2] % TOKEN == 0
    assert (padded.shape[1] // TOKEN) * (padded.shape[2] // TOKEN) <= budget and mask.any() and not mask.all()


@given(st.data(), st.lists(st.tuples(SIDE, SIDE), max_size=3), st.one_of(st.none(), st.tuples(SIDE, SIDE)),
       st.sampled_from([0, 16, 64, 100, 333]), st.sampled_from([0, 16, 64, 100, 333]), st.booleans(), st.floats(-0.1, 1.1),
       st.integers(1, 3000))
def test_a_canvas_leads_back_to_the_size_asked_for(data, references, image, width, height, keep, fill, budget):
    mask = data.draw(masks(*image))[None] if image and data.draw(st.booleans()) else None
    try:
        made = make_canvas([picture(*size)[None] for size in references], picture(*image)[None] if image else None, mask, width,
                           height, keep, fill, budget)
    except InputError as error:
        assert is_clear(str(error))
        return
    assert made.layout.tokens <= budget and made.pixels.shape[1:3] == made.mask.shape[1:] == made.layout.canvas
    for panel in made.layout.panels[:-1]:
        assert not panel.of(made.mask).any(), "references are not generated"
    assert made.layout.edit.of(made.mask).any()
    back = restore(made.pixels, made.layout)
    assert tuple(back.shape[1:3]) == made.layout.output
    if width:
        assert made.layout.output == (height, width)


def test_the_profile_is_deterministic():
    """The same inputs in every run: a failure in one is a failure in all."""
    assert settings().derandomize
    with pytest.raises(InputError):
        ConditionUnit("{image", [picture(8, 8)])
