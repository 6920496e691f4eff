"""What the demo model is taught from the pile: a ring, a shape that it does not know, in the place of another or beside it."""

from collections.abc import Sequence
from random import Random

from engine.pairs import Pair

from ..lessons.lessons import Lesson
from ..world.scenes import Picture, Scene
from ..world.tasks import Sample, Turn
from .labels import instruction
from .pile import Entry, made, one_more, reshape

ADDED = {"shape": "ring", "texture": "plain", "size": "big"}


def has_ring(scene: Scene) -> bool:
    return any(thing.shape == "ring" for thing in scene.things)


def request(rng: Random, how: str) -> Sample:
    """An unseen scene, asked as the pairs are labelled."""
    scene = made(rng, "things")
    while how == "added" and len(scene.things) == 3:
        scene = made(rng, "things")
    new = one_more(scene, rng, **ADDED) if how == "added" else reshape(scene, rng, ("ring",))
    return Sample("ring", how, (Turn(instruction(scene, new, rng), (Picture(scene),)),), Picture(new))


def examples(pairs: Sequence[Pair], entries: Sequence[Entry], seed: int = 0) -> tuple[list[tuple[Pair, str]], int]:
    """(pairs with instructions, pairs without): those that lead to a ring, and as many others, which keep what is known.

    entries: in the order of the pictures' numbers. A pair without an instruction is more or less than one edit apart.
    """
    rng, rings, others, without = Random(f"labels {seed}"), [], [], 0
    for pair in pairs:
        old, new = (entries[int(path.stem)].scene for path in (pair.source, pair.target))
        if has_ring(old) and not has_ring(new):
            pair, old, new = Pair(pair.target, pair.source, pair.similarity, pair.group), new, old
        text = instruction(old, new, rng)
        if text is None:
            without += 1
        else:
            (rings if has_ring(new) and not has_ring(old) else others).append((pair, text))
    return rings + rng.sample(others, min(len(others), len(rings))), without


LESSON = Lesson(request, ("instead", "added"), 0, 0, {
    "lora": {"rank": 16, "alpha": 16}, "optimizer": {"rate": 0.002, "schedule": "cosine", "warmup": 10},
    "train": {"steps": 1200, "batch": 8, "drop_text": 0.0, "min_snr": 0.02, "every": 50}})
