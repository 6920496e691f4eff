"""ACE++'s canvas (LCU++): references on the left and the picture to edit on the right, joined into one picture.

ACE++, arXiv 2501.02487, section 3.1; numbers from ali-vilab/ACE_plus @ f3e410b. Images are (B, H, W, C) in [0, 1],
masks (B, H, W) in [0, 1] with white = generate, as in ComfyUI; sizes are (height, width) in pixels.

    make_canvas    references, picture, mask → Canvas: pixels, mask and the Layout that finds the way back
    split          pixels, mask → (kept, modify): the two pictures that the full fine-tune reads
    model_input    latents and mask → the transformer's input tokens
    restore        the sampled canvas → the edited panel at the size asked for; paste.py puts it into the original
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

from .errors import InputError
from .images import MAX_ASPECT, TOKEN, as_rgb, check_image, resize
from .masks import check_mask, everywhere_if_empty, fit_mask, selected
from .paste import Window

GRAY = 0.5  # blank pixels: 0 in the model's [-1, 1]
KEPT_HEIGHT = 0.8  # of the edit panel: the tallest a reference gets when it keeps its size
TOKEN_BUDGET = 4096
BUDGET_STEP = 16  # of the widget
MIN_SIDE = 64  # a panel below this shows too little
MAX_REFERENCES = 8
Size = tuple[int, int]


class PlusError(InputError):
    """Pictures, masks or sizes that cannot form a canvas, or a result that does not fit its layout."""


@dataclass(frozen=True)
class Layout:
    """Where everything is on a canvas, in plain numbers.

    canvas: its size · panels: left to right, the last is the edit panel · output: the requested size, to which
    `restore` returns · source: size of the picture to edit, None if there was none · window: the part of it that the edit
    panel shows (all of it, unless its shape had to change).
    """

    canvas: Size
    panels: tuple[Window, ...]
    output: Size
    source: Size | None = None
    window: Window | None = None

    @property
    def edit(self) -> Window:
        return self.panels[-1]

    @property
    def tokens(self) -> int:
        return self.canvas[0] * self.canvas[1] // TOKEN**2


@dataclass(frozen=True, eq=False)
class Canvas:
    """pixels (B, H, W, 3), blanked by the fill strength · mask (B, H, W) of 0 and 1, 0 on the references · layout."""

    pixels: Tensor
    mask: Tensor
    layout: Layout


def make_canvas(references: Sequence[Tensor] = (), image: Tensor | None = None, mask: Tensor | None = None,
                width: int = 0, height: int = 0, keep_size: bool = False, fill_strength: float = 1.0,
                max_tokens: int = TOKEN_BUDGET, names: Sequence[str] = ()) -> Canvas:
    """Lay references and a picture out side by side.

    references: up to 8 batches of pictures of any size · image: the picture to edit; None = generate one · mask: of the
    image's size; None or all black = everywhere · width, height: size of the result, 0 = the image's, else the first
    reference's; a picture of another shape is cropped around its center · keep_size: references keep their size up to
    0.8 of the panel's height on gray, else they get its height · fill_strength: how gray the image becomes under the
    mask, 0 to 1 · max_tokens: of 16×16 pixels, over the whole canvas · names: what errors call the references. Batches of one
    are repeated.
    Raises PlusError, and ImageError for tensors that are not pictures.
    """
    references, image, mask, count = check_inputs(references, image, mask, fill_strength, names)
    references = [framing(each.shape[1:3])[0].of(each) for each in references]
    source = None if image is None else tuple(image.shape[1:3])
    window, output = framing(source or references[0].shape[1:3], width, height)
    sizes = arrange([each.shape[1:3] for each in references], output, max_tokens, keep_size)
    lefts = [sum(width for _, width in sizes[:i]) for i in range(len(sizes) + 1)]
    panels = tuple(Window(0, left, *size) for left, size in zip(lefts, sizes, strict=False))
    layout = Layout((sizes[0][0], lefts[-1]), panels, output, source, window if source else None)

    if image is None:
        edit, selected = references[0].new_full((1, *sizes[-1], 3), GRAY), references[0].new_ones(1, *sizes[-1])
    else:
        edit, selected = edit_panel(image, mask, window, sizes[-1])
    edit = blank(edit, fill_strength * selected)
    placed = [place(each, panel.size, keep_size) for each, panel in zip(references, panels, strict=False)]
    pixels = torch.cat([each.expand(count, -1, -1, -1) for each in (*placed, edit)], dim=2)  # (B, H, W, 3)
    whole = pixels.new_zeros(count, *layout.canvas)
    layout.edit.of(whole).copy_(selected)
    return Canvas(pixels, whole, layout)


def arrange(references: Sequence[Size], edit: Size, max_tokens: int, keep_size: bool = False) -> list[Size]:
    """Sizes of the panels, the edit panel last: one scale for all, then each side to the nearest multiple of 16.

    Rounds down instead if the nearest would exceed the budget. Raises PlusError if the budget is too small.
    """
    height, widths = edit[0], [w * g for (_, w), g in zip(references, growth(references, edit, keep_size), strict=True)]
    widths.append(edit[1])
    tokens = height * sum(widths) / TOKEN**2
    scale = min(1.0, math.sqrt(max_tokens / tokens))
    for rounding in (0.5, 0.0):
        sides = [max(1, math.floor(side * scale / TOKEN + rounding)) for side in (height, *widths)]  # in tokens
        if (total := sides[0] * sum(sides[1:])) <= max_tokens:
            break
    smallest = min(height, *widths)
    needed = min(MIN_SIDE, smallest // TOKEN * TOKEN)
    if total > max_tokens or (scale < 1 and min(sides) * TOKEN < needed):
        least = max(total, math.ceil(tokens * min(1.0, needed / smallest) ** 2) + 1)
        least = math.ceil(least / BUDGET_STEP) * BUDGET_STEP
        raise PlusError(f"token_budget {max_tokens} is too small for {len(widths)} panels {edit[0]} pixels high and "
                        f"{round(sum(widths))} pixels wide in all: one would shrink to {min(sides) * TOKEN} pixels. Raise "
                        f"token_budget to {least} or more, set a smaller width and height, or connect fewer references.")
    return [(sides[0] * TOKEN, side * TOKEN) for side in sides[1:]]


def growth(references: Sequence[Size], edit: Size, keep_size: bool) -> list[float]:
    """How much each reference grows before everything is scaled together."""
    return [min(1.0, KEPT_HEIGHT * edit[0] / h) if keep_size else edit[0] / h for h, _ in references]


def framing(have: Size, width: int = 0, height: int = 0) -> tuple[Window, Size]:
    """The part of a picture to use, and the size of the result. Raises PlusError for sizes that cannot be made."""
    if not width and not height:
        output = limit_aspect(*have)
    elif width < TOKEN or height < TOKEN:
        raise PlusError(f"width {width} and height {height}: set both to {TOKEN} pixels or more, or both to 0 to take "
                        "the size of the image, or of the first reference if there is none.")
    elif max(width, height) > MAX_ASPECT * min(width, height):
        raise PlusError(f"width {width} and height {height}: one side is more than {MAX_ASPECT} times the other, and ACE++ "
                        "was not trained on such shapes. Choose a shape closer to a square.")
    else:
        output = (height, width)
    scale = min(have[0] / output[0], have[1] / output[1])
    size = tuple(min(side, round(wanted * scale)) for side, wanted in zip(have, output, strict=True))
    return Window(*(round((side - part) / 2) for side, part in zip(have, size, strict=True)), *size), output


def limit_aspect(height: int, width: int) -> Size:
    """Cut a side that is longer than 4 times the other."""
    return min(height, MAX_ASPECT * width), min(width, MAX_ASPECT * height)


def edit_panel(image: Tensor, mask: Tensor | None, window: Window, size: Size) -> tuple[Tensor, Tensor]:
    """The picture and its mask at the panel's size: (B, h, w, 3) and (B, h, w) of 0 and 1.

    A pixel of the panel is selected if any mask pixel under it is, so that no thin stroke gets lost.
    """
    edit = resize(window.of(image), *size)
    if mask is None:
        return edit, edit.new_ones(1, *size)
    shown = window.of(mask)
    if not shown.flatten(1).any(dim=1).all():
        raise PlusError("the mask selects only pixels that are cropped away: just the image's middle "
                        f"{window.width}×{window.height} pixels are used. Give width and height the image's shape, or paint "
                        "inside that part.")
    return edit, F.adaptive_max_pool2d(shown[:, None], size)[:, 0]


def place(reference: Tensor, size: Size, keep_size: bool) -> Tensor:
    """A reference in its panel: stretched by less than a token, or at its own height on gray."""
    if not keep_size:
        return resize(reference, *size)
    height = min(size[0], max(1, round(reference.shape[1] * size[1] / reference.shape[2])))
    panel = reference.new_full((len(reference), *size, 3), GRAY)
    top = (size[0] - height) // 2
    panel[:, top:top + height] = resize(reference, height, size[1])
    return panel


def split(canvas: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """What the full fine-tune reads: (kept, modify), each (B, H, W, 3), gray where it holds nothing.

    kept has the canvas outside the mask, modify has it inside: all gray if the fill strength was 1 (repainting).
    """
    return blank(canvas, mask), blank(canvas, 1 - mask)


def blank(image: Tensor, strength: Tensor) -> Tensor:
    """(B, H, W, C), mixed with gray by a strength (B, H, W): 0 leaves every bit, 1 is exactly gray."""
    return torch.lerp(image, torch.full_like(image, GRAY), strength[..., None])


def pack_mask(mask: Tensor) -> Tensor:
    """Pixels → latent cells: (B, H, W) → (B, 64, H/8, W/8), one channel for each pixel of a cell, row by row."""
    return rearrange(mask, "b (h ph) (w pw) -> b (ph pw) h w", ph=8, pw=8)


def model_input(noise: Tensor, canvas: Tensor, mask: Tensor, modify: Tensor | None = None) -> Tensor:
    """Latents (B, 16, h, w) and a mask (B, 8h, 8w) → tokens (B, N, 384), or (B, N, 448) with a modify latent."""
    parts = [noise, canvas, *([] if modify is None else [modify]), pack_mask(mask)]
    return rearrange(torch.cat(parts, dim=1), "b c (h ph) (w pw) -> b (h w) (c ph pw)", ph=2, pw=2)


def crop(image: Tensor, layout: Layout) -> Tensor:
    """The edit panel of a sampled canvas, (B, H, W, C) → (B, h, w, C): a view. Raises PlusError."""
    if tuple(image.shape[1:3]) != layout.canvas:
        raise PlusError(f"image is {image.shape[2]}×{image.shape[1]} pixels, but layout belongs to a canvas of "
                        f"{layout.canvas[1]}×{layout.canvas[0]}: connect the layout of the ACE++ Canvas that this image was "
                        "made from, and the image straight from VAE Decode.")
    return layout.edit.of(image)


def restore(image: Tensor, layout: Layout) -> Tensor:
    """The edit panel at the requested size: (B, H, W, C) → (B, *output, C)."""
    return resize(crop(image, layout), *layout.output)


def check_inputs(references, image, mask, fill_strength, names=()) -> tuple[list[Tensor], Tensor | None, Tensor | None, int]:
    """(references, image, mask, batch size): RGB, masks of 0 and 1 or None. Raises PlusError, ImageError."""
    if image is None and not len(references):
        raise PlusError("neither a reference nor an image is connected: connect a reference, an image to edit, or both.")
    if len(references) > MAX_REFERENCES:
        raise PlusError(f"there are {len(references)} references, but a canvas takes at most {MAX_REFERENCES}: connect fewer.")
    if not 0 <= fill_strength <= 1:
        raise PlusError(f"fill_strength is {fill_strength}, but must be between 0 (the model sees the whole image) and 1 "
                        "(the image is blanked under the mask).")
    names = names or [f"reference{i or ''}" for i in range(len(references))]
    named = dict(zip(names, references, strict=True))
    named |= {} if image is None else {"image": image}
    device = next(iter(named.values())).device
    named = {name: checked(batch, name).to(device) for name, batch in named.items()}
    mask = checked_mask(mask, None if image is None else named["image"])
    counts = {name: len(batch) for name, batch in (*named.items(), *([("mask", mask)] if mask is not None else []))}
    image = named.pop("image", None)
    return list(named.values()), image, mask, same_length(counts)


def same_length(counts: dict[str, int]) -> int:
    """The common length of batches; a batch of one fits any. Raises PlusError, which names two that differ."""
    longest = max(counts, key=counts.get)
    for name, count in counts.items():
        if count not in (1, counts[longest]):
            raise PlusError(f"{name} is a batch of {count}, but {longest} is a batch of {counts[longest]}: connect batches of "
                            "the same size, or a single picture for all. Get Image from Batch picks one.")
    return counts[longest]


def checked(batch: Tensor, name: str) -> Tensor:
    """(B, H, W, 3), float. Alpha is dropped, gray repeated, a single picture is a batch of one. Raises ImageError."""
    batch = batch[None] if batch.ndim == 3 else batch
    for one in batch:
        check_image(one, name)
    return as_rgb(batch).float()


def checked_mask(mask: Tensor | None, image: Tensor | None) -> Tensor | None:
    """(B, H, W) of 0 and 1 at the image's size. Empty masks become full; None if all of them are empty.

    Raises PlusError, MaskError.
    """
    if mask is None:
        return None
    mask = mask[None] if mask.ndim == 2 else mask
    for one in mask:
        check_mask(one, "mask")
    if not selected(mask).any():
        return None
    if image is None:
        raise PlusError("a mask is connected, but no image: connect the image to edit, or disconnect the mask to generate a "
                        "whole picture.")
    chosen = selected(fit_mask(mask, *image.shape[1:3]))
    return everywhere_if_empty(chosen).float().to(image.device)
