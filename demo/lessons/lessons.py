"""What is taught: examples to learn from and unseen requests, drawn by the world's own renderer.

Both lessons are judged as every task is (demo/world/judge.py): the answer must be nearer to the truth than to every scene that
differs in one attribute, such as one of the six known shapes in the place of the ring.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from itertools import combinations
from random import Random

from ..world.scenes import Picture, Scene, random_scene, render
from ..world.scenes.world import SIZES, SPOTS, Thing, random_thing
from ..world.tasks import Sample, Turn, generate, words
from ..world.tasks.analysis import say_caption
from ..world.tasks.base import ANALYSIS, CONTROL, ELEMENT, GENERATION, LAYER, MULTI_TURN, REFERENCE, REPAINTING, SEMANTIC
from ..world.tasks.editing import SCENES, add, swap

RING = {"shape": "ring", "texture": "plain", "size": "big"}
GAZES = {"left": "right", "right": "left"}
ORDINARY = {GENERATION: 40, REPAINTING: 64, ELEMENT: 48, CONTROL: 32, SEMANTIC: 24, LAYER: 48, ANALYSIS: 16, REFERENCE: 16,
            MULTI_TURN: 8}
HOW = ("from words", "added", "instead")


def ring(rng: Random, how: str) -> Sample:
    """A request for a ring, a shape that no task of the world has. It hides nothing, and nothing hides it."""
    while True:
        sample = any_ring(rng, how)
        scene = sample.target.scene
        new = ring_in(scene)
        if all(apart(new, thing) for thing in scene.things if thing is not new):
            return sample


def apart(one: Thing, other: Thing) -> bool:
    distance = max(abs(a - b) for a, b in zip(SPOTS[one.spot], SPOTS[other.spot], strict=True))
    return distance >= SIZES[one.size] + SIZES[other.size]


def any_ring(rng: Random, how: str) -> Sample:
    if how == "from words":
        first = random_thing(rng, **RING)
        things = (first, *([random_thing(rng, (first,))] if rng.random() < 0.5 else []))
        scene = random_scene(rng, "things", 0).but(things=things)
        return Sample("ring", how, (Turn(say_caption(rng, scene)),), Picture(scene))
    scene = SCENES["few"](rng)
    scene = scene.but(things=tuple(replace(thing, size="big") for thing in scene.things))  # who takes a place keeps its size
    new, text = (add if how == "added" else swap)(scene, rng, **RING)
    return Sample("ring", how, (Turn(text, (Picture(scene),)),), Picture(new))


def ring_in(scene: Scene) -> Thing:
    return next(thing for thing in scene.things if thing.shape == "ring")


def further(samples: list[Sample]) -> list[Sample]:
    """What else their pictures answer: a ring in words, and the ring added to the same scene without it."""
    rng, out = Random("lesson further"), []
    for scene in (each.target.scene for each in samples):
        new = ring_in(scene)
        without = scene.but(things=tuple(thing for thing in scene.things if thing is not new))
        _, text = add(without, rng, **RING, color=new.color, spot=new.spot)
        out += [Sample("ring", "from words", (Turn(say_caption(rng, scene)),), Picture(scene)),
                Sample("ring", "added", (Turn(text, (Picture(without),)),), Picture(scene))]
    return out


def varied(samples: list[Sample], count: int) -> list[Sample]:
    """`count` of them, as one would choose: most by day, and colors before spots and places as different as can be."""
    chosen: list[Sample] = []

    def alike(sample: Sample) -> tuple[int, int]:
        """How many of those chosen have its ring's color, and its spot or place."""
        ring, place = ring_in(sample.target.scene), sample.target.scene.place
        seen = [(ring_in(each.target.scene), each.target.scene.place) for each in chosen]
        return (sum(other.color == ring.color for other, _ in seen),
                sum((other.spot == ring.spot) + (where == place) for other, where in seen))
    for i in range(count):
        light = "day" if i < count * 2 // 3 else "night"
        chosen.append(min((each for each in samples if each.target.scene.light == light and each not in chosen), key=alike))
    return chosen


def mirrored(scene: Scene) -> Scene:
    """The scene with left and right exchanged."""
    things = tuple(replace(t, spot=flipped(t.spot)) for t in scene.things)
    face = scene.face and replace(scene.face, gaze=GAZES.get(scene.face.gaze, scene.face.gaze))
    return scene.but(things=things, face=face)


