"""Padding for outpainting (spec: the eight task types, repainting)."""

import torch
import torch.nn.functional as F
from torch import Tensor

from .images import MAX_ASPECT, TOKEN, ImageError, resize

SIDES = ("left", "top", "right", "bottom")


def add_room(image: Tensor, left: float, top: float, right: float, bottom: float, token_budget: int, shrink: bool
             ) -> tuple[Tensor, Tensor]:
    """Pad pictures with black room: image (B, H, W, C) → padded (B, H', W', C), mask (B, H', W') of that room.

    left … bottom: room as a fraction of the picture's width or height. The padded sides are multiples of 16; missing pixels
    are added to a side that has room. shrink: make the pictures smaller if the padded size is over token_budget tokens of
    16×16 pixels. Raises ImageError.
    """
    room = dict(zip(SIDES, (left, top, right, bottom), strict=True))
    for side, value in room.items():
        if value < 0:
            raise ImageError(f"{side} is {value:g}, but room cannot be negative: use 0 or more.")
    if not any(room.values()):
        raise ImageError("left, top, right and bottom are all 0, so there is nothing to outpaint: set at least one of them, "
                         "for example to 0.25.")
    height, width = image.shape[1:3]
    scale = 1.0
    pads = margins(height, width, room)
    while (tokens := count_tokens(height, width, pads)) > token_budget:
        if not shrink:
            raise ImageError(f"the padded picture of {width + pads[0] + pads[2]}×{height + pads[1] + pads[3]} pixels "
                             f"needs {tokens} tokens, but the token budget is {token_budget}: add less room, turn on "
                             "shrink_to_fit, or raise token_budget (the 1024px model's own is 4096).")
        scale *= min(0.99, (token_budget / tokens) ** 0.5)
        height, width = (round(side * scale) for side in image.shape[1:3])
        if min(height, width) < TOKEN:
            raise ImageError(f"with this much room the picture would shrink to {width}×{height} pixels to fit the token budget "
                             f"of {token_budget}: add less room, or raise token_budget.")
        pads = margins(height, width, room)
    sides = sorted((height + pads[1] + pads[3], width + pads[0] + pads[2]))
    if sides[1] > MAX_ASPECT * sides[0]:
        raise ImageError(f"the padded picture would be {sides[1]} pixels long and {sides[0]} wide, but ACE takes shapes up to "
                         f"{MAX_ASPECT}:1: add less room along the long side, or more along the short one.")
    pixels = resize(image, height, width)
    frame = (pads[0], pads[2], pads[1], pads[3])
    return F.pad(pixels, (0, 0, *frame)), F.pad(torch.zeros(pixels.shape[:3]), frame, value=1.0)


def margins(height: int, width: int, room: dict[str, float]) -> tuple[int, int, int, int]:
    """Pixels of room (left, top, right, bottom) that make both padded sides multiples of 16."""
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
