"""Repainting, layer editing and reference generation."""

from dataclasses import replace
from random import Random

from ..scenes import Picture, Scene, random_scene
from ..scenes.world import COLOURS, STUDIO, Figure, random_figure, random_thing
from . import words
from .base import LAYER, REFERENCE, REPAINTING, Region, Turn, subtask
from .editing import rows_of


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
                         "complete {image}, nothing but background [there|in the mask]", "inpaint {image}: just background")
    else:
        scene = clear(scene, region, keep=i)
        text = words.say(rng, "fill the [masked|marked|missing] area of {image} with a <looks>", "inpaint {image}: a <looks>",
                         "[paint|draw] a <looks> in the [hole|mask] of {image}", looks=words.looks(rng, thing, size=False))
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
                     "{image} is a part of <caption>", caption=words.caption(rng, scene))
    return Turn(text, (Picture(scene),), (Region((x0, y0, x1, y1), outside=True),), blank=True), Picture(scene)


@subtask(LAYER, "fuse layers")
def fuse(rng: Random):
    below = random_scene(rng, rng.choice(("things", "sign")), rng.choice((0, 1, 1)))
    above = random_thing(rng, below.things, rows_of(below))
    text = words.say(rng, "[fuse|merge|combine] the layers {image} and {image1}",
                     "[put|lay] the <shape> of {image1} [onto|over] {image}",
                     "{image} with {image1} on top", "[add|paste] the layer {image1} [to|onto] {image}", shape=above.shape)
    target = below.but(things=(*below.things, above))
    return Turn(text, (Picture(below), Picture(studio(above)))), Picture(target)


def studio(*things) -> Scene:
    return Scene(STUDIO, "day", things)


@subtask(LAYER, "split object")
def split_object(rng: Random):
    scene = random_scene(rng, "things", rng.choice((1, 2, 3)))
    i = visible(scene)
    text = words.say(rng, "[extract|cut out|isolate] <it> [from|of|in] {image}", "the layer of {image} with <it>",
                     "split {image}: only <it> on plain grey", it=words.the(rng, scene.things[i]))
    return Turn(text, (Picture(scene),)), Picture(studio(scene.things[i]).but(light="day"))


def visible(scene: Scene) -> int:
    """The nearest thing: nothing hides it."""
    return max(range(len(scene.things)), key=lambda i: scene.things[i].nearness)


@subtask(LAYER, "split background")
def split_background(rng: Random):
    scene = random_scene(rng, "things", rng.choice((1, 2)))
    text = words.say(rng, "[extract|isolate] the background [of|from] {image}", "the background layer of {image}",
                     "split {image}: only the background", "{image} without any objects")
    return Turn(text, (Picture(scene),)), Picture(scene.but(things=()))


@subtask(REFERENCE, "subject in a setting")
def subject(rng: Random):
    thing = random_thing(rng)
    source = random_scene(rng, "things", 0).but(things=(thing,))
    setting = random_scene(rng, "things", rng.choice((0, 1)))
    text = words.say(rng, "the [object|thing] of {image} in the setting of {image1}",
                     "put the <shape> of {image} into the place of {image1}",
                     "[show|paint] the [subject|object] from {image} where {image1} is, alone", shape=thing.shape)
    return Turn(text, (Picture(source), Picture(setting))), Picture(setting.but(things=(thing,)))


@subtask(REFERENCE, "shape and colour")
def shape_and_colour(rng: Random):
    first = random_thing(rng)
    second = random_thing(rng, spot=first.spot, colour=rng.choice([c for c in COLOURS if c != first.colour]))
    scene = random_scene(rng, "things", 0).but(things=(first,))
    other = random_scene(rng, "things", 0).but(things=(second,))
    text = words.say(rng, "the <shape> of {image} [with|in] the colour of {image1}",
                     "[paint|colour] the object of {image} like the one in {image1}",
                     "{image}, with the colour of the object in {image1}", shape=first.shape)
    return Turn(text, (Picture(scene), Picture(other))), Picture(scene.change(0, colour=second.colour))


@subtask(REFERENCE, "face")
def same_face(rng: Random):
    source, setting = random_scene(rng, "face"), random_scene(rng, "things", rng.choice((0, 1, 2)))
    text = words.say(rng, "the [person|face] of {image} in the setting of {image1}",
                     "the person from {image} [at|in] the place of {image1}",
                     "a portrait of the person in {image} where {image1} is")
    return Turn(text, (Picture(source), Picture(setting))), Picture(setting.but(things=(), face=source.face))


@subtask(REFERENCE, "multi-reference")
def several(rng: Random):
    left = random_thing(rng, size="big")
    right = random_thing(rng, (left,), size="big")
    sources = [random_scene(rng, "things", 0).but(things=(replace(t, spot="bottom"),)) for t in (left, right)]
    setting = random_scene(rng, "things", 0)
    things = (replace(left, spot="bottom left"), replace(right, spot="bottom right"))
    text = words.say(rng,
                     "the object of {image} at the left and the object of {image1} at the right, in the setting of {image2}",
                     "in the place of {image2}: left the <a> of {image}, right the <b> of {image1}", a=left.shape,
                     b=right.shape)
    return Turn(text, (Picture(sources[0]), Picture(sources[1]), Picture(setting))), Picture(setting.but(things=things))


@subtask(REFERENCE, "try-on")
def try_on(rng: Random):
    """Person with a blanked torso first, garment second."""
    scene, worn = random_scene(rng, "figure"), random_figure(rng)
    garment = Scene(STUDIO, "day", figure=Figure(shirt=worn.shirt, texture=worn.texture, garment_only=True))
    text = words.say(rng, "[dress|clothe] the person in {image} with the [shirt|garment] of {image1}",
                     "the person in {image} [wears|tries on] the [shirt|garment] of {image1}",
                     "put the shirt {image1} on {image}")
    target = scene.but(figure=replace(scene.figure, shirt=worn.shirt, texture=worn.texture))
    return Turn(text, (Picture(scene), Picture(garment)), (Region((42, 37, 86, 87)), None), blank=True), Picture(target)
