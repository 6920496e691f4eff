"""Images and masks: checks, preprocessing, latent masks (spec: ACE-0.6B image preprocessing).

Reference: ali-vilab/ACE @ 886bf95, Apache-2.0. Images are (H, W, C) in [0, 1], masks (H, W) in [0, 1], as in ComfyUI.
"""

import math

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

TOKEN = 16  # pixels on a token's side: 8 by the VAE, 2 by the patches
MAX_ASPECT = 4


class ImageError(ValueError):
    """An image or mask that cannot be used."""


def check_image(image: Tensor, name: str) -> None:
    """Raise ImageError unless `image` is one finite (H, W, 1|3|4) picture of at least 16×16 pixels."""
    if image.ndim != 3 or image.shape[-1] not in (1, 3, 4):
        raise ImageError(f"{name} has shape {tuple(image.shape)}: one picture (height, width, channels) with 1, 3 or 4 "
                         "channels is meant.")
    if min(image.shape[:2]) < TOKEN:
        raise ImageError(f"{name} is {image.shape[1]}×{image.shape[0]} pixels: at least {TOKEN}×{TOKEN} are needed.")
    if not torch.isfinite(image).all():
        raise ImageError(f"{name} holds values that are not numbers (NaN or infinite): the node that made it failed, for "
                         "instance a VAE decoding in half precision.")


def check_mask(mask: Tensor | None, name: str) -> None:
    """Raise ImageError unless `mask` is None or a finite (H, W) picture."""
    if mask is None:
        return
    if mask.ndim != 2:
        raise ImageError(f"{name} has shape {tuple(mask.shape)}: one mask (height, width) is meant.")
    if not torch.isfinite(mask).all():
        raise ImageError(f"{name} holds values that are not numbers (NaN or infinite).")


def is_partial(mask: Tensor | None) -> bool:
    """Does the mask select some pixels and leave others?"""
    if mask is None:
        return False
    selected = mask * 255 > 128
    return bool(selected.any()) and not bool(selected.all())


def as_rgb(image: Tensor) -> Tensor:
    """(H, W, 1|3|4) → (H, W, 3): grey is repeated, alpha dropped."""
    return image.expand(*image.shape[:2], 3) if image.shape[-1] == 1 else image[..., :3]


def fit(height: int, width: int, max_tokens: int) -> tuple[tuple[int, int], tuple[int, int]]:
    """Crop and size of a picture: ((crop height, crop width), (height, width)) in pixels.

    Sides longer than 4 times the other are cropped; the rest shrinks, never grows, to multiples of 16 with at most
    max_tokens tokens of 16×16 pixels.
    """
    if height > MAX_ASPECT * width:
        height = MAX_ASPECT * width
    elif width > MAX_ASPECT * height:
        width = MAX_ASPECT * height
    scale = min(1.0, math.sqrt(max_tokens / ((height / TOKEN) * (width / TOKEN))))
    size = tuple(max(TOKEN, int(side * scale) // TOKEN * TOKEN) for side in (height, width))
    return (height, width), size


def preprocess(image: Tensor, mask: Tensor | None, max_tokens: int, blank: bool = False) -> tuple[Tensor, Tensor]:
    """Bring one picture and its mask to the size and range that the model was trained on.

    image (H, W, C) in [0, 1], mask None or (H, W) → image (3, h, w) in [-1, 1], mask (1, h, w) of 0 and 1. A mask of
    another size is resized first (nearest). None or all black means everywhere. blank: pixels under a partial mask
    become −1.
    """
    partial = is_partial(mask)
    pixels = rearrange(as_rgb(image).float(), "h w c -> 1 c h w")
    if mask is None:
        mask = torch.zeros(image.shape[:2])
    selected = rearrange((mask * 255 > 128).float(), "h w -> 1 1 h w").to(pixels.device)
    if selected.shape[-2:] != pixels.shape[-2:]:
        selected = F.interpolate(selected, size=pixels.shape[-2:], mode="nearest-exact")

    crop, size = fit(*pixels.shape[-2:], max_tokens)
    pixels, selected = center_crop(pixels, crop), center_crop(selected, crop)
    if crop != size:
        levels = (pixels * 255).round().clamp(0, 255).byte().cpu()  # 8-bit arithmetic, as Pillow's in the reference
        pixels = F.interpolate(levels, size=size, mode="bicubic", antialias=True).to(pixels) / 255
        selected = F.interpolate(selected, size=size, mode="nearest-exact")
    if not selected.any():
        selected = torch.ones_like(selected)
    pixels = pixels * 2 - 1
    if blank and partial:
        pixels = torch.where(selected > 0, -1.0, pixels)
    return pixels[0], selected[0]


def center_crop(x: Tensor, size: tuple[int, int]) -> Tensor:
    """(…, H, W) → (…, h, w) around the centre."""
    top, left = (round((have - want) / 2) for have, want in zip(x.shape[-2:], size, strict=True))
    return x[..., top:top + size[0], left:left + size[1]]


def latent_mask(mask: Tensor, size: tuple[int, int] | None = None) -> Tensor:
    """(1, H, W) pixels → (1, h, w) latent cells; size defaults to an eighth."""
    size = size or (mask.shape[-2] // 8, mask.shape[-1] // 8)
    return F.interpolate(mask[None], size=size, mode="nearest-exact")[0]


def check_size(width: int, height: int, max_tokens: int) -> None:
    """Raise ImageError unless width × height can be a target: multiples of 16, within the token budget."""
    for side, value in (("width", width), ("height", height)):
        if value <= 0 or value % TOKEN:
            down = max(TOKEN, value // TOKEN * TOKEN)
            raise ImageError(f"{side} {value} is no multiple of {TOKEN}: use {down} or {down + TOKEN}.")
    tokens = (width // TOKEN) * (height // TOKEN)
    if tokens > max_tokens:
        _, (h, w) = fit(height, width, max_tokens)
        raise ImageError(f"{width}×{height} pixels are {tokens} tokens, over the token budget of {max_tokens}: use at "
                         f"most {w}×{h} in this shape, or raise the budget (4096 for the 1024px model).")
