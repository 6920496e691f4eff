"""Room around a picture, a window around its mask, and the way back that leaves every other pixel as it was.

Images are (B, H, W, C) in [0, 1], masks (B, H, W) with white = edit here, as in ComfyUI. Nothing here is learned.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

from .images import MAX_ASPECT, TOKEN, ImageError

SIDES = ("left", "top", "right", "bottom")


@dataclass(frozen=True)
class Window:
    """A rectangle of a picture, in pixels."""

    top: int
    left: int
    height: int
    width: int

    @property
    def slices(self) -> tuple[slice, slice]:
        return slice(self.top, self.top + self.height), slice(self.left, self.left + self.width)


def outpaint(image: Tensor, left: float, top: float, right: float, bottom: float, token_budget: int, shrink: bool
             ) -> tuple[Tensor, Tensor]:
    """Put black room around pictures: image (B, H, W, C) → canvas (B, H', W', C), mask (B, H', W') of the room.

    left … bottom: room as a fraction of the picture's width or height. The canvas' sides are multiples of 16; what is
    missing goes to a side that has room. shrink: make the pictures smaller if the canvas holds more than token_budget
    tokens of 16×16 pixels. Raises ImageError.
    """
    room = dict(zip(SIDES, (left, top, right, bottom), strict=True))
    for side, value in room.items():
        if value < 0:
            raise ImageError(f"{side} is {value:g}: room cannot be negative; use 0 or more.")
    if not any(room.values()):
        raise ImageError("left, top, right and bottom are all 0: there is nothing to outpaint. Give at least one side "
                         "room, for instance 0.25.")
    height, width = image.shape[1:3]
    scale = 1.0
    pads = margins(height, width, room)
    while (tokens := count_tokens(height, width, pads)) > token_budget:
        if not shrink:
            raise ImageError(f"the canvas of {width + pads[0] + pads[2]}×{height + pads[1] + pads[3]} pixels is {tokens} "
                             f"tokens, over the token budget of {token_budget}: give less room, switch shrink_to_fit on, or "
                             "raise the budget (4096 for the 1024px model).")
        scale *= min(0.99, (token_budget / tokens) ** 0.5)
        height, width = (round(side * scale) for side in image.shape[1:3])
        if min(height, width) < TOKEN:
            raise ImageError(f"with so much room the picture would shrink to {width}×{height} pixels inside a budget of "
                             f"{token_budget} tokens: give less room or raise the budget.")
        pads = margins(height, width, room)
    sides = sorted((height + pads[1] + pads[3], width + pads[0] + pads[2]))
    if sides[1] > MAX_ASPECT * sides[0]:
        raise ImageError(f"the canvas would be {sides[1]} pixels long and {sides[0]} wide: ACE takes shapes up to "
                         f"{MAX_ASPECT}:1. Give less room on the long sides or more on the short ones.")
    pixels = resize(image, height, width)
    frame = (pads[0], pads[2], pads[1], pads[3])
    canvas = F.pad(pixels, (0, 0, *frame))
    return canvas, F.pad(torch.zeros(pixels.shape[:3]), frame, value=1.0)


def margins(height: int, width: int, room: dict[str, float]) -> tuple[int, int, int, int]:
    """Pixels of room (left, top, right, bottom) so that both sides of the canvas are multiples of 16."""
    pads = [round(room[side] * (width if side in ("left", "right") else height)) for side in SIDES]
    for first, second, side in ((0, 2, width), (1, 3, height)):
        missing = -(side + pads[first] + pads[second]) % TOKEN
        if room[SIDES[first]] and room[SIDES[second]]:
            pads[first] += missing // 2
            missing -= missing // 2
        pads[first if room[SIDES[first]] and not room[SIDES[second]] else second] += missing
    return tuple(pads)


def count_tokens(height: int, width: int, pads: tuple[int, int, int, int]) -> int:
    return ((height + pads[1] + pads[3]) // TOKEN) * ((width + pads[0] + pads[2]) // TOKEN)


def window_around(mask: Tensor, margin: float, min_size: int) -> Window:
    """The part of a picture worth sending to the model: the mask's bounding box and its surroundings.

    mask (B, H, W), one window for all · margin: surroundings on each side, as a fraction of the box's longer side ·
    min_size: least width and height in pixels. Sides are multiples of 16 where the picture has room, and no more than
    4:1. Raises ImageError for an empty or full mask and for a window that cannot lie in the picture.
    """
    height, width = mask.shape[-2:]
    if min_size > min(height, width):
        raise ImageError(f"min_size {min_size} is larger than the picture of {width}×{height} pixels: use at most "
                         f"{min(height, width)}.")
    selected = check_partial(mask).any(dim=0)
    rows, columns = (torch.nonzero(selected.any(dim=d))[:, 0] for d in (1, 0))
    box = [(int(line[0]), int(line[-1]) + 1) for line in (rows, columns)]  # (first, past the last)
    extra = round(margin * max(stop - start for start, stop in box))
    least = [max(stop - start + 2 * extra, min_size) for start, stop in box]
    least = [max(own, -(-other // MAX_ASPECT)) for own, other in ((least[0], min(least[1], width)),
                                                                   (least[1], min(least[0], height)))]
    (top, tall), (left, wide) = (span(*line, want, side) for line, want, side in
                                 zip(box, least, (height, width), strict=True))
    if max(tall, wide) > MAX_ASPECT * min(tall, wide):
        raise ImageError(f"the window around the mask would be {wide}×{tall} pixels: ACE takes shapes up to "
                         f"{MAX_ASPECT}:1. Paint a mask that is less long, or edit it in parts.")
    return Window(top, left, tall, wide)


def span(start: int, stop: int, want: int, side: int) -> tuple[int, int]:
    """(first pixel, length) of at least `want` pixels, a multiple of 16 if it fits, around start…stop inside `side`."""
    length = min(-(-max(want, stop - start) // TOKEN) * TOKEN, side)
    first = (start + stop - length) // 2
    return min(max(first, 0), side - length), length


def keep_untouched(original: Tensor, result: Tensor, mask: Tensor, feather: int, window: Window | None = None) -> Tensor:
    """The result under the mask, the original elsewhere.

    original (B or 1, H, W, C) · result (B, h, w, C), brought to the size of the original or of `window` · mask (B or 1,
    H, W) · feather: pixels inside the mask's border over which one becomes the other. Outside the mask every value is
    the original's own, bit for bit. Raises ImageError for an empty or full mask and for a result of another shape.
    """
    height, width = original.shape[1:3]
    window = window or Window(0, 0, height, width)
    if window.top + window.height > height or window.left + window.width > width:
        raise ImageError(f"the window ({window.width}×{window.height} pixels at {window.left}, {window.top}) lies outside "
                         f"the picture of {width}×{height}: it was cut from another picture.")
    check_shape(result, window)
    selected = check_partial(fit_mask(mask, height, width))
    pixels = resize(result, window.height, window.width).to(original)
    batch = max(len(original), len(pixels), len(selected))
    sizes = {name: len(x) for name, x in (("original", original), ("result", pixels), ("mask", selected))}
    if any(size not in (1, batch) for size in sizes.values()):
        counts = ", ".join(f"{size} in {name}" for name, size in sizes.items())
        raise ImageError(f"the batches do not match ({counts} pictures): give one, or as many as results.")
    out = original.expand(batch, -1, -1, -1).clone()
    rows, columns = window.slices
    amount = inner_feather(selected, feather)[:, rows, columns, None].to(original)
    channels = min(out.shape[-1], pixels.shape[-1])
    under = out[:, rows, columns, :channels]
    blended = torch.lerp(under, pixels[..., :channels].expand_as(under), amount.expand_as(under))
    out[:, rows, columns, :channels] = torch.where(amount > 0, blended, under)
    return out


def inner_feather(selected: Tensor, feather: int) -> Tensor:
    """(B, H, W) bool → weights in [0, 1]: 0 outside, rising over `feather` pixels from the border to 1 inside."""
    inside = selected.float()[:, None]
    total = inside.clone()
    for _ in range(feather):
        inside = -F.max_pool2d(-inside, 3, stride=1, padding=1)  # loses a pixel of its border; the picture's edge is none
        total += inside
    return total[:, 0] / (feather + 1)


def fit_mask(mask: Tensor, height: int, width: int) -> Tensor:
    """(B, h, w) → (B, height, width), nearest."""
    if mask.shape[-2:] == (height, width):
        return mask
    return F.interpolate(mask[:, None].float(), (height, width), mode="nearest-exact")[:, 0]


def check_partial(mask: Tensor) -> Tensor:
    """The selected pixels, (B, H, W) bool. Raises ImageError if a mask selects none or all."""
    selected = mask * 255 > 128
    for i, one in enumerate(selected):
        which = f"mask {i + 1} of {len(selected)}" if len(selected) > 1 else "the mask"
        if not one.any():
            raise ImageError(f"{which} is all black and covers nothing: paint the region to edit in white. (Load Image "
                             "gives such a mask to a picture without alpha.)")
        if one.all():
            raise ImageError(f"{which} is all white and covers everything: nothing would be kept. Paint only the region to "
                             "edit, or use the result without this node.")
    return selected


def check_shape(result: Tensor, window: Window) -> None:
    """Raise ImageError if the result cannot be the window's picture at another size (sizes are rounded to 16 pixels)."""
    height, width = result.shape[1:3]
    scale = ((height * width) / (window.height * window.width)) ** 0.5
    off = max(abs(height - window.height * scale), abs(width - window.width * scale))
    if off > TOKEN:
        raise ImageError(f"result is {width}×{height} pixels, but the picture it should go into is {window.width}×"
                         f"{window.height}: the shapes differ. Connect the result of editing that very picture, with width "
                         "and height at 0, and the window if it was cropped.")


def resize(image: Tensor, height: int, width: int) -> Tensor:
    """(B, H, W, C) → (B, height, width, C), bicubic and antialiased; the same tensor if the size is right."""
    if image.shape[1:3] == (height, width):
        return image
    pixels = F.interpolate(rearrange(image.float(), "b h w c -> b c h w"), (height, width), mode="bicubic", antialias=True)
    return rearrange(pixels.clamp(0, 1), "b c h w -> b h w c")
