"""LCU + text encoder + VAE → condition tokens → ComfyUI conditioning (arXiv 2410.00086, section 2.2)."""

from dataclasses import dataclass

import comfy.model_management
import comfy.utils
import torch
from torch import Tensor

from ..errors import InputError
from ..images import check_size, preprocess
from ..lcu import ConditionUnit, Frame, LCUError, LongContextUnit, placeholder
from ..masks import latent_mask
from . import memory
from . import text as t5
from .model import FRAMES


class VAEError(InputError):
    """A VAE that ACE cannot use."""


@dataclass(frozen=True, eq=False)
class ConditionTokens:
    """The encoded text, images, masks and image names of a request.

    size: (height, width) of the target in pixels · text, negative_text (1, L, width): the target's texts ·
    names (1, 10, width): features of the image names · frames: `target_mask` (1, 1, h, w), and for condition image i `image.i`
    (1, 4, hᵢ, wᵢ) unscaled, `mask.i` (1, 1, hᵢ, wᵢ), `text.i` (1, L, width) · last_is_current: the last image belongs to the
    current turn.
    """

    size: tuple[int, int]
    text: Tensor
    negative_text: Tensor
    names: Tensor
    frames: dict[str, Tensor]
    last_is_current: bool


def tokenize(lcu: LongContextUnit | ConditionUnit, clip, vae, width: int = 0, height: int = 0, target_index: int = 0,
             max_tokens: int = 1024, negative: str = "") -> ConditionTokens:
    """Condition tokenizing of a conversation or a single turn. width and height in pixels, 0 = the target image's.

    Raises LCUError, ImageError, VAEError.
    """
    frames, prepared, target, size = prepare(lcu, width, height, target_index, max_tokens, negative)
    check_vae(vae)

    unique = list(dict.fromkeys(t for frame in frames for t in (frame.text, frame.negative_text)))
    features, names = t5.encode_with_names(clip, unique)  # before the VAE may take the text encoder's place
    texts = dict(zip(unique, features, strict=True))
    cells = (size[0] // 8, size[1] // 8)
    target_mask = latent_mask(prepared[target - 1][1], cells) if target else torch.ones(1, *cells)

    out = {"target_mask": target_mask[None]}
    progress = comfy.utils.ProgressBar(len(prepared))
    for i, ((pixels, mask), frame) in enumerate(zip(prepared, frames[1:], strict=True)):
        comfy.model_management.throw_exception_if_processing_interrupted()
        out[f"image.{i}"] = latent(vae, pixels)
        out[f"mask.{i}"] = latent_mask(mask)[None]
        out[f"text.{i}"] = texts[frame.text]
        progress.update(1)
    return ConditionTokens(size, texts[frames[0].text], texts[frames[0].negative_text], names, out,
                           bool(as_lcu(lcu).turns[-1].images))


def latent(vae, pixels: Tensor) -> Tensor:
    """(1, 4, h / 8, w / 8) of a picture (h, w, 3) in [0, 1], unscaled; each picture is encoded once."""
    key = memory.content(pixels)
    known = memory.latents.recall(vae.patcher, key)
    return memory.latents.keep(vae.patcher, key, vae.encode(pixels[None]).float()) if known is None else known


def as_lcu(unit: LongContextUnit | ConditionUnit) -> LongContextUnit:
    """A single turn is a conversation."""
    return LongContextUnit().then(unit) if isinstance(unit, ConditionUnit) else unit


def prepare(lcu: LongContextUnit | ConditionUnit, width: int = 0, height: int = 0, target_index: int = 0,
            max_tokens: int = 1024, negative: str = ""
            ) -> tuple[list[Frame], list[tuple[Tensor, Tensor]], int | None, tuple[int, int]]:
    """(frames, (pixels, mask) of each condition image as the model gets it, the frame that gives the target its size, the
    target's (height, width) in pixels). Raises LCUError, ImageError."""
    lcu = as_lcu(lcu)
    frames, target = lcu.frames(negative, target_index), lcu.target_frame(target_index)
    if (width or height) and not (width and height):
        raise LCUError(f"width {width} and height {height}: set both, or leave both at 0 to get the target image's size.")
    if width:
        check_size(width, height, max_tokens)
    elif target is None:
        raise LCUError("this turn has no image that could give the size: set width and height (multiples of 16).")
    prepared = [preprocess(frame.image, frame.mask, max_tokens, frame.blank, name)
                for frame, name in zip(frames[1:], picture_names(lcu), strict=True)]
    return frames, prepared, target, (height, width) if width else tuple(prepared[target - 1][0].shape[:2])


def picture_names(lcu: LongContextUnit) -> list[str]:
    """What errors call the pictures of a conversation, oldest turn first."""
    turns = len(lcu.turns)
    return [placeholder(i).strip("{}") + (f" of {turns - number} turns before" if turns - number > 1 else
                                          " of the turn before" if turns - number else "")
            for number, turn in enumerate(lcu.turns, 1) for i in range(len(turn.images))]


def conditioning(tokens: ConditionTokens) -> tuple[list, list]:
    """Image indicator embedding: (positive, negative). They differ only in the last text."""
    frames = {**tokens.frames, "indicators": tokens.names}
    negative = dict(frames)
    if tokens.last_is_current:
        last = max(int(key.split(".")[1]) for key in frames if key.startswith("text."))
        negative[f"text.{last}"] = tokens.negative_text
    return [[tokens.text, {FRAMES: frames, "pooled_output": OnlyForACE()}]], [
        [tokens.negative_text, {FRAMES: negative, "pooled_output": OnlyForACE()}]]


class ForeignModelError(InputError):
    """ACE's conditioning in another model."""


class OnlyForACE:
    """Stands where FLUX, SDXL and SD3 look for a pooled text, since FLUX would take ACE's text for its own without a word."""

    def __getattr__(self, name: str):
        if not hasattr(torch.Tensor, name) or name.startswith("_"):  # whoever only asks whether this is something else
            raise AttributeError(name)
        raise ForeignModelError("this conditioning comes from ACE Image Indicator, and only ACE models read it: connect model "
                                "of Load ACE Model to the sampler, or this model's own text encode node.")

    @classmethod
    def __torch_function__(cls, function, types, args=(), kwargs=None):
        if function is torch.zeros_like:  # Conditioning Zero Out
            return cls()
        return cls().shape


def empty_latent(size: tuple[int, int], batch: int = 1) -> dict:
    """LATENT of zeros for a target of (height, width) pixels."""
    return {"samples": torch.zeros(batch, 4, size[0] // 8, size[1] // 8,
                                   device=comfy.model_management.intermediate_device()), "downscale_ratio_spacial": 8}


def check_vae(vae, channels: int = 4, needed: str = "Stable Diffusion 1.x's VAE (4 channels, 1/8 of the size), for "
              "instance vae-ft-mse-840000-ema-pruned.safetensors") -> None:
    """Raise VAEError unless the VAE has that many channels, encodes to 1/8 of the size, and is for images, not video."""
    given, dims = vae.latent_channels, vae.latent_dim
    ratio = vae.spacial_compression_encode() if dims == 2 else None
    if (given, dims, ratio) != (channels, 2, 8):
        raise VAEError(f"this VAE has {given} channels{'' if ratio is None else f' at 1/{ratio} of the size'}: "
                       f"connect {needed}.")
