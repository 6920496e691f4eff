"""Samples → pictures, masks and texts of their frames, through the pack's own LCU."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from random import Random

import torch
from torch import Tensor
from torch.utils.data import Dataset

from ace_model.lcu import ConditionUnit, LongContextUnit
from ace_model.masks import latent_mask

from ..scenes import SIZE, render_each
from .base import TASKS, Region, Sample, Turn, generate, subtasks

WEIGHTS = dict(zip(TASKS, (1.3, 7.0, 1.2, 3.6, 6.0, 1.4, 1.6, 1.7, 1.7), strict=True))  # how often each task is trained
HARDEST = ("edge", "contour", "scribble", "style", "style of a picture", "add text", "replace object", "the same again")
HARDER = ("segmentation", "colour", "shape and colour", "add object", "grayscale", "remove object", "fuse layers")
HARD = ("from segmentation", "from edge", "from contour", "background", "lighting", "remove text",
        "split object", "multi-reference", "next edit", "keep the rest")
EASY = ("blur", "mosaic", "denoise", "expression", "gaze", "glasses", "hair", "split background", "put back",
        "colour of earlier")
OFTEN = {name: factor for names, factor in ((HARDEST, 4.0), (HARDER, 3.0), (HARD, 2.0), (EASY, 0.4)) for name in names}
OFTEN["depth"] = 12.0
DROP_HISTORY = 0.3
_STAND_IN = torch.zeros(16, 16, 3)  # texts do not depend on what the pictures show


@dataclass
class Frames:
    """images (N + 1, 3, H, H) uint8, target first · masks (N + 1, 1, H/8, H/8) · texts and negatives: N + 1 strings."""

    images: Tensor
    masks: Tensor
    texts: list[str]
    negatives: list[str]


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
        regions = [last.region(0) if last.pictures else None, *own]
        masks = torch.stack([latent_mask_of(r, sample.target.size) for r in regions])
        out.append(Frames((images * 255).round().byte(), masks, *texts_of(sample.turns)))
    return out


class Chunks(Dataset):
    """Endless training data in numbered chunks: chunk i is the same whoever makes it, whenever."""

    def __init__(self, seed: int, size: int, first: int = 0):
        self.seed, self.size, self.first = seed, size, first

    def __len__(self) -> int:
        return 1 << 40

    def __getitem__(self, index: int) -> list[Frames]:
        rng = Random(f"{self.seed}/{self.first + index}")
        tasks = rng.choices(TASKS, [WEIGHTS[t] for t in TASKS], k=self.size)
        return frames_of([forget(rng, generate(rng, task, draw(rng, task))) for task in tasks])


def draw(rng: Random, task: str) -> str:
    """A subtask to train; how often each is scored (`base.subtask`) is another matter."""
    names = subtasks(task)
    return rng.choices(names, [OFTEN.get(n, 1.0) for n in names])[0]


def forget(rng: Random, sample: Sample) -> Sample:
    """Drop the history now and then, where the answer does not need it."""
    if sample.history or len(sample.turns) == 1 or rng.random() > DROP_HISTORY:
        return sample
    return replace(sample, turns=sample.turns[-1:])
