"""The pile: pictures of scenes, edits of them, and look-alikes. Which belong together only the truth knows.

An edit changes one thing about a scene: another color or shape of an object, an object more or less, another place or light, a
face's hair, a person's pose, a letter's ink. A family is a scene with edits of it, so any two of its pictures are one or two
edits apart. Pictures of different families are at least three apart, counted in the scenes (`edits_between`). Look-alikes are
the hard ones: scenes of the same kind with the same shapes in the same spots, mostly in the same place and light, that differ
from the family in three edits or more: other colors, textures, letters, or poses.
"""

from collections.abc import Callable, Sequence
from dataclasses import astuple, dataclass, fields, replace
from random import Random

import numpy as np

from ..world.scenes import Scene, random_scene
from ..world.scenes.world import (
    ARMS,
    COLORS,
    EXPRESSIONS,
    GAZES,
    INKS,
    LEGS,
    LETTERS,
    PLACES,
    SHAPES,
    SIGN_PLACES,
    SIZES,
    SPOTS,
    TEXTURES,
    Face,
    Figure,
    random_face,
    random_figure,
    random_thing,
)
from ..world.tasks.editing import express, other, recolor, redress, regaze, reglasses, rehair, relight, remove, repose, rows_of

APART = 3  # edits
KNOWN = (*SHAPES, "ring")
KINDS = {"things": 6.0, "face": 1.3, "figure": 1.3, "sign": 1.4}  # as often as in the world


def reshape(scene: Scene, rng: Random, shapes: Sequence[str] = SHAPES) -> Scene:
    """Another shape of the same color, texture and size in the place of one."""
    i = rng.randrange(len(scene.things))
    return scene.change(i, shape=other(rng, shapes, *(t.shape for t in scene.things)))


def one_more(scene: Scene, rng: Random, **fixed) -> Scene:
    return scene.but(things=(*scene.things, random_thing(rng, scene.things, rows_of(scene), **fixed)))


def other_place(scene: Scene, rng: Random) -> Scene:
    return scene.but(place=other(rng, PLACES, scene.place))


def other_ink(scene: Scene, rng: Random) -> Scene:
    return scene.but(sign=replace(scene.sign, ink=other(rng, INKS, scene.sign.ink)))


def scene_of(edit: Callable) -> Callable[[Scene, Random], Scene]:
    return lambda scene, rng: edit(scene, rng)[0]


THINGS = (scene_of(recolor), reshape, one_more)
ANY = (other_place, scene_of(relight))
EDITS: dict[str, tuple[Callable[[Scene, Random], Scene], ...]] = {
    "things": (*THINGS, *THINGS, scene_of(remove), *ANY),
    "face": (*map(scene_of, (express, rehair, reglasses, regaze)), *ANY),
    "figure": (*map(scene_of, (repose, redress)), *ANY),
    "sign": (*THINGS[:2], other_ink, *ANY)}


@dataclass(frozen=True)
class Entry:
    """A picture of the pile. family: a number; a look-alike and a stranger have one of their own."""

    scene: Scene
    family: int
    role: str  # scene, edit, look-alike or stranger


def kind_of(scene: Scene) -> str:
    return next((name for name in ("face", "figure", "sign") if getattr(scene, name)), "things")


def made(rng: Random, kind: str) -> Scene:
    """Two or three things, or a face, a person, or a sign with a thing."""
    return random_scene(rng, kind, rng.choice((2, 2, 3)) if kind == "things" else 1 if kind == "sign" else None)


def look_alike(scene: Scene, rng: Random) -> Scene:
    """The same kinds of things in the same spots, looking otherwise; now and then in another light or place."""
    colors, things = [t.color for t in scene.things], []
    for thing in scene.things:
        color = other(rng, COLORS, *colors)
        colors.append(color)
        texture = other(rng, TEXTURES if thing.size == "big" else TEXTURES[:2], thing.texture)
        things.append(replace(thing, color=color, texture=texture))
    new = scene.but(things=tuple(things))
    if scene.face:
        new = new.but(face=several(rng, scene.face, random_face))
    if scene.figure:
        new = new.but(figure=several(rng, scene.figure, random_figure))
    if scene.sign:
        letters = "".join(other(rng, LETTERS, letter) for letter in scene.sign.text)
        new = new.but(sign=replace(scene.sign, text=letters, ink=other(rng, INKS, scene.sign.ink)))
    change = rng.random()
    return relight(new, rng)[0] if change < 0.15 else other_place(new, rng) if change < 0.3 else new


