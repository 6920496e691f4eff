"""Text-guided generation, visual analysis, and its inverse, controllable generation."""

from dataclasses import replace
from random import Random

from ..scenes import Picture, Scene, photographs, random_scene
from . import words
from .base import ANALYSIS, CONTROL, GENERATION, Turn, Twin, subtask
from .names import like

MAP_WORDS = {"segmentation": ("segmentation [map|]", "segments", "color-coded segmentation", "segmentation"),
             "depth": ("depth [map|]", "distances as a depth map", "depth map"),
             "pose": ("pose [map|]", "skeleton", "body pose"),
             "scribble": ("scribble", "doodle"),
             "contour": ("contour [map|]", "contours", "outline drawing", "contours"),
             "edge": ("edge map", "edges", "canny edges", "edge map"),
             "mosaic": ("mosaic [version|]", "mosaic"),
             "blur": ("blur", "blurred version"),
             "grayscale": ("grayscale version", "gray version", "black and white version", "grayscale version")}
OF_PHOTOS = ("depth", "scribble", "contour", "edge", "mosaic", "blur", "grayscale")
PHOTO_SHARE = 0.7


STARTERS = {"edge": "edges"}  # views that the pack's phrasings call something else


def random_photo(rng: Random) -> Picture | None:
    """A crop of a training photograph, or None if the dice say a scene."""
    if rng.random() > PHOTO_SHARE:
        return None
    return Picture(photo=rng.randrange(len(photographs.load())), crop=(rng.random(), rng.random(), rng.random()))


@subtask(GENERATION, "text to image")
def text_to_image(rng: Random):
    scene = random_scene(rng)
    text = say_caption(rng, scene)
    return Turn(text), Picture(scene)


def say_caption(rng: Random, scene: Scene) -> str:
    return words.say(rng, "<caption>", "[draw|paint|generate|show] <caption>", "a picture of <caption>",
                     caption=words.caption(rng, scene))


LINES = ("edge", "scribble", "contour")


def analyse(view: str, rng: Random):
    photo = random_photo(rng) if view in OF_PHOTOS else None
    source = photo or Picture(random_scene(rng, "figure" if view == "pose" else None))
    name = words.say(rng, *MAP_WORDS[view])
    text = words.say(rng, "<map> of {image}", "[show|draw|give me|make] the <map> of {image}", "the <map> of {image}, please",
                     "[extract|compute|get] the <map> [from|of] {image}", "turn {image} into its <map>",
                     "{image} what is its <map>?", "{image} <map>", *words.starters("Analysis", STARTERS.get(view, view)),
                     map=name)
    other = like(rng, source)
    while not photo and alike(view, other.scene, source.scene):
        other = like(rng, source) if view == "pose" else Picture(random_scene(rng))
    twin = Twin(other, replace(other, view=view)) if not photo else None
    return Turn(text, (source,)), replace(source, view=view), twin


def alike(view: str, one: Scene, other: Scene) -> bool:
    """Whether the maps of two scenes could pass for each other: a face's lines for another's, a pose for itself."""
    if view != "pose" and one.face and other.face:
        return True
    if one.figure and other.figure:
        return view in LINES or (one.figure.arms, one.figure.legs) == (other.figure.arms, other.figure.legs)
    shown = [(tuple((t.shape, t.spot, t.size) for t in s.things), s.sign and s.sign.text) for s in (one, other)]
    return shown[0] == shown[1]


def control(view: str, rng: Random):
    """A picture from its map and a caption."""
    scene = random_scene(rng, "figure" if view == "pose" else None)
    name = words.say(rng, *MAP_WORDS[view])
    text = words.say(rng, '[make|paint|generate|draw] a picture from the <map> {image}: <caption>',
                     'from the <map> {image} [make|generate] "<caption>"', '{image} is a <map>. Show <caption>',
                     "follow the <map> {image} and [paint|draw] <caption>",
                     *described(f"from {STARTERS.get(view, view)}"), map=name, caption=words.caption(rng, scene))
    return Turn(text, (Picture(scene, view),)), Picture(scene)


def described(name: str) -> tuple[str, ...]:
    return words.starters("Controllable generation", name, what="<caption>")


def restore(name: str, view: str, templates: tuple[str, ...], rng: Random):
    """The picture behind a blurred, noisy or gray one; of photographs too, then without a caption."""
    photo = random_photo(rng)
    if photo:
        text = words.say(rng, *templates)
        source = replace(photo, view=view, seed=rng.getrandbits(31))
        return Turn(text, (source,)), photo
    scene = random_scene(rng)
    text = words.say(rng, *(f"{t}: <caption>" for t in templates), *(t for t in described(name) if "<caption>" in t),
                     caption=words.caption(rng, scene))
    return Turn(text, (Picture(scene, view, rng.getrandbits(31)),)), Picture(scene)


for _view in MAP_WORDS:
    subtask(ANALYSIS, _view)(lambda rng, view=_view: analyse(view, rng))
for _view in ("segmentation", "depth", "pose", "scribble", "contour", "edge", "mosaic"):
    subtask(CONTROL, f"from {_view}")(lambda rng, view=_view: control(view, rng))
for _name, _view, _templates in (
        ("colorize", "grayscale", ("[colorize|color] {image}", "[add|give] [colors|color] to {image}",
                                    "turn gray {image} into color")),
        ("deblur", "blur", ("deblur {image}", "[sharpen|make sharp] {image}", "remove the blur [from|in] {image}")),
        ("denoise", "noisy", ("denoise {image}", "[remove|take away] the noise [from|in] {image}",
                              "clean up the noisy {image}"))):
    subtask(CONTROL, _name)(lambda rng, name=_name, view=_view, templates=_templates: restore(name, view, templates, rng))
