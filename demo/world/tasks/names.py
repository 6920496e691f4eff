"""Which picture has which name is drawn anew for every sample: order, size and content tell no role, only the words do.

Generators name pictures by their roles. Here the pictures of a turn are shuffled, unnamed ones come along, and the words get
the names that the pictures have now. Many samples have a twin: a second picture that the same words could mean.
"""

import re
from collections.abc import Sequence
from dataclasses import replace
from random import Random

from ..scenes import Picture, Scene, photographs, random_scene
from ..scenes.world import PLACES, SPOTS, STUDIO, Figure, random_face, random_figure, random_sign, random_thing
from .base import Region, Renamed, Sample, Turn, Twin, make

NAME = re.compile(r"\{(?:previous(\d*)\.)?image(\d*)\}")
MOST = 4  # pictures of a sample: more make training slow
TWINS = {1: 0.25, 2: 0.5, 3: 0.6}  # how often a twin comes along, by the number of pictures without it
ONLOOKERS = 0.12  # how often an unnamed picture comes along that is nobody's twin
PHOTO_ONLOOKERS = 0.1  # photographs cost four times as much


def generate(rng: Random, task: str, name: str | None = None) -> Sample:
    """One sample of a task; of a given subtask, or of one drawn by weight. Raises ValueError for an unknown one."""
    name, turns, target, history, twin = make(rng, task, name)
    turns, renamed = deal(rng, turns, twin)
    return Sample(task, name, turns, target, history, renamed)


def deal(rng: Random, turns: Sequence[Turn], twin: Twin | None) -> tuple[tuple[Turn, ...], Renamed | None]:
    """Turns with shuffled and added pictures and the names to match; what exchanged names would mean, if somebody knows."""
    room = MOST - sum(len(t.pictures) for t in turns)
    pictures = [list(t.pictures) for t in turns]
    last = len(turns) - 1
    if twin and twin.picture is not None:
        if room > 0 and rng.random() < TWINS[MOST - room]:
            pictures[last - twin.back].append(twin.picture)
            room -= 1
        else:
            twin = None
    free = [i for i, t in enumerate(turns) if named(t.instruction) >= set(range(len(t.pictures))) and t.pictures]
    if room > 0 and free and rng.random() < (ONLOOKERS if turns[-1].pictures and turns[-1].pictures[0].photo is None
                                             else PHOTO_ONLOOKERS):
        i = rng.choice(free)
        pictures[i].append(like(rng, rng.choice(turns[i].pictures)))
    places = [rng.sample(range(len(p)), len(p)) for p in pictures]  # of each role
    dealt = tuple(place(turn, shown, where) for turn, shown, where in zip(turns, pictures, places, strict=True))
    dealt = tuple(replace(turn, instruction=rename(turn.instruction, i, places)) for i, turn in enumerate(dealt))
    if twin is None:
        return dealt, None
    exchanged = [list(p) for p in places]
    of = exchanged[last - twin.back]
    one, two = (twin.role, len(turns[last - twin.back].pictures)) if twin.picture else (0, 1)
    of[one], of[two] = of[two], of[one]
    words = rename(turns[-1].instruction, last, exchanged)
    return dealt, Renamed((*dealt[:-1], replace(dealt[-1], instruction=words)), twin.target, twin.back)


def named(text: str) -> set[int]:
    """Numbers of the present turn's pictures that a text names."""
    return {int(m[2] or 0) for m in NAME.finditer(text) if not m[0].startswith("{previous")}


def place(turn: Turn, shown: Sequence[Picture], places: Sequence[int]) -> Turn:
    """The turn with its pictures, masks and edited picture where `places` has them."""
    pictures = list(shown)
    regions: list[Region | None] = [None] * len(shown)
    for role, where in enumerate(places):
        pictures[where], regions[where] = shown[role], turn.region(role)
    return replace(turn, pictures=tuple(pictures), regions=tuple(regions), edited=places[0] if places else 0)


