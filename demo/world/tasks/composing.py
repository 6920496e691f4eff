"""Repainting, layer editing and reference generation."""

from dataclasses import replace
from random import Random

from ..scenes import Picture, Scene, random_scene
from ..scenes.world import COLORS, STUDIO, random_thing
from . import words
from .base import LAYER, REFERENCE, REPAINTING, Region, Turn, Twin, subtask
from .editing import rows_of
from .names import garment, like


@subtask(REPAINTING, "inpainting")
def inpaint(rng: Random):
    """Fill a blanked box with a thing, or with what lies behind it."""
    scene = random_scene(rng, "things", rng.choice((2, 3)))
    i = rng.randrange(len(scene.things))
    thing = scene.things[i]
    region = Region(thing.box(rng.randint(4, 6)))
    if rng.random() < 0.3:
        scene = clear(scene, region, keep=None)
        text = words.say(rng, "fill the [masked|marked|missing] area of {image} with background",
                         "complete {image}, nothing but background [there|in the mask]", "inpaint {image}: just background",
                         *words.starters("Repainting", "inpainting", what="just background"))
    else:
        scene = clear(scene, region, keep=i)
        text = words.say(rng, "fill the [masked|marked|missing] area of {image} with a <looks>", "inpaint {image}: a <looks>",
                         "[paint|draw] a <looks> in the [hole|mask] of {image}",
                         *words.starters("Repainting", "inpainting", what="a <looks>")[:2],
                         looks=words.looks(rng, thing, size=False))
    return Turn(text, (Picture(scene),), (region,), blank=True), Picture(scene)


def clear(scene: Scene, region: Region, keep: int | None) -> Scene:
    """Drop every other thing that reaches into the region, for nobody could know it."""
    x0, y0, x1, y1 = region.box

    def outside(box) -> bool:
        return box[2] <= x0 or box[0] >= x1 or box[3] <= y0 or box[1] >= y1
    return scene.but(things=tuple(t for i, t in enumerate(scene.things) if i == keep or outside(t.box(0))))


@subtask(REPAINTING, "outpainting")
def outpaint(rng: Random):
    scene = random_scene(rng)
    x0, y0, x1, y1 = ((32, 32, 96, 96) if rng.random() < 0.3 else
                      (rng.choice((0, 16, 32, 40)), rng.choice((0, 16, 32)), rng.choice((88, 96, 112, 128)),
                       rng.choice((96, 112, 128))))
    if (x0, y0, x1, y1) == (0, 0, 128, 128):
        x1 = 88
    text = words.say(rng, "[extend|outpaint|expand] {image}: <caption>", "complete {image} [at|beyond] its borders: <caption>",
                     "{image} is a part of <caption>", *words.starters("Repainting", "outpainting", what="<caption>")[:2],
                     caption=words.caption(rng, scene))
    return Turn(text, (Picture(scene),), (Region((x0, y0, x1, y1), outside=True),), blank=True), Picture(scene)


@subtask(LAYER, "fuse layers")
def fuse(rng: Random):
    below = random_scene(rng, rng.choice(("things", "sign")), rng.choice((0, 1, 1)))
    above = random_thing(rng, below.things, rows_of(below))
    into, merge = words.starters("Layer editing", "fuse layers")
    text = words.say(rng, *words.either(
        rng, ("[fuse|merge|combine] the layers {image} and {image1}", "{image} with {image1} on top", merge),
        ("[put|lay] the <shape> of {image1} [onto|over] {image}", "[add|paste] the layer {image1} [to|onto] {image}",
         "{image1} on top of {image}", into)), shape=above.shape)
    target = below.but(things=(*below.things, above))
    other = random_thing(rng, below.things, rows_of(below), **({"shape": above.shape} if above.shape in text else {}))
    twin = Twin(Picture(studio(other)), Picture(below.but(things=(*below.things, other))), role=1)
    return Turn(text, (Picture(below), Picture(studio(above)))), Picture(target), twin


