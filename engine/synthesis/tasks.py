"""One function per task: a picture → instruction, what goes in, what comes out.

Every answer is exact: the task hides, blurs or covers a picture that is known. What a task needs beside the picture (a caption,
a subject's mask, another picture, an annotator) it names, and it is left out where that is missing.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random

import torch.nn.functional as F
from torch import Tensor

from ..ace import errors, images, phrasings
from . import holes, layers, lettering
from .maps import MAPS

Annotator = Callable[[Tensor], Tensor]  # (H, W, 3) in [0, 1] → a map of the same shape
ANNOTATORS = ("depth", "pose", "segmentation")
SOFT = 4  # pixels by which a mask is wider than what it covers


class MissingError(errors.InputError):
    """What a task needs and this picture has not. The text says how to give it."""


@dataclass(frozen=True, eq=False)
class Source:
    """pixels (H, W, 3) in [0, 1] · caption: what the picture shows · alpha (H, W): of its subject · others: pictures to put it
    onto, and to take shapes from · annotators: by name · font: a file, None for Pillow's own."""

    pixels: Tensor
    caption: str = ""
    alpha: Tensor | None = None
    others: Sequence[Tensor] = ()
    annotators: Mapping[str, Annotator] = field(default_factory=dict)
    font: str | None = None

    def subject(self) -> Tensor:
        if self.alpha is None:
            raise MissingError("no mask of its subject: give NAME mask.png beside it, a picture with transparency, or mask.")
        return self.alpha

    def annotated(self, name: str) -> Tensor:
        if name not in self.annotators:
            raise MissingError(f"no annotator for {name}: give its weights by --{name}, or connect map.")
        return self.annotators[name](self.pixels)

    def other(self, rng: Random) -> Tensor:
        """Another picture of the same size."""
        if not self.others:
            raise MissingError("no other picture beside it: add some to the folder, or connect others.")
        found = rng.choice(self.others)
        return _fitted(found, *self.pixels.shape[:2])


@dataclass(frozen=True, eq=False)
class Made:
    """What an example is made of. images (H, W, 3) each · masks: one for each, or None · blank: the model sees black there."""

    instruction: str
    images: tuple[Tensor, ...]
    target: Tensor
    masks: tuple[Tensor | None, ...] = ()
    blank: bool = False


Task = Callable[[Source, Random], Made]


def say(task: str, rng: Random, caption: str = "", **gaps: str) -> str:
    """One of the phrasings that can be filled. caption: fills [what] where it stands in quotes. Raises MissingError."""
    gaps = {**gaps, **({"what": caption.replace('"', "'")} if caption else {})}
    texts = [number for number, text in enumerate(phrasings.phrasings(task), 1)
             if all(gaps.get(gap, "").strip() for gap in phrasings.GAP.findall(text))]
    if not texts:
        raise MissingError("no caption: write what it shows into a text file of its name, or into caption.")
    return phrasings.phrase(task, rng.choice(texts), **gaps)


# ---- maps, and pictures from maps

def analysis(name: str) -> Task:
    def make(source: Source, rng: Random) -> Made:
        return Made(say(f"Analysis: {name}", rng), (source.pixels,), map_of(source, name, rng))
    return make


def from_map(name: str, task: str) -> Task:
    def make(source: Source, rng: Random) -> Made:
        text = say(f"Controllable generation: {task}", rng, source.caption)
        return Made(text, (map_of(source, name, rng),), source.pixels)
    return make


def map_of(source: Source, name: str, rng: Random) -> Tensor:
    return MAPS[name](source.pixels, rng) if name in MAPS else source.annotated(name)


# ---- masks

def inpainting(source: Source, rng: Random) -> Made:
    mask = holes.hole(*source.pixels.shape[:2], rng)
    return Made(say("Repainting: inpainting", rng, source.caption), (source.pixels,), source.pixels, (mask,), True)


