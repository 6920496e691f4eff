"""What the demo model is taught from the pile: a ring, a shape that it does not know, in the place of another or beside it."""

from collections import Counter
from collections.abc import Sequence
from random import Random

from engine.labels import Label, LeftOut, by_templates, label
from engine.pairs import Pair

from ..lessons.lessons import Lesson
from ..world.scenes import Picture, Scene
from ..world.tasks import Sample, Turn
from .labels import difference, instruction
from .pile import Entry, made, one_more, reshape

WORDINGS = 2  # for each pair
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


def examples(pairs: Sequence[Pair], entries: Sequence[Entry], seed: int = 0) -> tuple[list[Label], Counter]:
    """Pairs with wordings: those that lead to a ring, and as many others, which keep what is known; and what became of all.

    entries: in the order of the pictures' numbers.
    """
    rng, rings, others, counts = Random(f"labels {seed}"), [], [], Counter()

    def scenes(pair: Pair) -> tuple[Scene, Scene]:
        return entries[int(pair.source.stem)].scene, entries[int(pair.target.stem)].scene

    def towards_the_ring(pair: Pair) -> Pair:
        old, new = scenes(pair)
        away = has_ring(old) and not has_ring(new)
        return Pair(pair.target, pair.source, pair.similarity, pair.group) if away else pair

    labelled = by_templates(lambda pair: difference(*scenes(pair), rng), WORDINGS, seed)
    for found in label(map(towards_the_ring, pairs), labelled):
        if isinstance(found, LeftOut):
            counts[found.why] += 1
        else:
            old, new = scenes(found.pair)
            (rings if has_ring(new) and not has_ring(old) else others).append(found)
    counts.update(rings=len(rings), others=len(others))
    return rings + rng.sample(others, min(len(others), len(rings))), counts


LESSON = Lesson(request, ("instead", "added"), 0, 0, {
    "lora": {"rank": 16, "alpha": 16}, "optimizer": {"rate": 0.002, "schedule": "cosine", "warmup": 10},
    "train": {"steps": 1200, "batch": 8, "drop_text": 0.0, "min_snr": 0.02, "every": 50}})