def flipped(spot: str) -> str:
    return " ".join(GAZES.get(word, word) for word in spot.split())


def mirror(rng: Random, how: str = "mirrored") -> Sample:
    """A scene that looks other in a mirror. Which of two things hides the other must not change."""
    while True:
        scene = random_scene(rng, rng.choice(("things", "things", "things", "face")))
        new = mirrored(scene)
        shown, wanted = render([Picture(scene), Picture(new)])
        if new != scene and (shown.flip(-1) - wanted).abs().max() < 0.02 and (shown - wanted).abs().max() > 0.1:
            text = words.say(rng, "mirror {image}", "{image} [in a mirror|mirrored]", "swap left and right in {image}",
                             "exchange left and right in {image}")
            return Sample("mirror", how, (Turn(text, (Picture(scene),)),), Picture(new))


def telling(samples: list[Sample], count: int) -> list[Sample]:
    """`count` of them, as one would choose: each shows most of what those before it did not."""
    seen: Counter = Counter()
    chosen: list[Sample] = []
    for _ in range(count):
        chosen.append(max((each for each in samples if each not in chosen),
                          key=lambda each: sum(1 / (1 + seen[fact]) for fact in facts(each.target.scene))))
        seen.update(facts(chosen[-1].target.scene))
    return chosen


def facts(scene: Scene) -> list[tuple]:
    """What a scene shows, two attributes at a time."""
    parts = [*scene.things, *([scene.face] if scene.face else [])]
    return [(scene.place, scene.light), *(pair for part in parts for pair in combinations(asdict(part).items(), 2))]


def back(samples: list[Sample]) -> list[Sample]:
    """A mirrored picture's mirror image is the picture."""
    return [replace(each, turns=(replace(each.turns[0], pictures=(each.target,)),), target=each.turns[0].pictures[0])
            for each in samples]


def ordinary() -> list[Sample]:
    """Requests that the model knows already, with one or two pictures."""
    rng, out = Random("lesson ordinary"), []
    for task, count in ORDINARY.items():
        found = []
        while len(found) < count:
            sample = generate(rng, task)
            if len(sample.pictures) <= 2 and all(p.photo is None for p in (sample.target, *sample.pictures)):
                found.append(sample)
        out += found
    return out


@dataclass(frozen=True)
class Lesson:
    """make: rng, one of `kinds` → a sample · count: of examples · ordinary: how many requests that the model knows already go
    with them · settings: of the trainer, as in its YAML file · pool, choose: from how many samples, and which · more: further
    requests that the same pictures answer."""

    make: Callable[[Random, str], Sample]
    kinds: tuple[str, ...]
    count: int
    ordinary: int
    settings: dict
    pool: int = 0
    choose: Callable[[list[Sample], int], list[Sample]] = lambda samples, count: samples[:count]
    more: Callable[[list[Sample]], list[Sample]] = lambda samples: []

    def samples(self, name: object, count: int) -> list[Sample]:
        """The same for the same name; kinds take turns."""
        rng = Random(f"lesson {name}")
        return [self.make(rng, self.kinds[i % len(self.kinds)]) for i in range(count)]

    def examples(self) -> list[Sample]:
        last = Lesson.samples(replace(self, kinds=self.kinds[-1:]), "examples", max(self.pool, self.count))
        chosen = self.choose(last, self.count)
        return chosen + self.more(chosen)

    def requests(self, count: int = 100, seed: int = 1) -> list[Sample]:
        """None of them shows, or answers with, a picture of the examples."""
        known = {picture for s in self.examples() for picture in (s.target, *s.pictures)}
        return [s for s in self.samples(f"requests {seed}", 2 * count) if not known & {s.target, *s.pictures}][:count]


LESSONS = {
    "subject": Lesson(ring, HOW, 12, 296, {
        "lora": {"rank": 8, "alpha": 8}, "optimizer": {"rate": 0.003, "schedule": "cosine", "warmup": 10},
        "train": {"steps": 800, "batch": 8, "drop_text": 0.0, "preserve": 5.0, "min_snr": 0.02, "every": 50}},
        120, varied, further),
    "task": Lesson(mirror, ("mirrored",), 60, 296, {
        "lora": {"rank": 16, "alpha": 16}, "optimizer": {"rate": 0.003, "schedule": "cosine", "warmup": 10},
        "train": {"steps": 2000, "batch": 8, "drop_text": 0.0, "preserve": 5.0, "min_snr": 0.02, "every": 50}},
        300, telling, back)}
