"""Crop a window around a mask, and paste the result back into the original. Nothing here is learned.

Images are (B, H, W, C) in [0, 1], masks (B, H, W) with white = edit here, as in ComfyUI.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from .images import MAX_ASPECT, TOKEN, ImageError, fit, resize
from .masks import MaskError, distance_to, everywhere_if_empty, fit_mask, is_partial, selected


@dataclass(frozen=True)
class Window:
    """A rectangle of a picture, in pixels."""

    top: int
    left: int
    height: int
    width: int

    @property
    def size(self) -> tuple[int, int]:
        return self.height, self.width

    def of(self, x: Tensor) -> Tensor:
        """The part of (B, H, W, …) inside the window: a view."""
        return x[:, self.top:self.top + self.height, self.left:self.left + self.width]


def window_around(mask: Tensor, margin: float, min_size: int) -> Window:
    """The part of a picture that the model needs: the mask's bounding box and its surroundings.

    mask (B, H, W), one window for all of them · margin: surroundings on each side, as a fraction of the box's longer side ·
    min_size: smallest width and height in pixels. Sides are multiples of 16 where the picture is large enough, and
    at most 4:1. Raises MaskError for an empty or full mask, ImageError for a window that does not fit into the picture.
    """
    height, width = mask.shape[-2:]
    if min_size > min(height, width):
        raise ImageError(f"min_size {min_size} is larger than the picture of {width}×{height} pixels: use at most "
                         f"{min(height, width)}.")
    chosen = check_partial(mask).any(dim=0)
    rows, columns = (torch.nonzero(chosen.any(dim=d))[:, 0] for d in (1, 0))
    box = [(int(line[0]), int(line[-1]) + 1) for line in (rows, columns)]  # (first, past the last)
    extra = round(margin * max(stop - start for start, stop in box))
    least = [max(stop - start + 2 * extra, min_size) for start, stop in box]
    least = [max(own, -(-other // MAX_ASPECT)) for own, other in ((least[0], min(least[1], width)),
                                                                   (least[1], min(least[0], height)))]
    (top, tall), (left, wide) = (span(*line, want, side) for line, want, side in
                                 zip(box, least, (height, width), strict=True))
    if max(tall, wide) > MAX_ASPECT * min(tall, wide):
        raise ImageError(f"the window around the mask would be {wide}×{tall} pixels, but ACE takes shapes up to "
                         f"{MAX_ASPECT}:1: paint a shorter mask, or edit the region in parts.")
    return Window(top, left, tall, wide)


def span(start: int, stop: int, want: int, side: int) -> tuple[int, int]:
    """(first pixel, length) of at least `want` pixels, a multiple of 16 if it fits, around start…stop inside `side`."""
    length = min(-(-max(want, stop - start) // TOKEN) * TOKEN, side)
    first = (start + stop - length) // 2
    return min(max(first, 0), side - length), length


def paste(original: Tensor, result: Tensor, mask: Tensor | None, grow: int = 0, feather: int = 0,
          window: Window | None = None) -> Tensor:
    """Paste the result into the original where the mask is white.

    original (B, H, W, C) · result (k·B, h, w, C), the k results of each original one after the other, resized to what they
    show: `window`, else the original, or its middle where it is longer than 4:1 and ACE cropped it · mask (B, H, W); one of
    another size is fitted with a warning. Any of the three may be a batch of one. No mask, an all-black or an all-white one
    means everywhere, as for the model: then the result is returned as it is.
    Counted in pixels outwards from the mask's border: up to `grow` all is result, over the next `feather` result and
    original blend, and beyond every value is the original's own, bit for bit. So the masked region itself is all result,
    however thin, and where it is the room around an outpainted picture the blend lies in the picture.
    Raises ImageError for sizes that do not fit.
    """
    if mask is None or not is_partial(mask):
        return result
    height, width = original.shape[1:3]
    place = window or seen(original, result)
    if place.top + place.height > height or place.left + place.width > width:
        raise ImageError(f"the window ({place.width}×{place.height} pixels at {place.left}, {place.top}) is outside the "
                         f"original of {width}×{height}: it was cut from another picture. Connect that one as original.")
    check_shape(result, place)
    amount = opacity(mask, original, grow, feather)
    pixels = resize(result, *place.size).to(original)
    batches = {"original": original, "result": pixels, "mask": amount}
    count = max(map(len, batches.values()))
    for name, batch in batches.items():
        if count % len(batch):
            sizes = ", ".join(f"{len(each)} in {key}" for key, each in batches.items())
            raise ImageError(f"the batch sizes do not match ({sizes}): connect one {name}, or as many as there are results.")
        batches[name] = batch.repeat_interleave(count // len(batch), dim=0)
    out, pixels, amount = batches.values()
    channels = min(out.shape[-1], pixels.shape[-1])
    under, pixels, amount = place.of(out)[..., :channels], pixels[..., :channels], place.of(amount)[..., None].to(out)
    blended = torch.where(amount < 1, torch.lerp(under, pixels, amount.expand_as(under)), pixels)
    under.copy_(torch.where(amount > 0, blended, under))
    return out


def opacity(mask: Tensor, original: Tensor, grow: int, feather: int) -> Tensor:
    """(B or 1, H, W) in [0, 1]: how much of the result shows."""
    chosen = everywhere_if_empty(selected(fit_mask(mask, *original.shape[1:3], image="original"))).to(original.device)
    return ((grow + feather + 1 - distance_to(chosen, grow + feather)) / (feather + 1)).clamp(0, 1)


def check_partial(mask: Tensor) -> Tensor:
    """The selected pixels, (B, H, W) bool. Raises MaskError if a mask selects none or all."""
    chosen = selected(mask)
    for i, one in enumerate(chosen):
        which = f"mask {i + 1} of {len(chosen)}" if len(chosen) > 1 else "the mask"
        if not one.any():
            raise MaskError(f"{which} is all black and covers nothing: paint the region to edit in white. (Load Image gives "
                            "an all-black mask if the picture has no alpha.)")
        if one.all():
            raise MaskError(f"{which} is all white and covers everything, so there is nothing to crop: paint only the region "
                            "to edit, or edit the whole picture without this node.")
    return chosen


def seen(original: Tensor, result: Tensor) -> Window:
    """What a result shows that was made without a window: all of the original, or the middle of one longer than 4:1."""
    height, width = original.shape[1:3]
    (tall, wide), _ = fit(height, width, max_tokens=1)
    whole, middle = Window(0, 0, height, width), Window(round((height - tall) / 2), round((width - wide) / 2), tall, wide)
    shown = tuple(result.shape[1:3])
    return middle if shown != whole.size and fits(shown, middle.size) else whole


def fits(result: tuple[int, int], source: tuple[int, int]) -> bool:
    """Whether ACE can turn a picture of size `source` into one of size `result`, at some token budget (images.fit); or
    whether the two have one shape to within a token."""
    (height, width), (tall, wide) = result, source
    least = max(0.0 if side <= TOKEN else side / whole for side, whole in zip(result, source, strict=True))
    below = min((side + TOKEN) / whole for side, whole in zip(result, source, strict=True))
    scale = (height * width / (tall * wide)) ** 0.5
    return least < below and least <= 1 or max(abs(height - tall * scale), abs(width - wide * scale)) <= TOKEN


def check_shape(result: Tensor, window: Window) -> None:
    """Raise ImageError if the result cannot be the window's picture at another size."""
    height, width = result.shape[1:3]
    if not fits((height, width), window.size):
        raise ImageError(f"result is {width}×{height} pixels, but its place in the original is {window.width}×"
                         f"{window.height}, a different shape: connect the result of editing this picture, made with width "
                         "and height at 0, and connect window if the picture was cropped.")
