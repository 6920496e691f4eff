"""Masks: what they select, how they are fitted to a picture, how the model reads them (spec: ACE-0.6B image preprocessing).

A mask is (H, W) or (B, H, W) in [0, 1], white = edit here, as in ComfyUI. No mask, or one that selects nothing, means
everywhere: Load Image gives a black 64×64 mask to a picture without alpha.
"""

import logging
import math

import torch
import torch.nn.functional as F
from torch import Tensor

from .errors import InputError


class MaskError(InputError):
    """A mask that cannot be used."""


def check_mask(mask: Tensor | None, name: str) -> None:
    """Raise MaskError unless `mask` is None or a finite (H, W) picture."""
    if mask is None:
        return
    if mask.ndim != 2:
        raise MaskError(f"{name} has shape {tuple(mask.shape)}: connect one mask of shape (height, width).")
    if not torch.isfinite(mask).all():
        raise MaskError(f"{name} contains values that are not numbers (NaN or infinity): the node that made it failed. "
                        "Connect another mask.")


def selected(mask: Tensor) -> Tensor:
    """The pixels that a mask selects, bool: above 128 of 255, the reference's threshold."""
    return mask * 255 > 128


def is_partial(mask: Tensor | None) -> bool:
    """True if the mask selects some pixels, but not all."""
    if mask is None:
        return False
    chosen = selected(mask)
    return bool(chosen.any()) and not bool(chosen.all())


def everywhere_if_empty(chosen: Tensor) -> Tensor:
    """(B, H, W) bool; an item that selects nothing selects everything."""
    return chosen | ~chosen.flatten(1).any(dim=1)[:, None, None]


def fit_mask(mask: Tensor, height: int, width: int, name: str = "mask", image: str = "image") -> Tensor:
    """(…, h, w) → (…, height, width), as `resample`. Warns, naming mask and image, if it resizes a mask that selects
    something."""
    if mask.shape[-2:] == (height, width):
        return mask
    if selected(mask).any():
        logging.warning("ACE Editor: %s is %d×%d pixels, but %s is %d×%d. The mask is resized to fit.", name,
                        mask.shape[-1], mask.shape[-2], image, width, height)
    return resample(mask, (height, width))


def latent_mask(mask: Tensor, size: tuple[int, int] | None = None) -> Tensor:
    """(h, w) pixels of 0 and 1 → (1, h/8, w/8) latent cells, as `resample`; size: of the latent, if not the mask's own."""
    return resample(mask, size or (mask.shape[-2] // 8, mask.shape[-1] // 8))[None]


def resample(mask: Tensor, size: tuple[int, int]) -> Tensor:
    """(…, H, W) → (…, h, w), float: nearest, as in the reference, but no stroke is lost.

    Nearest takes one pixel of a cell, so a stroke thinner than a cell breaks up or vanishes. Here every pixel of such a
    stroke selects the cell it lies in.
    """
    flat = mask.reshape(-1, 1, *mask.shape[-2:]).float()
    out = F.interpolate(flat, size, mode="nearest-exact")
    thin = thinner_than(selected(flat), *(math.ceil(have / want) for have, want in zip(flat.shape[-2:], size, strict=True)))
    if thin.any():
        out = torch.maximum(out, F.adaptive_max_pool2d(torch.where(thin, flat, 0.0), size))
    return out.reshape(*mask.shape[:-2], *size)


def thinner_than(chosen: Tensor, height: int, width: int) -> Tensor:
    """(B, 1, H, W) bool → the selected pixels whose surroundings hold no selected rectangle of height × width, bool."""
    if (height, width) == (1, 1):
        return torch.zeros_like(chosen)
    padded = F.pad(chosen.float(), (width - 1, width - 1, height - 1, height - 1))
    starts = -widest(-padded, height, width)  # where such rectangles begin
    thick = widest(starts, height, width)  # all their pixels
    near = widest(F.pad(thick, (width, width, height, height)), 2 * height + 1, 2 * width + 1)
    return chosen & (near == 0)


def widest(x: Tensor, height: int, width: int) -> Tensor:
    """The largest value in each height × width window."""
    return F.max_pool2d(F.max_pool2d(x, (height, 1), 1), (1, width), 1)


def distance_to(chosen: Tensor, reach: int) -> Tensor:
    """(B, H, W) bool → (B, H, W): 0 on selected pixels, else the distance to the nearest one, at most reach + 1.

    A diagonal step counts as one pixel, so a mask grows in squares.
    """
    reached = chosen[:, None].float()
    distance = (reach + 1) - reached
    for _ in range(reach):
        reached = F.max_pool2d(F.max_pool2d(reached, (3, 1), 1, (1, 0)), (1, 3), 1, (0, 1))  # one pixel wider
        distance -= reached
    return distance[:, 0]
