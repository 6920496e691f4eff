"""Pictures: checks, sizes, preprocessing (spec: ACE-0.6B image preprocessing).

Reference: ali-vilab/ACE @ 886bf95, Apache-2.0. Images are (H, W, C) in [0, 1], as in ComfyUI.
"""

import logging
import math

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

from .errors import InputError
from .masks import MaskError, fit_mask, is_partial, resample, selected

TOKEN = 16  # pixels on a token's side: 8 by the VAE, 2 by the patches
MAX_ASPECT = 4


class ImageError(InputError):
    """An image or a size that cannot be used."""


def check_image(image: Tensor, name: str) -> None:
    """Raise ImageError unless `image` is one finite (H, W, 1|3|4) picture of at least 16×16 pixels."""
    if image.ndim != 3 or image.shape[-1] not in (1, 3, 4):
        raise ImageError(f"{name} has shape {tuple(image.shape)}: connect one picture of shape (height, width, channels) "
                         "with 1, 3 or 4 channels.")
    if min(image.shape[:2]) < TOKEN:
        raise ImageError(f"{name} is {image.shape[1]}×{image.shape[0]} pixels, but ACE needs at least {TOKEN}×{TOKEN}: use a "
                         "larger picture.")
    if not torch.isfinite(image).all():
        raise ImageError(f"{name} contains values that are not numbers (NaN or infinity): the node that made it "
                         "failed. Often that is VAE Decode in float16: start ComfyUI with --fp32-vae.")


def as_rgb(image: Tensor) -> Tensor:
    """(…, 1|3|4) → (…, 3): gray is repeated, alpha dropped."""
    return image.expand(*image.shape[:-1], 3) if image.shape[-1] == 1 else image[..., :3]


def fit(height: int, width: int, max_tokens: int) -> tuple[tuple[int, int], tuple[int, int]]:
    """Crop and size of a picture: ((crop height, crop width), (height, width)) in pixels.

    A side longer than 4 times the other is cropped. The rest shrinks, but never grows, to multiples of 16 with at most
    max_tokens tokens of 16×16 pixels.
    """
    if height > MAX_ASPECT * width:
        height = MAX_ASPECT * width
    elif width > MAX_ASPECT * height:
        width = MAX_ASPECT * height
    scale = min(1.0, math.sqrt(max_tokens / ((height / TOKEN) * (width / TOKEN))))
    size = tuple(max(TOKEN, int(side * scale) // TOKEN * TOKEN) for side in (height, width))
    return (height, width), size


def resize(image: Tensor, height: int, width: int) -> Tensor:
    """(B, H, W, C) → (B, height, width, C), bicubic and antialiased; the same tensor if the size is right."""
    if image.shape[1:3] == (height, width):
        return image
    pixels = F.interpolate(rearrange(image.float(), "b h w c -> b c h w"), (height, width), mode="bicubic", antialias=True)
    return rearrange(pixels.clamp(0, 1), "b c h w -> b h w c")


def preprocess(image: Tensor, mask: Tensor | None, max_tokens: int, blank: bool = False, name: str = "image"
               ) -> tuple[Tensor, Tensor]:
    """Bring one picture and its mask to a size that the model was trained on.

    image (H, W, C) in [0, 1], mask None or (H, W) → image (h, w, 3) in [0, 1], mask (h, w) of 0 and 1. A mask of another
    size is fitted first. None or all black means everywhere. blank: pixels under a partial mask become black · name: what
    errors call the picture. Raises MaskError if of a partial mask nothing is left after cropping, or nothing beside it to see.
    """
    partial = is_partial(mask)
    pixels = as_rgb(image).float()
    chosen = torch.zeros(image.shape[:2]) if mask is None else fit_mask(mask, *image.shape[:2])
    chosen = selected(chosen).to(pixels.device)

    crop, size = fit(*image.shape[:2], max_tokens)
    pixels, chosen = center_crop(pixels, crop), center_crop(chosen, crop)
    if partial:
        check_left(chosen, image, name)
    if crop != size:
        levels = (pixels * 255).round().clamp(0, 255).byte().cpu()  # 8-bit arithmetic, like Pillow's in the reference
        levels = F.interpolate(rearrange(levels, "h w c -> 1 c h w"), size=size, mode="bicubic", antialias=True)
        pixels = rearrange(levels, "1 c h w -> h w c").to(pixels) / 255
        chosen = resample(chosen, size) > 0
    if partial and chosen.all():
        beside = (f"the mask of {name} selects all but a few pixels, and at the {size[1]}×{size[0]} pixels that the model sees "
                  "none of them is left")
        if blank:
            raise MaskError(f"{beside}, so blank_masked would hide the whole picture: paint a smaller mask, or turn "
                            "blank_masked off.")
        logging.warning("ACE Editor: %s. The whole picture is edited.", beside)
    if not chosen.any():
        chosen = torch.ones_like(chosen)
    if blank and partial:
        pixels = torch.where(chosen[..., None], 0.0, pixels)
    return pixels, chosen.float()


def check_left(chosen: Tensor, image: Tensor, name: str) -> None:
    """Raise MaskError if cropping to 4:1 took all that a mask selects."""
    if not chosen.any():
        raise MaskError(f"the mask of {name} selects only what is cropped away: {name} is {image.shape[1]}×{image.shape[0]} "
                        f"pixels, and ACE takes shapes up to {MAX_ASPECT}:1, so it sees the middle {chosen.shape[1]}×"
                        f"{chosen.shape[0]}. Put ACE Crop Around Mask (or Detail Edit) before it, or paint in the middle.")


def center_crop(x: Tensor, size: tuple[int, int]) -> Tensor:
    """(H, W, …) → (h, w, …) around the center."""
    top, left = (round((have - want) / 2) for have, want in zip(x.shape, size, strict=False))
    return x[top:top + size[0], left:left + size[1]]


def check_size(width: int, height: int, max_tokens: int) -> None:
    """Raise ImageError unless width × height can be a target: multiples of 16, within the token budget."""
    for side, value in (("width", width), ("height", height)):
        if value <= 0 or value % TOKEN:
            down = max(TOKEN, value // TOKEN * TOKEN)
            raise ImageError(f"{side} is {value}, but it must be a positive multiple of {TOKEN}: use {down} or {down + TOKEN}.")
    tokens = (width // TOKEN) * (height // TOKEN)
    if tokens > max_tokens:
        _, (h, w) = fit(height, width, max_tokens)
        raise ImageError(f"{width}×{height} pixels need {tokens} tokens, but the token budget is {max_tokens}: set width "
                         f"and height to at most {w}×{h} in this shape, or raise token_budget (the 1024px model's own is "
                         "4096).")