def studio(*things) -> Scene:
    return Scene(STUDIO, "day", things)


@subtask(LAYER, "split object")
def split_object(rng: Random):
    scene = random_scene(rng, "things", rng.choice((1, 2, 3)))
    i = visible(scene)
    text = words.say(rng, "[extract|cut out|isolate] <it> [from|of|in] {image}", "the layer of {image} with <it>",
                     "split {image}: only <it> on plain gray",
                     "cut out <it> from {image} and put it on a plain gray background",
                     "extract the foreground layer of {image}" if len(scene.things) == 1 else "<it> of {image} on plain gray",
                     it=words.the(rng, scene.things[i]))
    return Turn(text, (Picture(scene),)), Picture(studio(scene.things[i]).but(light="day")), split(rng, scene, i)


def split(rng: Random, scene: Scene, i: int) -> Twin:
    """Another scene from which the same words take a thing of another texture."""
    old = scene.things[i]
    textures = ["plain", "striped"] + ["dotted"] * (old.size == "big")
    new = replace(old, texture=rng.choice([t for t in textures if t != old.texture]))
    other = random_scene(rng, "things", 0).but(things=(*scene.things[:i], new, *scene.things[i + 1:]))
    return Twin(Picture(other), Picture(studio(new)))


def visible(scene: Scene) -> int:
    """The nearest thing: nothing hides it."""
    return max(range(len(scene.things)), key=lambda i: scene.things[i].nearness)


@subtask(LAYER, "split background")
def split_background(rng: Random):
    scene = random_scene(rng, "things", rng.choice((1, 2)))
    text = words.say(rng, "[extract|isolate] the background [of|from] {image}", "the background layer of {image}",
                     "split {image}: only the background", "{image} without any objects",
                     *words.starters("Layer editing", "split layers, background", what="the objects"))
    other = like(rng, Picture(scene))
    twin = Twin(other, replace(other, scene=other.scene.but(things=())))
    return Turn(text, (Picture(scene),)), Picture(scene.but(things=())), twin


@subtask(REFERENCE, "subject in a setting")
def subject(rng: Random):
    thing = random_thing(rng)
    source = random_scene(rng, "things", 0).but(things=(thing,))
    setting = random_scene(rng, "things", rng.choice((0, 1)))
    text = words.say(rng, *words.either(
        rng, ("the [object|thing] of {image} in the setting of {image1}",
              "put the <shape> of {image} into the place of {image1}",
              "[show|paint] the [subject|object] from {image} where {image1} is, alone"),
        ("in the setting of {image1} the [object|thing] of {image}",
         "where {image1} is, [show|paint] the [subject|object] from {image}, alone")), shape=thing.shape)
    twin = (Twin(None, Picture(source.but(things=setting.things)))
            if setting.things and (thing.shape not in text or thing.shape == setting.things[0].shape) else None)
    return Turn(text, (Picture(source), Picture(setting))), Picture(setting.but(things=(thing,))), twin


@subtask(REFERENCE, "subject somewhere")
def subject_somewhere(rng: Random):
    """A thing or a person in a place that only the words tell."""
    what = rng.choice(("subject", "face"))
    source, other = ((random_scene(rng, "face") if what == "face" else random_scene(rng, "things", 1)) for _ in range(2))
    where, light = rng.choice(tuple(words.PLACE_WORDS)[:-1]), rng.choice(tuple(words.LIGHT_WORDS))
    text = words.say(rng, *words.starters("Reference generation", what, what="<where>, <light>"),
                     "the subject of {image} <where>, <light>", where=words.place(rng, where),
                     light=words.light(rng, light))
    target, instead = (s.but(place=where, light=light) for s in (source, other))
    return Turn(text, (Picture(source),)), Picture(target), Twin(Picture(other), Picture(instead))


