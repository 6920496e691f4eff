"""Semantic editing (faces, colors, places, light, pose, style) and element editing (things and text).

Every edit is a function scene, rng → (new scene, instruction), so that chains of turns can use the same ones.
"""

from collections.abc import Callable
from dataclasses import replace
from random import Random

from ..scenes import Picture, Scene, random_scene
from ..scenes.views import STYLES
from ..scenes.world import (
    ARMS,
    COLORS,
    EXPRESSIONS,
    GAZES,
    HAIR,
    LEGS,
    LIGHTS,
    PLACES,
    SHAPES,
    Thing,
    random_sign,
    random_thing,
)
from . import words
from .base import ELEMENT, SEMANTIC, Region, Turn, Twin, subtask
from .names import twin_of

Edit = Callable[[Scene, Random], tuple[Scene, str]]


def other(rng: Random, values, *not_these):
    return rng.choice([v for v in values if v not in not_these])


def recolor(scene: Scene, rng: Random):
    i = rng.randrange(len(scene.things))
    color = other(rng, COLORS, *(t.color for t in scene.things))
    return scene.change(i, color=color), words.say(
        rng, "[make|paint|turn|color] <it> <color> in {image}", "change the color of <it> in {image} to <color>",
        "{image} <it> should be <color>", "<it> in {image} becomes <color>",
        *words.starters("Semantic editing", "color", what="<it>", how="<color>"), it=words.the(rng, scene.things[i]),
        color=color)


def move_to_place(scene: Scene, rng: Random):
    place = other(rng, PLACES, scene.place)
    return scene.but(place=place), words.say(
        rng, "change the background of {image}: <place>", "put everything in {image} <place>", "{image}, but <place>",
        "[let|make] the scene of {image} [be|take place] <place>",
        *words.starters("Semantic editing", "background", what=words.STAGES[place]), place=words.place(rng, place))


def relight(scene: Scene, rng: Random):
    light = other(rng, LIGHTS, scene.light)
    return scene.but(light=light), words.say(
        rng, "show {image} <light>", "change the lighting of {image}: <light>", "{image}, but <light>",
        "make {image} look <light>", *words.starters("Semantic editing", "lighting", what=f"the {light}"),
        light=words.light(rng, light))


def repose(scene: Scene, rng: Random):
    old = scene.figure
    new = replace(old, arms=other(rng, ARMS, old.arms)) if rng.random() < 0.6 else replace(old, legs=other(rng, LEGS, old.legs))
    wanted = words.ARM_WORDS[new.arms] if new.arms != old.arms else words.LEG_WORDS[new.legs]
    return scene.but(figure=new), words.say(
        rng, "the person in {image} with <pose>", "change the pose in {image}: <pose>", "{image}: <pose>, please",
        *words.starters("Semantic editing", "pose", what="the person", how="<pose>"), pose=wanted)


def redress(scene: Scene, rng: Random):
    color = other(rng, COLORS, scene.figure.shirt)
    return scene.but(figure=replace(scene.figure, shirt=color)), words.say(
        rng, "make the shirt in {image} <color>", "change the color of the shirt in {image} to <color>",
        "the person in {image} in a <color> shirt",
        *words.starters("Semantic editing", "color", what="the shirt", how="<color>"), color=color)


def express(scene: Scene, rng: Random):
    new = other(rng, EXPRESSIONS, scene.face.expression)
    return scene.but(face=replace(scene.face, expression=new)), words.say(
        rng, "make the face in {image} <new>", "let the person in {image} look <new>", "{image}, but <new>",
        "change the expression in {image} to <new>", *words.starters("Semantic editing", "expression", what="<new>"), new=new)


def rehair(scene: Scene, rng: Random):
    new = other(rng, HAIR, scene.face.hair)
    return scene.but(face=replace(scene.face, hair=new)), words.say(
        rng, "change the hair in {image} to <new>", "dye the hair in {image} <new>",
        *words.starters("Semantic editing", "hair", what="<new>"),
        new=rng.choice(words.HAIR_WORDS[new]))


