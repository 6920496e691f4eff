"""Samples → pictures, masks and texts of their frames, through the pack's own LCU."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from random import Random

import torch
from torch import Tensor
from torch.utils.data import Dataset

from ace_model.lcu import IDENTIFIERS, ConditionUnit, LongContextUnit
from ace_model.masks import latent_mask

from ..scenes import SIZE, render_each
from .base import TASKS, Region, Sample, Turn, subtasks
from .names import generate

WEIGHTS = dict(zip(TASKS, (0.8, 2.5, 1.2, 6.5, 5.0, 2.0, 3.2, 5.5, 6.5), strict=True))  # how often each task is trained
HARDEST = ("style of a picture", "the same again", "color of earlier", "fuse layers", "next edit", "color", "add object",
           "replace object")
HARDER = ("contour", "segmentation", "mosaic", "style", "shape and color", "add text", "remove object", "multi-reference",
          "grayscale")
HARD = ("from segmentation", "from edge", "from contour", "from scribble", "from mosaic", "from depth", "remove text",
        "keep the rest", "background", "hair", "edge", "scribble", "face", "try-on", "picture of an earlier turn")
EASY = ("blur", "denoise", "deblur", "colorize", "expression", "gaze", "glasses", "subject somewhere",
        "split background", "pose")
OFTEN = {name: factor for names, factor in ((HARDEST, 4.5), (HARDER, 3.0), (HARD, 2.0), (EASY, 0.4)) for name in names}
DROP_HISTORY = 0.3
IDENTIFIER = re.compile(r"\{image\d*\}")
_STAND_IN = torch.zeros(16, 16, 3)  # texts do not depend on what the pictures show


@dataclass
class Frames:
    """One sample as the network reads it, target first.

    images (N + 1, 3, H, H) uint8 · masks (N + 1, 1, H/8, H/8) · texts and negatives: N + 1 strings · names: which of the ten
    image names each frame has; as in the graph, the pictures have theirs in order and the target the next.
    """

    images: Tensor
    masks: Tensor
    texts: list[str]
    negatives: list[str]
    names: tuple[int, ...]


@cache
def mask_of(region: Region | None, size: int = SIZE) -> Tensor:
    """(1, size, size): 1 = edit here, everywhere if None."""
    if region is None:
        return torch.ones(1, size, size)
    x0, y0, x1, y1 = region.box
    mask = torch.zeros(1, size, size)
    mask[:, y0:y1, x0:x1] = 1
    return 1 - mask if region.outside else mask


@cache
def latent_mask_of(region: Region | None, size: int) -> Tensor:
    """(1, size / 8, size / 8)."""
    return latent_mask(mask_of(region, size)[0])


def texts_of(turns: Sequence[Turn]) -> tuple[list[str], list[str]]:
    """Positive and negative text of every frame, as the graph's LCU makes them."""
    lcu = LongContextUnit()
    for turn in turns:
        lcu = lcu.then(ConditionUnit(turn.instruction, [_STAND_IN] * len(turn.pictures)))
    frames = lcu.frames()
    negatives = [f.negative_text for f in frames]
    return [f.text for f in frames], ["", *negatives[1:]]


def frames_of(samples: Sequence[Sample]) -> list[Frames]:
    """Render a few samples together."""
    rendered, out = iter(render_each([p for s in samples for p in (s.target, *s.pictures)])), []
    for sample in samples:
        images = torch.stack([next(rendered) for _ in (sample.target, *sample.pictures)])
        own = [t.region(i) for t in sample.turns for i in range(len(t.pictures))]
        blanks = [t.blank for t in sample.turns for _ in t.pictures]
        for image, region, blank in zip(images[1:], own, blanks, strict=True):
            if blank and region is not None:
                image *= 1 - mask_of(region)
        last = sample.turns[-1]
        regions = [last.region(last.edited) if last.pictures else None, *own]
        masks = torch.stack([latent_mask_of(r, sample.target.size) for r in regions])
        count = len(sample.pictures)
        out.append(Frames((images * 255).round().byte(), masks, *texts_of(sample.turns), (count, *range(count))))
    return out


def rename(rng: Random, frames: Frames, pictures_only: bool = False) -> Frames:
    """The same sample with other names for its frames, so that a name is learned and not a place in the row.

    A third keep theirs, a third exchange them, and a third take any of the ten: else names would stay unknown that only long
    conversations need. pictures_only: the pictures exchange theirs, and the target keeps its own.
    """
    kind = rng.random()
    if kind < 0.35:
        return frames
    if pictures_only:
        names = [frames.names[0], *rng.sample(frames.names[1:], len(frames.names) - 1)]
    else:
        names = rng.sample(range(len(IDENTIFIERS)) if kind > 0.7 else frames.names, len(frames.names))
    new = {IDENTIFIERS[old]: IDENTIFIERS[name] for old, name in zip(frames.names, names, strict=True)}

    def named(texts: list[str]) -> list[str]:
        return [IDENTIFIER.sub(lambda match: new.get(match[0], match[0]), text) for text in texts]
    return replace(frames, texts=named(frames.texts), negatives=named(frames.negatives), names=tuple(names))


class Chunks(Dataset):
    """Endless training data in numbered chunks: chunk i is the same whoever makes it, whenever.

    named: only pairs of pictures of which the names alone tell which is meant.
    """

    def __init__(self, seed: int, size: int, first: int = 0, named: bool = False):
        self.seed, self.size, self.first, self.named = seed, size, first, named

    def __len__(self) -> int:
        return 1 << 40

    def __getitem__(self, index: int) -> list[Frames]:
        rng = Random(f"{self.seed}/{self.first + index}")
        tasks = rng.choices(TASKS, [WEIGHTS[t] for t in TASKS], k=self.size)
        samples = [self.draw(rng, task) for task in tasks]
        return [rename(rng, frames, self.named) for frames in frames_of(samples)]

    def draw(self, rng: Random, task: str) -> Sample:
        """Of a task; with `named`, of any task in which a name decides between two pictures."""
        while True:
            sample = forget(rng, generate(rng, task, draw(rng, task)))
            if not self.named or sample.renamed and len(sample.pictures) == len(sample.turns[-1].pictures) == 2:
                return sample
            task = rng.choices(TASKS, [WEIGHTS[t] for t in TASKS])[0]


def draw(rng: Random, task: str) -> str:
    """A subtask to train; how often each is scored (`base.subtask`) is another matter."""
    names = subtasks(task)
    return rng.choices(names, [OFTEN.get(n, 1.0) for n in names])[0]


def forget(rng: Random, sample: Sample) -> Sample:
    """Drop the history now and then, where the answer does not need it."""
    if sample.history or len(sample.turns) == 1 or rng.random() > DROP_HISTORY or "previous" in sample.turns[-1].instruction:
        return sample
    return replace(sample, turns=sample.turns[-1:])
