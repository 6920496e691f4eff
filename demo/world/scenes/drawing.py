"""Scene → primitives, back to front, in the colors of a view: the picture itself, segmentation, depth or pose."""

from .shapes import KINDS
from .world import BACKDROP, COLORS, LIGHTS, PLACES, SHAPES, SIGN_PLACES, SKINS, STUDIO, TEXTURES, Face, Figure, Scene, Sign

HORIZON = 78  # pixels from the top
RING = 0.79, 0.17  # its line's radius and half its width, by the thing's: a shape that only a lesson has (demo/lessons)
KIND = {kind: i for i, kind in enumerate(KINDS)}
CLASS_COLORS = dict(zip((*SHAPES, "face", "figure", "sign"), (
    (255, 60, 60), (60, 255, 60), (60, 60, 255), (255, 255, 60), (255, 60, 255), (60, 255, 255),
    (255, 160, 90), (160, 90, 255), (255, 255, 255)), strict=True))
BONES = ((255, 60, 60), (255, 200, 0), (60, 255, 60), (0, 200, 255), (160, 80, 255), (255, 80, 200))

# Strokes of the letters on a grid 0…2 wide and 0…4 high.
STROKES = {
    "A": "04 10 24|03 23", "B": "00 04 24 22 02|00 10 12", "C": "20 00 04 24", "D": "00 04 14 23 21 10 00",
    "E": "20 00 04 24|02 12", "F": "20 00 04|02 12", "G": "20 00 04 24 22 12", "H": "00 04|20 24|02 22", "I": "10 14",
    "J": "20 24 04 03", "K": "00 04|20 02 24", "L": "00 04 24", "M": "04 00 12 20 24", "N": "04 00 24 20",
    "O": "00 04 24 20 00", "P": "04 00 20 22 02", "Q": "00 04 24 20 00|13 24", "R": "04 00 20 22 02|12 24",
    "S": "20 00 02 22 24 04", "T": "00 20|10 14", "U": "00 04 24 20", "V": "00 14 20", "W": "00 04 12 24 20",
    "X": "00 24|20 04", "Y": "00 12 20|12 14", "Z": "00 20 04 24"}

def primitive(kind: str, params, color, texture: str = "plain", second=None) -> tuple[float, ...]:
    """One row: kind, 5 parameters, color (0…255), texture, second color."""
    params = (*params, *(0,) * (5 - len(params)))
    return (KIND[kind], *params, *color, TEXTURES.index(texture), *(second or color))


def second_color(color) -> tuple[float, ...]:
    """What the stripes and dots of a textured thing have: much lighter, or mid-gray for white and black."""
    if min(color) > 200 or max(color) < 60:
        return (135, 135, 135)
    return tuple(c + (255 - c) * 0.62 for c in color)


def draw(scene: Scene, view: str = "picture") -> tuple[list[tuple[float, ...]], tuple, tuple]:
    """Primitives back to front, the backdrop (color at the top, horizon's, ground at the horizon, at the bottom), light."""
    if view == "pose":
        return bones(scene.figure) if scene.figure else [], ((0, 0, 0),) * 4, LIGHTS["day"]
    rows: list[tuple[float, ...]] = []
    for thing in sorted(scene.things, key=lambda t: t.nearness):
        sizes = [thing.radius * part for part in RING] if thing.shape == "ring" else [thing.radius]
        rows.append(_paint(view, thing.shape, depth_at(thing.centre[1] + thing.radius), primitive(
            thing.shape, (*thing.centre, *sizes), COLORS[thing.color], thing.texture, second_color(COLORS[thing.color]))))
    for part, bottom, made in (("face", 128, face(scene.face) if scene.face else ()),
                               ("figure", 120, figure(scene.figure) if scene.figure else ()),
                               ("sign", 128, sign(scene.sign) if scene.sign else ())):
        rows += [_paint(view, part, depth_at(bottom), row) for row in made]
    return rows, backdrop(scene, view), LIGHTS[scene.light if view == "picture" else "day"]


def _paint(view: str, part: str, depth: float, row: tuple[float, ...]) -> tuple[float, ...]:
    if view == "picture":
        return row
    color = CLASS_COLORS[part] if view == "segmentation" else (depth,) * 3
    return (*row[:6], *color, 0, *color)


def depth_at(y: float) -> float:
    """Gray of what stands at height y (0 top … 128 bottom): near is bright."""
    return 255 * (0.2 + 0.75 * min(y, 128) / 128)