def reglasses(scene: Scene, rng: Random):
    on = not scene.face.glasses
    templates = ("[add|put] glasses [to|on] the face in {image}", "the person in {image} with glasses") if on else (
        "[remove|take off] the glasses in {image}", "the person in {image} without glasses")
    return scene.but(face=replace(scene.face, glasses=on)), words.say(rng, *templates)


def regaze(scene: Scene, rng: Random):
    new = other(rng, GAZES, scene.face.gaze)
    return scene.but(face=replace(scene.face, gaze=new)), words.say(
        rng, "the face in {image} <gaze>", "change the gaze in {image}: <gaze>", "make the eyes in {image} look <new>",
        *words.starters("Semantic editing", "gaze", what="<new>"),
        gaze=words.GAZE_WORDS[new], new=new)


def add(scene: Scene, rng: Random, **fixed):
    thing = random_thing(rng, scene.things, rows_of(scene), **fixed)
    return scene.but(things=(*scene.things, thing)), words.say(
        rng, "add a <looks> <spot> [to|in] {image}", "[put|place] a <looks> <spot> in {image}", "{image} with a <looks> <spot>",
        "{image} add a <looks> <spot>", "add a <looks> to {image}, <spot>",
        looks=words.looks(rng, thing), spot=words.spot(rng, thing.spot))


def remove(scene: Scene, rng: Random):
    i = rng.randrange(len(scene.things))
    return scene.without(i), words.say(
        rng, "[remove|delete|erase|take away] <it> [from|in] {image}", "{image} without <it>", "get rid of <it> in {image}",
        "{image} remove <it>", it=words.the(rng, scene.things[i]))


def swap(scene: Scene, rng: Random, **fixed):
    """Another thing in the place of one."""
    i = rng.randrange(len(scene.things))
    old = scene.things[i]
    new = replace(old, shape=other(rng, SHAPES, *(t.shape for t in scene.things)),
                  color=other(rng, COLORS, *(t.color for t in scene.things)), texture="plain")
    new = replace(new, **fixed)
    return scene.but(things=(*scene.things[:i], new, *scene.things[i + 1:])), words.say(
        rng, "replace <it> in {image} [with|by] a <new>", "[swap|exchange] <it> in {image} for a <new>",
        "{image} with a <new> instead of <it>",
        *words.starters("Element editing", "replace object", what="<it>", how="a <new>"), it=words.the(rng, old),
        new=words.looks(rng, new, size=False))


def write(scene: Scene, rng: Random):
    taken = {"top": any(t.spot.startswith("top") for t in scene.things),
             "bottom": any(t.spot.startswith("bottom") for t in scene.things)}
    sign = random_sign(rng, next(p for p, full in taken.items() if not full))
    return scene.but(sign=sign), words.say(
        rng, "[write|add] <sign> [in|to|on] {image}", "put <sign> [on|in] {image}",
        *(f"{text} in <ink>" for text in words.starters("Element editing", "write text", what=words.spelled(sign.text))),
        sign=words.sign(rng, sign), ink=sign.ink)


def unwrite(scene: Scene, rng: Random):
    return scene.but(sign=None), words.say(rng, "[remove|erase|delete] the [text|letters|sign] [from|in] {image}",
                                           "{image} without the [text|letters]",
                                           *words.starters("Element editing", "remove text"))


def rows_of(scene: Scene) -> tuple[str, ...]:
    if scene.sign:
        return ("bottom",) if scene.sign.place == "top" else ("top",)
    return ("top", "bottom")


def one_row(rng: Random) -> Scene:
    """Things in one row, so that a sign has room."""
    scene = random_scene(rng, "things", things=0)
    row, things = rng.choice(("top", "bottom")), ()
    for _ in range(rng.choice((1, 2))):
        things += (random_thing(rng, things, (row,)),)
    return scene.but(things=things)


def with_things(rng: Random) -> Scene:
    return random_scene(rng, rng.choice(("things", "things", "things", "sign")))


SCENES: dict[str, Callable[[Random], Scene]] = {
    "face": lambda rng: random_scene(rng, "face"), "figure": lambda rng: random_scene(rng, "figure"),
    "any": random_scene, "things": with_things, "few": lambda rng: random_scene(rng, "things", rng.choice((1, 2))),
    "row": one_row, "sign": lambda rng: random_scene(rng, "sign")}
