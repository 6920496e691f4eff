"""Instructions: templates with alternatives, and words for everything a scene may hold."""

import re
from random import Random

from starters.phrasings import GAP, PHRASINGS

from ..scenes.world import STUDIO, Face, Figure, Scene, Sign, Thing

ALTERNATIVES = re.compile(r"\[([^\[\]]*)\]")
SKIN_WORDS = ("fair", "tan", "dark")
HAIR_WORDS = {"black": ("black",), "yellow": ("blond", "yellow"), "orange": ("red", "ginger"), "white": ("white",)}
SPOT_WORDS = {"top left": ("at the top left", "in the upper left"), "top": ("at the top", "in the upper middle"),
              "top right": ("at the top right", "in the upper right"),
              "bottom left": ("at the bottom left", "in the lower left"),
              "bottom": ("at the bottom", "in the lower middle"), "bottom right": ("at the bottom right", "in the lower right")}
PLACE_WORDS = {"room": ("in a room", "indoors"), "meadow": ("on a meadow", "in a green meadow"),
               "beach": ("on a beach", "at the beach"), "sea": ("at sea", "on the water"),
               "street": ("on a street", "in the street"), STUDIO: ("on a plain gray backdrop",)}
STAGES = {"room": "a room", "meadow": "a green meadow", "beach": "a beach", "sea": "the sea", "street": "a street"}
LIGHT_WORDS = {"day": ("by day", "in daylight"), "night": ("at night", "in the dark")}
SIZE_WORDS = {"small": ("small", "little"), "big": ("big", "large")}
ARM_WORDS = {"up": "arms up", "out": "arms out", "down": "arms down"}
LEG_WORDS = {"together": "legs together", "apart": "legs apart"}
GAZE_WORDS = {"left": "looking left", "ahead": "looking ahead", "right": "looking right"}


def say(rng: Random, *templates: str, **slots: str) -> str:
    """A template at random: [a|b] is one of a and b, <name> a slot; `{image}` stays as it is."""
    text = rng.choice(templates)
    while match := ALTERNATIVES.search(text):
        text = text[:match.start()] + rng.choice(match[1].split("|")) + text[match.end():]
    for name, value in slots.items():
        text = text.replace(f"<{name}>", value)
    return text.strip()


def either(rng: Random, forward: tuple[str, ...], backward: tuple[str, ...]) -> tuple[str, ...]:
    """Templates that name the pictures in one order or in the other, each as often: the order in a sentence tells no role."""
    return rng.choice((forward, backward))


def starters(*names: str, **gaps: str) -> tuple[str, ...]:
    """The pack's phrasings of a task ("Semantic editing", "hair"), as templates; gaps: what fills [what] and [how]."""
    group, task = names
    return tuple(GAP.sub(lambda match: gaps[match[1]], text) for text in PHRASINGS[group][task])


def spelled(text: str) -> str:
    """Letters to be rendered have spaces between them."""
    return " ".join(text)


def looks(rng: Random, thing: Thing, size: bool = True) -> str:
    """"big red striped circle"."""
    words = [rng.choice(SIZE_WORDS[thing.size])] if size else []
    words += [thing.color] + ([thing.texture] if thing.texture != "plain" else [])
    return " ".join((*words, thing.shape))


def the(rng: Random, thing: Thing) -> str:
    """A name that is unique in its scene, where shapes and colors differ."""
    return say(rng, "the <shape>", "the <color> <shape>", shape=thing.shape, color=thing.color)


def spot(rng: Random, name: str) -> str:
    return rng.choice(SPOT_WORDS[name])


def place(rng: Random, name: str) -> str:
    return rng.choice(PLACE_WORDS[name])


def light(rng: Random, name: str) -> str:
    return rng.choice(LIGHT_WORDS[name])


def face(rng: Random, f: Face) -> str:
    hair = rng.choice(HAIR_WORDS[f.hair])
    return (f"a {f.expression} face with {SKIN_WORDS[f.skin]} skin, {hair} hair"
            f"{' and glasses' if f.glasses else ''}, {GAZE_WORDS[f.gaze]}")


def figure(_: Random, f: Figure) -> str:
    texture = f"{f.texture} " if f.texture != "plain" else ""
    return (f"a person with {SKIN_WORDS[f.skin]} skin in a {f.shirt} {texture}shirt, {ARM_WORDS[f.arms]}, "
            f"{LEG_WORDS[f.legs]}")


def sign(rng: Random, s: Sign) -> str:
    return say(rng, "the [letters|text] <text> in <ink> at the <place>", text=spelled(s.text), ink=s.ink, place=s.place)


def caption(rng: Random, scene: Scene) -> str:
    """Everything that is in the picture."""
    parts = [f"a {looks(rng, t)} {spot(rng, t.spot)}" for t in rng.sample(scene.things, len(scene.things))]
    parts += [face(rng, scene.face)] if scene.face else []
    parts += [figure(rng, scene.figure)] if scene.figure else []
    parts += [sign(rng, scene.sign)] if scene.sign else []
    where = f"{place(rng, scene.place)}, {light(rng, scene.light)}"
    return ", ".join((where, *parts) if rng.random() < 0.3 else (*parts, where))
