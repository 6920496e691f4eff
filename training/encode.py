"""Examples → what the network reads, the same as the nodes make of the same record (arXiv 2410.00086, section 2.2).

Each text and picture is encoded once and kept by its content, so a second run, a resumed run and every epoch find it.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from .ace import images, lcu, masks
from .cache import MEMORY, Cache, Tensors, key_of
from .data import BUDGET, Example, opened
from .files import digest

SCALE = 0.18215  # of Stable Diffusion 1.x's VAE, as core's latent format has it: latents to unit variance
VERSION = 1  # of how pictures are prepared: another number makes everything anew


@dataclass(frozen=True)
class Encoders:
    """A text encoder and a VAE, whoever runs them.

    encode_text: clean text → (L, width) without padding · encode_picture: (h, w, 3) in [0, 1] → (4, h/8, w/8), unscaled ·
    signatures: another one means other weights · tokens: of a clean text, for data.read.
    """

    encode_text: Callable[[str], Tensor]
    encode_picture: Callable[[Tensor], Tensor]
    text_signature: str
    picture_signature: str
    tokens: Callable[[str], Sequence[int]] | None = None


@dataclass(frozen=True, eq=False)
class Encoded:
    """Frames in order, the target first (ace_model.lcu.Frame).

    latents (4, h, w) scaled to unit variance · masks (1, h, w) of 0 and 1 · words, negative_words: each frame's text, and
    with the instruction left out · texts, negatives (L, width): their features · names (10, width): of {image}, {image1}, … ·
    recent: the same without earlier turns, names counted anew; None if there are none, or if the last turn needs them.
    """

    latents: tuple[Tensor, ...]
    masks: tuple[Tensor, ...]
    words: tuple[str, ...]
    negative_words: tuple[str, ...]
    texts: tuple[Tensor, ...]
    negatives: tuple[Tensor, ...]
    names: Tensor
    recent: "Encoded | None" = None


@dataclass(frozen=True)
class Plan:
    """An example as keys of the cache. pictures: of each frame, the target first."""

    words: tuple[str, ...]
    negatives: tuple[str, ...]
    pictures: tuple[str, ...]
    recent: "Plan | None" = None


class Encoder:
    """Encodes examples. folder: of the cache, None for memory alone · budget: the most tokens of 16×16 pixels of a picture,
    unless its turn says otherwise · memory: bytes of what was used last."""

    def __init__(self, encoders: Encoders, folder: Path | None = None, budget: int = BUDGET, memory: int = MEMORY):
        self.encoders, self.budget, self.cache = encoders, budget, Cache(folder, memory)
        self._digests: dict[Path, str] = {}
        self._plans: dict[str, Plan] = {}

    def __call__(self, example: Example) -> Encoded:
        """Raises DataError for a picture that is gone or damaged since the check, or for a cache that cannot be written."""
        return self._encoded(example, self.plan(example))

    def prepare(self, examples: Iterable[Example], tick: Callable[[], None] = lambda: None) -> None:
        """Encode all there is: every text first, then every picture, so that text encoder and VAE take turns in memory once.
        tick: called twice for each example."""
        examples = list(examples)
        self.names()
        for example in examples:
            for words in self.every_text(self.plan(example)):
                self.features(words)
            tick()
        for example in examples:
            self._pictures(example, self.plan(example))
            tick()

    def features(self, words: str) -> Tensor:
        """(L, width) of a clean text."""
        key = key_of("text", words, self.encoders.text_signature)
        return self.cache.of(key, lambda: {"text": self.encoders.encode_text(words)})["text"]

    def names(self) -> Tensor:
        """(10, width): feature 0 of each image name."""
        return torch.stack([self.features(name)[0] for name in lcu.IDENTIFIERS])

    @staticmethod
    def every_text(plan: Plan) -> list[str]:
        recent = (*plan.recent.words, *plan.recent.negatives) if plan.recent else ()
        return list(dict.fromkeys((*plan.words, *plan.negatives, *recent)))

    # ---- plans

    def plan(self, example: Example) -> Plan:
        """Opens no picture, but reads the files' bytes the first time."""
        if example.key not in self._plans:
            self._plans[example.key] = self._plan(example)
        return self._plans[example.key]

    def _plan(self, example: Example) -> Plan:
        unit, last = example.outline(), example.turn
        sources = [self._source(example, turn, i) for turn in example.record.turns[-len(unit.turns):]
                   for i in range(len(turn.images))]
        chosen = unit.target_frame(last.settings.target_image)
        target = key_of("target", self._digest(example, last.target), sources[chosen - 1] if chosen else None,
                        self._tokens(example), self.encoders.picture_signature, VERSION)
        own, recent = unit.turns[-1], None
        looks_back = any(name["back"] is not None for name in lcu.PLACEHOLDER.finditer(own.instruction))
        if len(unit.turns) > 1 and own.images and not looks_back:
            recent = plan_of(lcu.LongContextUnit((own,)), (target, *sources[-len(own.images):]))
        return plan_of(unit, (target, *sources), recent)

    def _source(self, example: Example, turn, i: int) -> str:
        """The key of image i of a turn: all that its pixels and its mask depend on."""
        mask = turn.masks[i] if i < len(turn.masks) else None
        room = (turn.room, turn.settings.token_budget or self.budget) if i == turn.settings.target_image else None
        return key_of("source", self._digest(example, turn.images[i]), mask and self._digest(example, mask), turn.blank,
                      room if any(turn.room) else None, self._tokens(example), self.encoders.picture_signature, VERSION)

    def _tokens(self, example: Example) -> int:
        return example.turn.settings.token_budget or self.budget

    def _digest(self, example: Example, picture) -> str:
        path = example.path(picture)
        if path not in self._digests:
            self._digests[path] = digest(path)
        return self._digests[path]

    # ---- pictures

    def _encoded(self, example: Example, plan: Plan, pictures: list[Tensors] | None = None) -> Encoded:
        pictures = pictures or self._pictures(example, plan)
        recent = plan.recent and self._encoded(example, plan.recent, [pictures[0], *pictures[1 - len(plan.recent.pictures):]])
        return Encoded(tuple(each["latent"] * SCALE for each in pictures), tuple(each["mask"] for each in pictures), plan.words,
                       plan.negatives, tuple(map(self.features, plan.words)), tuple(map(self.features, plan.negatives)),
                       self.names(), recent)

    def _pictures(self, example: Example, plan: Plan) -> list[Tensors]:
        """{"latent", "mask"} of each frame."""
        found = [self.cache.get(key) for key in plan.pictures]
        if all(found):
            return found
        budget = self._tokens(example)
        unit = example.unit(self.budget)
        chosen = unit.target_frame(example.turn.settings.target_image)
        frames = unit.frames("", example.turn.settings.target_image)[1:]
        prepared = [images.preprocess(frame.image, frame.mask, budget, frame.blank) for frame in frames]
        pixels, _ = images.preprocess(opened(example.path(example.turn.target)), None, budget)
        cells = (pixels.shape[0] // 8, pixels.shape[1] // 8)
        mask = masks.latent_mask(prepared[chosen - 1][1], cells) if chosen else torch.ones(1, *cells)
        for i, (key, picture, own) in enumerate(zip(plan.pictures, [pixels, *(p for p, _ in prepared)],
                                                    [mask, *(masks.latent_mask(m) for _, m in prepared)], strict=True)):
            if found[i] is None:
                found[i] = self.cache.of(key, lambda picture=picture, own=own: {
                    "latent": self.encoders.encode_picture(picture).float(), "mask": own})
        return found


def plan_of(unit: lcu.LongContextUnit, pictures: tuple[str, ...], recent: Plan | None = None) -> Plan:
    frames = unit.frames()
    return Plan(tuple(frame.text for frame in frames), tuple(frame.negative_text for frame in frames), pictures, recent)