def backdrop(scene: Scene, view: str) -> tuple:
    if view == "segmentation":
        return ((0, 0, 0),) * 4
    if view == "depth":
        low, high = (40, 40) if scene.place == STUDIO else (70, 200)
        return (25,) * 3, (25,) * 3, (low,) * 3, (high,) * 3
    if scene.place == STUDIO:
        return (BACKDROP,) * 4
    above, below = PLACES[scene.place]
    return above, above, below, below


def face(f: Face) -> list[tuple[float, ...]]:
    skin, hair, dark = SKINS[f.skin], COLORS[f.hair], (60, 30, 30)
    rows = [primitive("ellipse", (64, 58, 50, 54), hair), primitive("box", (64, 88, 50, 30), hair),
            primitive("box", (64, 118, 16, 14), skin), primitive("ellipse", (64, 72, 39, 45), skin)]
    shift = {"left": -6, "ahead": 0, "right": 6}[f.gaze]
    for x in (46, 82):
        rows += [primitive("ellipse", (x, 62, 12, 10), (250, 250, 250)), primitive("ellipse", (x + shift, 62, 6, 7), (25, 25,
                                                                                                                      25))]
        if f.glasses:
            rows.append(primitive("ring", (x, 62, 15.5, 2.2), (40, 40, 200)))
    if f.glasses:
        rows.append(primitive("capsule", (61, 60, 67, 60, 2), (40, 40, 200)))
    if f.expression == "surprised":
        return [*rows, primitive("ellipse", (64, 97, 9, 11), dark)]
    bend = 8 if f.expression == "smiling" else -8
    points = [(44, 96 - bend), (53, 96 + bend * 0.4), (64, 96 + bend), (75, 96 + bend * 0.4), (84, 96 - bend)]
    return rows + [primitive("capsule", (*a, *b, 3), dark) for a, b in zip(points, points[1:], strict=False)]


def joints(f: Figure) -> dict[str, tuple[float, float]]:
    hands = {"up": ((34, 16), (94, 16)), "out": ((24, 50), (104, 50)), "down": ((38, 82), (90, 82))}[f.arms]
    feet = {"together": ((56, 120), (72, 120)), "apart": ((38, 118), (90, 118))}[f.legs]
    return {"head": (64, 22), "neck": (64, 42), "hip": (64, 80), "left shoulder": (49, 46), "right shoulder": (79, 46),
            "left hand": hands[0], "right hand": hands[1], "left foot": feet[0], "right foot": feet[1]}


def figure(f: Figure) -> list[tuple[float, ...]]:
    at, skin, shirt = joints(f), SKINS[f.skin], COLORS[f.shirt]
    second, trousers = second_color(shirt), (70, 80, 110)
    torso = primitive("box", (64, 62, 18, 21), shirt, f.texture, second)
    if f.garment_only:
        sleeves = [primitive("capsule", (*a, *b, 9), shirt, f.texture, second)
                   for a, b in (((50, 50), (34, 66)), ((78, 50), (94, 66)))]
        return [*sleeves, torso]
    rows = [primitive("capsule", (x, 82, *at[foot], 7), trousers) for x, foot in ((56, "left foot"), (72, "right foot"))]
    rows += [primitive("capsule", (*at[f"{side} shoulder"], *at[f"{side} hand"], 5.5), skin) for side in ("left", "right")]
    return [*rows, torso, primitive("circle", (*at["head"], 15), skin)]


def bones(f: Figure) -> list[tuple[float, ...]]:
    at = joints(f)
    lines = (("neck", "hip"), ("head", "neck"), ("neck", "left hand"), ("neck", "right hand"), ("hip", "left foot"),
             ("hip", "right foot"))
    return [primitive("capsule", (*at[a], *at[b], 3), c) for (a, b), c in zip(lines, BONES, strict=True)]


def sign(s: Sign) -> list[tuple[float, ...]]:
    """A white board with letters of 14 × 24 pixels and strokes of 5."""
    x0, y0, x1, y1 = s.box
    rows = [primitive("box", (64, SIGN_PLACES[s.place], (x1 - x0) / 2, (y1 - y0) / 2), (250, 250, 250))]
    for i, letter in enumerate(s.text):
        left, top = x0 + 6 + 24 * i + 5, SIGN_PLACES[s.place] - 12
        for line in STROKES[letter].split("|"):
            points = [(left + 7 * int(p[0]), top + 6 * int(p[1])) for p in line.split()]
            rows += [primitive("capsule", (*a, *b, 2.6), COLORS[s.ink]) for a, b in zip(points, points[1:], strict=False)]
    return rows