@subtask(REFERENCE, "shape and color")
def shape_and_color(rng: Random):
    first = random_thing(rng)
    second = random_thing(rng, spot=first.spot, color=rng.choice([c for c in COLORS if c != first.color]))
    scene = random_scene(rng, "things", 0).but(things=(first,))
    other = random_scene(rng, "things", 0).but(things=(second,))
    text = words.say(rng, *words.either(
        rng, ("the <shape> of {image} [with|in] the color of {image1}", "{image}, with the color of the object in {image1}",
              "[paint|color] the object of {image} like the one in {image1}"),
        ("take the color of {image1} for the object in {image}",
         "with the color of {image1} [paint|color] the object of {image}")), shape=first.shape)
    twin = (Twin(None, Picture(other.change(0, color=first.color)))
            if first.shape not in text or first.shape == second.shape else None)
    return Turn(text, (Picture(scene), Picture(other))), Picture(scene.change(0, color=second.color)), twin


@subtask(REFERENCE, "face")
def same_face(rng: Random):
    source = random_scene(rng, "face")
    setting = random_scene(rng, "face") if rng.random() < 0.5 else random_scene(rng, "things", rng.choice((0, 1, 2)))
    text = words.say(rng, *words.either(
        rng, ("the [person|face] of {image} in the setting of {image1}",
              "the person from {image} [at|in] the place of {image1}",
              "a portrait of the person in {image} where {image1} is"),
        ("in the place of {image1} the person from {image}", "where {image1} is, a portrait of the person in {image}")))
    twin = Twin(None, Picture(source.but(face=setting.face))) if setting.face else None
    return Turn(text, (Picture(source), Picture(setting))), Picture(setting.but(things=(), face=source.face)), twin


@subtask(REFERENCE, "multi-reference")
def several(rng: Random):
    left = random_thing(rng, size="big")
    right = random_thing(rng, (left,), size="big")
    sources = [random_scene(rng, "things", 0).but(things=(replace(t, spot="bottom"),)) for t in (left, right)]
    setting = random_scene(rng, "things", 0)
    things = (replace(left, spot="bottom left"), replace(right, spot="bottom right"))
    text = words.say(rng, *words.either(
        rng, ("the object of {image} at the left and the object of {image1} at the right, in the setting of {image2}",
              "in the place of {image2}: left the <a> of {image}, right the <b> of {image1}",
              "put the object of {image} left and the object of {image1} right into the scene of {image2}"),
        ("in the setting of {image2} the object of {image1} at the right and the object of {image} at the left",
         "right the object of {image1}, left the object of {image}, in the place of {image2}")), a=left.shape, b=right.shape)
    exchanged = setting.but(things=(replace(right, spot="bottom left"), replace(left, spot="bottom right")))
    twin = Twin(None, Picture(exchanged)) if left.shape not in text else None
    return Turn(text, (*map(Picture, sources), Picture(setting))), Picture(setting.but(things=things)), twin


@subtask(REFERENCE, "try-on")
def try_on(rng: Random):
    """Person with a blanked torso first, garment second."""
    scene, worn, other = random_scene(rng, "figure"), garment(rng), garment(rng)
    text = words.say(rng, *words.either(
        rng, ("[dress|clothe] the person in {image} with the [shirt|garment] of {image1}",
              "the person in {image} [wears|tries on] the [shirt|garment] of {image1}",
              *words.starters("Reference generation", "try-on", what="the shirt")),
        ("put the [shirt|garment] of {image1} on the person in {image}", "with the shirt of {image1} the person in {image}")))
    target, instead = (scene.but(figure=replace(scene.figure, shirt=g.shirt, texture=g.texture)) for g in (worn, other))
    shown = tuple(Picture(Scene(STUDIO, "day", figure=g)) for g in (worn, other))
    twin = Twin(shown[1], Picture(instead), role=1)
    return (Turn(text, (Picture(scene), shown[0]), (Region((42, 37, 86, 87)), None), blank=True), Picture(target), twin)