def outpainting(source: Source, rng: Random) -> Made:
    """The border is black and marked: what ACE Pad for Outpainting makes of the middle."""
    mask = holes.border(*source.pixels.shape[:2], rng)
    return Made(say("Repainting: outpainting", rng, source.caption), (source.pixels,), source.pixels, (mask,), True)


def removal(source: Source, rng: Random) -> Made:
    """A shape cut out of another picture covers a part, and is to go."""
    height, width = source.pixels.shape[:2]
    shape = holes.hole(height, width, rng)
    covered = layers.over(source.pixels, source.other(rng), shape)
    return Made(say("Element editing: remove object (mask)", rng), (covered,), source.pixels, (wider(shape),))


def write_text(source: Source, rng: Random) -> Made:
    text, written, mask = lettered(source, rng)
    return Made(say("Element editing: write text", rng, what=text), (source.pixels,), written, (mask,))


def remove_text(source: Source, rng: Random) -> Made:
    _, written, mask = lettered(source, rng)
    if rng.random() < 0.5:
        return Made(say("Element editing: remove text", rng), (written,), source.pixels)
    return Made(say("Element editing: remove text (mask)", rng), (written,), source.pixels, (mask,))


def lettered(source: Source, rng: Random) -> tuple[str, Tensor, Tensor]:
    text = lettering.words(rng)
    found = lettering.write(source.pixels, text, rng, source.font)
    if found is None:
        raise MissingError(f"no room for {text!r}: use larger pictures.")
    written, box = found
    return text, written, holes.of_box(*source.pixels.shape[:2], box)


# ---- layers

def cut_out(source: Source, rng: Random) -> Made:
    text = say("Layer editing: split layers, subject", rng, what=source.caption)
    return Made(text, (source.pixels,), layers.on_white(source.pixels, source.subject()))


def fuse(source: Source, rng: Random) -> Made:
    background, subject, alpha = composed(source, rng)
    text = say("Layer editing: fuse layers", rng)
    return Made(text, (background, layers.on_white(subject, alpha)), layers.over(background, subject, alpha))


def background(source: Source, rng: Random) -> Made:
    behind, subject, alpha = composed(source, rng)
    text = say("Layer editing: split layers, background", rng, what=source.caption)
    return Made(text, (layers.over(behind, subject, alpha),), behind)


def composed(source: Source, rng: Random) -> tuple[Tensor, Tensor, Tensor]:
    behind = source.other(rng)
    return behind, *layers.placed(source.pixels, source.subject(), *behind.shape[:2], rng)


REVERSED = {"grayscale": "colorize", "mosaic": "from mosaic", "blur": "deblur", "noise": "denoise", "edges": "from edges",
            "contour": "from contour", "scribble": "from scribble", **{name: f"from {name}" for name in ANNOTATORS}}
TASKS: dict[str, Task] = {
    **{name: analysis(name) for name in REVERSED if name != "noise"},
    **{task.replace(" ", "-"): from_map(name, task) for name, task in REVERSED.items()},
    "inpainting": inpainting, "outpainting": outpainting, "removal": removal, "write-text": write_text,
    "remove-text": remove_text, "cut-out": cut_out, "fuse": fuse, "background": background}


def make(task: str, source: Source, rng: Random) -> Made:
    """Raises MissingError for what the source lacks, and KeyError for no task."""
    return TASKS[task](source, rng)


def wider(mask: Tensor, by: int = SOFT) -> Tensor:
    return F.max_pool2d(mask[None, None], 2 * by + 1, 1, by)[0, 0]


def _fitted(x: Tensor, height: int, width: int) -> Tensor:
    """The middle of a picture at another size."""
    scale = max(height / x.shape[0], width / x.shape[1])
    size = max(height, round(x.shape[0] * scale)), max(width, round(x.shape[1] * scale))
    resized = images.resize(x[None], *size)[0]
    top, left = (size[0] - height) // 2, (size[1] - width) // 2
    return resized[top:top + height, left:left + width]