SEMANTIC_EDITS: dict[str, tuple[Edit, str]] = {
    "expression": (express, "face"), "hair": (rehair, "face"), "glasses": (reglasses, "face"), "gaze": (regaze, "face"),
    "pose": (repose, "figure"), "shirt": (redress, "figure"), "color": (recolor, "things"),
    "background": (move_to_place, "any"), "lighting": (relight, "any")}
ELEMENT_EDITS: dict[str, tuple[Edit, str]] = {
    "add object": (add, "few"), "remove object": (remove, "things"), "replace object": (swap, "things"),
    "add text": (write, "row"), "remove text": (unwrite, "sign")}
NEEDS_MASK = ("add text",)  # as the published data has it
MAY_MASK = ("add object", "remove object", "replace object", "remove text")


def single(name: str, edit: Edit, kind: str, rng: Random):
    scene = SCENES[kind](rng)
    new, text = edit(scene, rng)
    region, twin = None, twin_of(rng, scene, new)
    if name in NEEDS_MASK or (name in MAY_MASK and rng.random() < 0.4):
        box = changed_box(scene, new)
        region, twin = Region(box) if box else None, None  # a mask tells which picture is meant
        if rng.random() < 0.5 and name != "add text":
            text = masked(rng, name, scene, new) or text
    return Turn(text, (Picture(scene),), (region,)), Picture(new), twin


def masked(rng: Random, name: str, scene: Scene, new: Scene) -> str | None:
    """The same edit in words that speak of the mask instead of what is under it."""
    if name == "add object":
        looks = words.looks(rng, new.things[-1])
        return words.say(rng, "add a <looks> in the [marked|masked] area of {image}",
                         "[put|place] a <looks> under the mask [in|of] {image}",
                         *words.starters("Element editing", "add object (mask)", what="a <looks>"), looks=looks)
    if name == "replace object":
        thing = next(n for n, o in zip(new.things, scene.things, strict=True) if n != o)
        return words.say(rng, *words.starters("Element editing", "replace object (mask)", what="a <new>"),
                         new=words.looks(rng, thing, size=False))
    return words.say(rng, *words.starters("Element editing", f"{name} (mask)"))


def changed_box(old: Scene, new: Scene) -> tuple[int, int, int, int] | None:
    """A box around the first thing or sign that is in one scene only."""
    if old.sign != new.sign:
        return (new.sign or old.sign).box
    differing: list[Thing] = [t for t in (*old.things, *new.things) if (t in old.things) != (t in new.things)]
    return differing[0].box() if differing else None


for _name, (_edit, _kind) in SEMANTIC_EDITS.items():
    subtask(SEMANTIC, _name, 1.6 if _name == "color" else 1.0)(
        lambda rng, name=_name, edit=_edit, kind=_kind: single(name, edit, kind, rng))
for _name, (_edit, _kind) in ELEMENT_EDITS.items():
    subtask(ELEMENT, _name)(lambda rng, name=_name, edit=_edit, kind=_kind: single(name, edit, kind, rng))


@subtask(SEMANTIC, "style")
def style(rng: Random):
    scene, wanted = random_scene(rng), rng.choice(STYLES)
    text = words.say(rng, "{image} in <style> style", "[turn|change|convert] {image} into <style>",
                     "[apply|use] the <style> style [to|on] {image}",
                     *words.starters("Semantic editing", "style", what="<style>"), style=wanted)
    other = random_scene(rng)
    return Turn(text, (Picture(scene),)), Picture(scene, wanted), Twin(Picture(other), Picture(other, wanted))


@subtask(SEMANTIC, "style of a picture")
def style_of(rng: Random):
    content, example = random_scene(rng), random_scene(rng)
    wanted, another = rng.sample(STYLES, 2)
    text = words.say(rng, *words.either(
        rng, ("content of {image}, style of {image1}", *words.starters("Semantic editing", "style of a picture")),
        ("[apply|transfer] the style of {image1} to {image}", "in the style of {image1}: the content of {image}",
         "use {image1} as the style for {image}")))
    twin = Twin(Picture(random_scene(rng), another), Picture(content, another), role=1)
    return Turn(text, (Picture(content), Picture(example, wanted))), Picture(content, wanted), twin
