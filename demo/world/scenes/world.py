"""What a scene is: a place in a light, with things, a face, a figure or a sign in it. Lengths are pixels of 128."""

from dataclasses import dataclass, replace
from random import Random

COLORS = {"red": (220, 40, 40), "green": (25, 140, 55), "blue": (40, 80, 225), "yellow": (250, 220, 40),
           "purple": (140, 50, 170), "orange": (245, 130, 30), "white": (250, 250, 250), "black": (25, 25, 25)}
SHAPES = ("circle", "square", "triangle", "star", "heart", "cross")
TEXTURES = ("plain", "striped", "dotted")
SIZES = {"small": 19, "big": 26}  # half a side
SPOTS = {"top left": (32, 32), "top": (64, 32), "top right": (96, 32),  # corners of the model's patches: a thing that
         "bottom left": (32, 96), "bottom": (64, 96), "bottom right": (96, 96)}  # moves looks the same in its new patches
PLACES = {"room": ((226, 204, 178), (150, 108, 78)), "meadow": ((172, 216, 246), (138, 196, 112)),
          "beach": ((190, 232, 238), (226, 206, 152)), "sea": ((186, 200, 222), (70, 132, 172)),
          "street": ((204, 200, 206), (108, 108, 116))}  # (above, below) the horizon
STUDIO = "studio"  # a plain gray backdrop: layers and garments lie on it
BACKDROP = (128, 128, 128)
LIGHTS = {"day": (1.0, 1.0, 1.0), "night": (0.52, 0.55, 0.8)}

EXPRESSIONS = ("smiling", "sad", "surprised")
GAZES = ("left", "ahead", "right")
HAIR = ("black", "yellow", "orange", "white")
SKINS = ((250, 214, 180), (222, 170, 120), (140, 92, 60))
ARMS = ("up", "out", "down")
LEGS = ("together", "apart")
LETTERS = "ACEHLOPSTUXZ"  # enough to spell with; a tiny model learns them in hours
INKS = ("black", "red", "blue", "green")
SIGN_PLACES = {"top": 20, "bottom": 108}


@dataclass(frozen=True)
class Thing:
    """One object."""

    shape: str
    color: str
    texture: str = "plain"
    size: str = "big"
    spot: str = "bottom"

    @property
    def centre(self) -> tuple[int, int]:
        return SPOTS[self.spot]

    @property
    def radius(self) -> int:
        return SIZES[self.size]

    @property
    def nearness(self) -> tuple[int, int]:
        """The greater hides the lesser: by bottom edge, side by side by place from the left."""
        x, y = self.centre
        return y + self.radius, x

    def box(self, margin: int = 4) -> tuple[int, int, int, int]:
        """x0, y0, x1, y1 around it, within the picture."""
        (x, y), r = self.centre, self.radius + margin
        return max(0, x - r), max(0, y - r), min(128, x + r), min(128, y + r)


@dataclass(frozen=True)
class Face:
    """A portrait that fills the picture."""

    skin: int = 0
    hair: str = "black"
    expression: str = "smiling"
    gaze: str = "ahead"
    glasses: bool = False


@dataclass(frozen=True)
class Figure:
    """A standing person whose pose is where the arms and legs are."""

    skin: int = 0
    shirt: str = "red"
    texture: str = "plain"
    arms: str = "down"
    legs: str = "together"
    garment_only: bool = False  # just the shirt, as in a shop


@dataclass(frozen=True)
class Sign:
    """Letters on a white board."""

    text: str
    ink: str = "black"
    place: str = "top"

    @property
    def box(self) -> tuple[int, int, int, int]:
        half, y = 12 * len(self.text) + 6, SIGN_PLACES[self.place]
        return 64 - half, y - 19, 64 + half, y + 19


@dataclass(frozen=True)
class Scene:
    place: str = "room"
    light: str = "day"
    things: tuple[Thing, ...] = ()
    face: Face | None = None
    figure: Figure | None = None
    sign: Sign | None = None

    def but(self, **changes) -> "Scene":
        """The same scene with some fields changed."""
        return replace(self, **changes)

    def change(self, index: int, **changes) -> "Scene":
        """The same scene with one thing changed."""
        things = list(self.things)
        things[index] = replace(things[index], **changes)
        return replace(self, things=tuple(things))

    def without(self, index: int) -> "Scene":
        return replace(self, things=self.things[:index] + self.things[index + 1:])


def random_thing(rng: Random, taken: tuple[Thing, ...] = (), rows: tuple[str, ...] = ("top", "bottom"), **fixed) -> Thing:
    """A thing that shares shape, color and spot with none of `taken`."""
    spots = [s for s in SPOTS if s.split()[0] in rows and s not in {t.spot for t in taken}]
    values = {"shape": rng.choice([s for s in SHAPES if s not in {t.shape for t in taken}]),
              "color": rng.choice([c for c in COLORS if c not in {t.color for t in taken}]),
              "texture": rng.choice(("plain", "plain", "striped", "dotted", "dotted")), "size": rng.choice(tuple(SIZES)),
              "spot": rng.choice(spots)}
    thing = Thing(**{**values, **fixed})
    return replace(thing, texture="plain") if thing.size == "small" and thing.texture == "dotted" else thing  # dots need room


def random_face(rng: Random) -> Face:
    return Face(rng.randrange(3), rng.choice(HAIR), rng.choice(EXPRESSIONS), rng.choice(GAZES), rng.random() < 0.4)


def random_figure(rng: Random) -> Figure:
    return Figure(rng.randrange(3), rng.choice(tuple(COLORS)), rng.choice(TEXTURES), rng.choice(ARMS), rng.choice(LEGS))


def random_sign(rng: Random, place: str | None = None) -> Sign:
    text = "".join(rng.choice(LETTERS) for _ in range(rng.choice((1, 2, 2))))
    return Sign(text, rng.choice(INKS), place or rng.choice(tuple(SIGN_PLACES)))


def random_scene(rng: Random, kind: str | None = None, things: int | None = None) -> Scene:
    """kind: "things" (1 to 3), "face", "figure" or "sign" (letters and a thing); drawn if None."""
    kind = kind or rng.choices(("things", "face", "figure", "sign"), (6, 1.3, 1.3, 1.4))[0]
    scene = Scene(rng.choice(tuple(PLACES)), rng.choice(("day", "day", "night")))
    if kind == "face":
        return scene.but(face=random_face(rng))
    if kind == "figure":
        return scene.but(figure=random_figure(rng))
    rows: tuple[str, ...] = ("top", "bottom")
    if kind == "sign":
        sign = random_sign(rng)
        scene, rows = scene.but(sign=sign), ("bottom",) if sign.place == "top" else ("top",)
    count = things if things is not None else rng.choice((1, 1, 2) if kind == "sign" else (1, 1, 2, 2, 2, 3))
    made: tuple[Thing, ...] = ()
    for _ in range(count):
        made += (random_thing(rng, made, rows),)
    return scene.but(things=made)