def several(rng: Random, old: Face | Figure, draw: Callable) -> Face | Figure:
    """Another face or person, that differs from the old one in at least three fields."""
    while True:
        new = draw(rng)
        if sum(a != b for a, b in zip(astuple(old), astuple(new), strict=True)) >= APART:
            return new


def pile(count: int, seed: int = 0, ring: float = 0.0) -> list[Entry]:
    """`count` pictures in no order. ring: the share of families of things in which a ring takes a shape's place or is added.

    Families have three to five pictures; of every ten pictures about six are in families, three are look-alikes of them.
    """
    rng, entries, codes = Random(f"pile {seed}"), [], np.empty((count + 16, len(code(Scene()))), np.int16)

    def add(scenes: Sequence[Scene], roles: Sequence[str]) -> bool:
        """False if one of them is too near to another family."""
        new = np.array([code(scene) for scene in scenes], np.int16)
        if any((edits_between(each, codes[:len(entries)]) < APART).any() for each in new):
            return False
        family = entries[-1].family + 1 if entries else 0
        codes[len(entries):len(entries) + len(new)] = new
        entries.extend(Entry(scene, family, role) for scene, role in zip(scenes, roles, strict=True))
        return True

    while len(entries) < count:
        kind = rng.choices(tuple(KINDS), tuple(KINDS.values()))[0]
        scene = made(rng, kind)
        draw = rng.random()
        if draw < 0.15:
            add([scene], ["stranger"])
            continue
        members = [scene]
        wanted = min(rng.choice((3, 3, 4, 5)), count - len(entries))
        if kind == "things" and rng.random() < ring:
            members.append(reshape(scene, rng, ("ring",)) if rng.random() < 0.6 or len(scene.things) == 3 else
                           one_more(scene, rng, shape="ring", texture="plain", size="big"))
        while len(members) < wanted:
            new = rng.choice(EDITS[kind])(scene, rng)
            if new not in members:
                members.append(new)
        if add(members, ["scene", *["edit"] * (len(members) - 1)]):
            for _ in range(rng.choice((1, 2, 2, 3))):
                if len(entries) < count:
                    add([look_alike(rng.choice(members), rng)], ["look-alike"])
    rng.shuffle(entries)
    return entries


# ---- how far apart scenes are

def code(scene: Scene) -> list[int]:
    """A scene as numbers, -1 for what is not there."""
    out = [list(PLACES).index(scene.place), scene.light == "night"]
    at = {thing.spot: thing for thing in scene.things}
    for spot in SPOTS:
        thing = at.get(spot)
        out += [-1] * 4 if thing is None else [KNOWN.index(thing.shape), list(COLORS).index(thing.color),
                                               TEXTURES.index(thing.texture), list(SIZES).index(thing.size)]
    for part, kind in ((scene.face, Face), (scene.figure, Figure)):
        out += [-1] * len(fields(kind)) if part is None else [hash_of(value) for value in astuple(part)]
    sign = scene.sign
    return out + ([-1] * 4 if sign is None else [*(LETTERS.index(c) for c in sign.text.ljust(2, sign.text[-1])),
                                                 INKS.index(sign.ink), list(SIGN_PLACES).index(sign.place)])


def hash_of(value) -> int:
    """A small number that differs where values of one field differ."""
    names = (*COLORS, *TEXTURES, *EXPRESSIONS, *GAZES, *ARMS, *LEGS)
    return names.index(value) if isinstance(value, str) else int(value)


def edits_between(one: np.ndarray, others: np.ndarray) -> np.ndarray:
    """(f,), (n, f) codes → (n,): how many edits lead from one scene to each of the others, at least.

    What differs within an object counts up to two, for it can be removed and another added.
    """
    differs = one != others
    groups = [slice(2 + 4 * i, 6 + 4 * i) for i in range(len(SPOTS))]
    start = groups[-1].stop
    out = differs[:, :2].sum(1)
    for group in groups:
        gone = (one[group] < 0).all() != (others[:, group] < 0).all(1)
        out += np.where(gone, 1, np.minimum(differs[:, group].sum(1), 2))
    return out + differs[:, start:].sum(1)
