"""ACE++: an example becomes one canvas, and the velocity of all of it is learned (arXiv 2501.02487, section 3).

Settings of the authors' training (ali-vilab/ACE_plus f3e410b, train_config/ace_plus_lora.yaml): noise levels are the sigmoid of
normal numbers, without a shift for the size; distilled guidance 1; the picture to edit is blanked under its mask by 1 beside a
reference, else by 0.5. Sampling is core's euler over the scheduler simple, shifted as ModelSamplingFlux does.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ace_model import plus, plus_text
from ace_model.errors import InputError
from ace_model.images import resize
from ace_model.lcu import PLACEHOLDER
from ace_model.record import Record
from ace_model.text import clean

from .cache import Cache, Tensors, key_of
from .data import Example, opened
from .draws import Draws
from .encode import Encoded
from .files import digest
from .formats import fail
from .network import Batch
from .requests import pictures_of
from .settings import Plus

VERSION = 1  # of how canvases are made: another number makes everything anew
STEPS, GUIDANCE = 28, 50.0  # of samples
SHIFTS = (256, 0.5), (4096, 1.15)  # ModelSamplingFlux: (tokens of a canvas, shift), and a line between


# ---- a record → a canvas

def canvas_of(record: Record, folder: Path, options: Plus, budget: int) -> plus.Canvas:
    """The last turn as ACE++ Canvas makes it: the picture with a mask is the one to edit, the others are references. Its size
    is the target's, else the turn's own. Raises InputError."""
    turn = record[record.at]
    if back := next((name[0] for name in PLACEHOLDER.finditer(turn.instruction) if name["back"] is not None), None):
        fail(f"the instruction names {back}, but ACE++ knows no earlier turn: give that picture to this turn.")
    budget = turn.settings.token_budget or budget
    unit = record.lcu(lambda picture, mode: opened(folder / picture.file, mode), budget=budget).turns[-1]
    if len(masked := [i for i, mask in enumerate(unit.masks) if mask is not None]) > 1:
        fail(f"{len(masked)} pictures have a mask, but ACE++ edits one: leave out the others' masks.")
    references = [image[None] for i, image in enumerate(unit.images) if i not in masked]
    image, mask = (unit.images[masked[0]][None], unit.masks[masked[0]][None]) if masked else (None, None)
    if not references and image is None:
        fail("there is no picture beside the target, and ACE++ learns from a reference or from a picture with a mask: add one.")
    strength = options.fill_strength
    if strength is None:
        strength = 1.0 if references else 0.5
    height, width = turn.settings.height, turn.settings.width
    if turn.target:
        height, width = plus.limit_aspect(*opened(folder / turn.target.file).shape[:2])
    return plus.make_canvas(references, image, mask, width, height, options.keep_size, strength, budget)


def clean_of(target: Tensor, canvas: plus.Canvas) -> Tensor:
    """(1, H, W, 3): the same canvas with the target (h, w, 3) in the place of the picture to edit."""
    whole, window = canvas.pixels.clone(), plus.framing(tuple(target.shape[:2]))[0]
    canvas.layout.edit.of(whole).copy_(resize(window.of(target[None]), *canvas.layout.edit.size))
    return whole


def check(examples: Sequence[Example], options: Plus, budget: int, tokens: Callable[[str], Sequence[int]]
          ) -> tuple[list[tuple[str, str]], plus.Size]:
    """((where, what is wrong) of everything that training would stumble over, the size of the largest canvas)."""
    problems, sizes = [], [(0, 0)]
    for each in examples:
        words = clean(each.turn.instruction)
        if (length := len(plus_text.tokens(words, tokens))) > plus_text.T5_LENGTH:
            problems.append((each.where, f"the instruction has {length} tokens, but ACE++ reads {plus_text.T5_LENGTH}: shorten "
                                         "it."))
        try:
            sizes.append(canvas_of(each.record, each.folder, options, budget).layout.canvas)
        except InputError as error:
            problems.append((each.where, str(error)))
    return problems, max(sizes, key=math.prod)


# ---- a canvas → what the network reads

@dataclass(frozen=True)
class Encoders:
    """encode_text: clean text → {"text" (L, width), "pooled" (width,)} · encode_picture: (h, w, 3) in [0, 1] → (16, h/8, w/8),
    as the network reads it · signature: another one means other weights."""

    encode_text: Callable[[str], Tensors]
    encode_picture: Callable[[Tensor], Tensor]
    signature: str


class Encoder:
    """Encodes examples, as encode.Encoder does for ACE. split: for the full fine-tune, which reads what is kept and what is to
    be modified in two latents."""

    def __init__(self, encoders: Encoders, folder: Path | None, options: Plus, budget: int, split: bool = False):
        self.encoders, self.cache, self.options, self.budget, self.split = encoders, Cache(folder), options, budget, split
        self._keys: dict[str, str] = {}

    def __call__(self, example: Example) -> Encoded:
        """latents: the clean canvas, then what is seen of it, (16, h, w) each · masks: one, (1, 8h, 8w)."""
        found = self.cache.of(self.key(example), lambda: self._made(example))
        latents = tuple(found[name] for name in ("clean", "canvas", "modify") if name in found)
        return Encoded(latents, (found["mask"],), (clean(example.turn.instruction),), ("",), (), (), torch.empty(0))

    def prepare(self, examples: Iterable[Example]) -> None:
        """All texts first, then all pictures."""
        examples = list(examples)
        for words in dict.fromkeys(["", *(clean(each.turn.instruction) for each in examples)]):
            self.features(words)
        for each in examples:
            self(each)

    def features(self, words: str) -> Tensors:
        key = key_of("plus text", words, self.encoders.signature)
        return self.cache.of(key, lambda: self.encoders.encode_text(words))

    def key(self, example: Example) -> str:
        if example.key not in self._keys:
            self._keys[example.key] = key_of("canvas", [digest(example.path(each)) for each in example.pictures()],
                                             replace(example.turn, meta={}), self.options, self.budget, self.split,
                                             self.encoders.signature, VERSION)
        return self._keys[example.key]

    def _made(self, example: Example) -> Tensors:
        canvas = canvas_of(example.record, example.folder, self.options, self.budget)
        pictures = {"clean": clean_of(opened(example.path(example.turn.target)), canvas), **seen(canvas, self.split)}
        return {**{name: self.encoders.encode_picture(each[0]).float() for name, each in pictures.items()},
                "mask": canvas.mask.bool()}


def seen(canvas: plus.Canvas, split: bool) -> dict[str, Tensor]:
    """The pictures that the network is shown, (1, H, W, 3) each."""
    return dict(zip(("canvas", "modify"), plus.split(canvas.pixels, canvas.mask) if split else (canvas.pixels,), strict=False))


# ---- the network and its loss

class Network:
    """Core's Flux with the features that it reads instead of words. features: text → {"text", "pooled"} · velocity: of
    ace_model.comfyui.flux · guidance: the distilled one."""

    def __init__(self, flux: nn.Module, velocity: Callable[..., Tensor], features: Callable[[str], Tensors], dtype: torch.dtype,
                 guidance: float = 1.0):
        self.dit, self._velocity, self.features, self.dtype, self.guidance = flux, velocity, features, dtype, guidance

    @property
    def device(self) -> torch.device:
        return self.dit.final_layer.linear.weight.device

    def velocity(self, noisy: Tensor, sigma: Tensor, batch: Batch, guidance: float | None = None) -> Tensor:
        """noise − clean, (B, 16, h, w), as predicted. noisy (B, 16, h, w) · sigma (B,) in [0, 1]."""
        found = [self.features(words) for words in batch.texts[0]]
        text, pooled = (torch.stack([each[name] for each in found]).to(self.device, self.dtype) for name in ("text", "pooled"))
        mask = plus.pack_mask(batch.masks[0][:, 0])
        x = torch.cat([each.to(self.dtype) for each in (noisy, *batch.latents[1:], mask)], dim=1)
        return self._velocity(self.dit, x, sigma, text, pooled, self.guidance if guidance is None else guidance)


def objective(network: Network, batch: Batch, draws: Draws) -> Tensor:
    """Mean squared error of the velocity over the whole canvas, reference and target (section 3.2)."""
    clean = batch.latents[0]
    sigma = draws.normal((1,))[:, 0].sigmoid().to(clean.device)
    noise = draws.normal(clean.shape[1:]).to(clean.device)
    level = sigma[:, None, None, None]
    predicted = network.velocity((1 - level) * clean + level * noise, sigma, batch)
    return F.mse_loss(predicted.float(), noise - clean)


# ---- samples

def sigmas(tokens: int, steps: int) -> Tensor:
    """(steps + 1,) falling from 1 to 0: the scheduler simple, shifted for a canvas of so many tokens."""
    (few, low), (many, high) = SHIFTS
    shift = math.exp(low + (high - low) * (tokens - few) / (many - few))
    times = 1 - torch.arange(steps + 1) / steps
    return shift * times / (1 + (shift - 1) * times)


@torch.no_grad()
def sample(network: Network, batch: Batch, steps: int, seed: int, tokens: int) -> Tensor:
    """A canvas (1, 16, h, w). batch: of one, whose clean canvas does not count."""
    x = torch.randn(batch.latents[1].shape, generator=torch.Generator().manual_seed(seed % 2**63)).to(network.device)
    levels = sigmas(tokens, steps).tolist()
    for level, following in zip(levels, levels[1:], strict=False):
        x = x + (following - level) * network.velocity(x, torch.full((1,), level, device=x.device), batch, GUIDANCE).float()
    return x


class Requests:
    """Requests, encoded once, as requests.Requests for ACE. decode: (1, 16, h, w) → (1, H, W, 3)."""

    def __init__(self, found: list[tuple[Record, Path]], encoder: Encoder, decode: Callable[[Tensor], Tensor]):
        self.turns, self.made, self.decode = [record[record.at] for record, _ in found], [], decode
        self.pictures = [pictures_of(record, folder) for record, folder in found]
        for (record, folder), turn in zip(found, self.turns, strict=True):
            canvas = canvas_of(record, folder, encoder.options, encoder.budget)
            words = clean(turn.instruction)
            encoder.features(words)
            latents = [encoder.encoders.encode_picture(each[0]).float()[None] for each in seen(canvas, encoder.split).values()]
            self.made.append((Batch([latents[0], *latents], [canvas.mask[None]], [[words]]), canvas.layout))

    @property
    def captions(self) -> list[str]:
        return [turn.instruction for turn in self.turns]

    def answer(self, network: Network, number: int) -> Tensor:
        """(H, W, 3) in [0, 1]: the answer to one of the requests, cut out of its canvas."""
        (batch, layout), turn = self.made[number], self.turns[number]
        latent = sample(network, batch.to(network.device), turn.settings.steps or STEPS, turn.seed, layout.tokens)
        return plus.restore(self.decode(latent.cpu()).float().cpu().clamp(0, 1), layout)[0]