def rename(text: str, turn: int, places: Sequence[Sequence[int]]) -> str:
    """Names of roles → names of places."""
    def new(match: re.Match) -> str:
        earlier = match[0].startswith("{previous")
        of = places[turn - int(match[1] or 1)] if earlier else places[turn]
        number = of[int(match[2] or 0)]
        return f"{{{f'previous{match[1]}.' if earlier else ''}image{number or ''}}}"
    return NAME.sub(new, text)


def like(rng: Random, picture: Picture) -> Picture:
    """Another picture of the same kind, so that its content does not give it away."""
    if picture.photo is not None:
        number = rng.randrange(len(photographs.load()))
        return replace(picture, photo=number, crop=(rng.random(), rng.random(), rng.random()))
    scene = picture.scene
    if scene.place == STUDIO:
        other = (scene.but(figure=garment(rng)) if scene.figure else
                 scene.but(things=tuple(random_thing(rng) for _ in scene.things)))
    else:
        kind = next((part for part in ("face", "figure", "sign") if getattr(scene, part)), "things")
        other = random_scene(rng, kind, len(scene.things) if kind == "things" and rng.random() < 0.5 else None)
    return replace(picture, scene=other, seed=rng.getrandbits(31) if picture.seed else 0)


def garment(rng: Random) -> Figure:
    worn = random_figure(rng)
    return Figure(shirt=worn.shirt, texture=worn.texture, garment_only=True)


def twin_of(rng: Random, old: Scene, new: Scene) -> Twin | None:
    """A scene in which the words that made `new` of `old` mean one thing too, with that answer.

    It differs in what the edit does not touch: place and light, spots of things, the rest of a face or person.
    """
    place_ = rng.choice([p for p in PLACES if p not in (old.place, new.place)])
    light = rng.choice(("day", "night"))
    if old.place != new.place or old.light != new.light:
        scene = random_scene(rng).but(light=old.light) if old.light != new.light else random_scene(rng)
        if scene.place in (new.place, old.place) and old.place != new.place:
            scene = scene.but(place=place_)
        change = {"place": new.place} if old.place != new.place else {"light": new.light}
        return Twin(Picture(scene), Picture(scene.but(**change)))
    if old.face:
        return whole(rng, old, new, "face", random_face(rng), place_, light)
    if old.figure:
        return whole(rng, old, new, "figure", random_figure(rng), place_, light)
    if old.sign != new.sign:
        if old.sign is None:
            return None  # it takes a mask, and a mask tells which picture is meant
        scene = random_scene(rng, "sign").but(place=place_, light=light)
        return Twin(Picture(scene), Picture(scene.but(sign=None)))
    spots = [t.spot for t in old.things]
    if len(new.things) <= len(old.things) and not old.sign:
        spots = rng.sample(tuple(SPOTS), len(spots))
    else:
        rng.shuffle(spots)
    scene = old.but(place=place_, light=light, sign=random_sign(rng, old.sign.place) if old.sign else None)
    kept = tuple(replace(t, spot=s) for t, s in zip(old.things, spots, strict=True))
    if len(new.things) > len(old.things):
        after = (*kept, new.things[-1])
    elif len(new.things) < len(old.things):
        after = tuple(k for k, t in zip(kept, old.things, strict=True) if t in new.things)
    else:
        after = tuple(replace(n, spot=s) for n, s in zip(new.things, spots, strict=True))
    return Twin(Picture(scene.but(things=kept)), Picture(scene.but(things=after)))


def whole(rng: Random, old: Scene, new: Scene, part: str, other, place_: str, light: str) -> Twin:
    """Of an edit of a face or a person: another one that has the same of what the edit changes."""
    before, after = vars(getattr(old, part)), vars(getattr(new, part))
    changed = [k for k in before if before[k] != after[k]]
    shown = replace(other, **{k: before[k] for k in changed})
    scene = Scene(place_, light, **{part: shown})
    return Twin(Picture(scene), Picture(scene.but(**{part: replace(shown, **{k: after[k] for k in changed})})))
