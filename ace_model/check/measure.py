"""Ask the model: encode everything once, then one error per question and noise level."""

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from einops import rearrange, reduce
from torch import Tensor

from ..comfyui import text as t5
from ..comfyui.conditioning import ConditionTokens, check_vae, conditioning
from ..comfyui.probe import Errors, errors
from ..masks import latent_mask
from .cases import TASKS, Plan, remixed, square
from .pairs import Ask
from .report import RoundTrip

BORDER = 4  # outpainting hides this part of a picture's side at either end: one in four
COARSE = 32  # pixels: what any VAE must beat
Tick = Callable[[], None]


@dataclass
class Encoded:
    """What the questions are made of.

    pictures: {name: (H, W, 3)} · masks: {(name, "hole" or "border"): (H, W) of 0 and 1} · truths: {(name, task): latent} ·
    seen: {(name, mask): (latent, latent mask)} · texts: {words: (1, L, width)} · names (1, 10, width).
    """

    pictures: dict[str, Tensor]
    masks: dict[tuple[str, str], Tensor]
    truths: dict[tuple[str, str], Tensor] = field(default_factory=dict)
    seen: dict[tuple[str, str], tuple[Tensor, Tensor]] = field(default_factory=dict)
    texts: dict[str, Tensor] = field(default_factory=dict)
    names: Tensor | None = None


def prepare(plan: Plan, opened: Callable[[str], tuple[Tensor, Tensor | None]]) -> Encoded:
    """opened: name, with ", masked" for the mask as well → pixels (H, W, 3), mask (H, W) or None."""
    pictures, masks = {}, {}
    for name, side in plan.sizes().items():
        pixels, mask = opened(f"{name}, masked" if name in plan.hidden else name)
        pictures[name] = square(pixels, side)
        if name in plan.hidden:
            masks[name, "hole"] = (square(mask[..., None].expand(-1, -1, 3), side)[..., 0] > 0.5).float()
            masks[name, "border"] = torch.ones(side, side)
            masks[name, "border"][side // BORDER:-(side // BORDER), side // BORDER:-(side // BORDER)] = 0
    return Encoded(pictures, masks)


def encode(made: Encoded, asks: Iterable[Ask], clip, vae, tick: Tick) -> None:
    """Texts first, then pictures, so that the text encoder and the VAE take turns in memory once. Raises TextEncoderError,
    VAEError."""
    check_vae(vae)
    asks = list(asks)
    words = list(dict.fromkeys(ask.words for ask in asks))
    features, made.names = t5.encode_with_names(clip, words)
    made.texts = dict(zip(words, features, strict=True))
    for name, task in dict.fromkeys(ask.truth for ask in asks):
        made.truths[name, task] = vae.encode(TASKS[task].truth(made.pictures[name])[None]).float()
        tick()
    for name, kind in dict.fromkeys(seen for ask in asks for seen in ask.sees):
        pixels, mask = made.pictures[name], torch.ones(made.pictures[name].shape[:2])
        if kind:
            mask = made.masks[name, kind]
            pixels = torch.where(mask[..., None] > 0, 0.0, pixels)
        made.seen[name, kind] = vae.encode(pixels[None]).float(), latent_mask(mask)[None]
        tick()


def ask(made: Encoded, question: Ask, model, seed: int) -> Errors:
    """One question at every noise level. The noise depends on seed and truth only, so that pairs share it."""
    seen = [made.seen[key] for key in question.sees]
    text, mixed = made.texts[question.words], question.mixed
    frames = {"target_mask": seen[0][1]}
    for i, (latent, mask) in enumerate(seen):
        frames |= {f"image.{i}": remixed(latent, mixed), f"mask.{i}": mask, f"text.{i}": text}
    clean = remixed(made.truths[question.truth], mixed)
    names = made.names if question.rows is None else made.names[:, list(question.rows)]
    tokens = ConditionTokens(tuple(8 * cells for cells in clean.shape[-2:]), text, text, names, frames, True)
    noise = int.from_bytes(hashlib.sha256(f"{seed} {question.truth}".encode()).digest()[:6], "big")
    return errors(model, conditioning(tokens)[0], clean, question.timesteps, noise)


def round_trips(made: Encoded, vae, tick: Tick) -> list[RoundTrip]:
    out = []
    for name, pixels in made.pictures.items():
        back = vae.decode(vae.encode(pixels[None]))[0].float().cpu().clamp(0, 1)
        colors = F.avg_pool2d(rearrange(pixels, "h w c -> 1 c h w"), COARSE)
        flat = rearrange(F.interpolate(colors, scale_factor=COARSE), "1 c h w -> h w c")
        out.append(RoundTrip(name, back, quarters(back - pixels), quarters(flat - pixels)))
        tick()
    return out


def quarters(difference: Tensor) -> tuple[float, ...]:
    return tuple(reduce(difference.square(), "(a h) (b w) c -> (a b)", "mean", a=2, b=2).tolist())
