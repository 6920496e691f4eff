"""Draws the example pictures that are no photographs, and all masks: `python -m gallery.pictures [FOLDER OF PHOTOS]`.

With a folder, the photographs named in PHOTOS are taken from it, cropped and saved as JPEG (js/pictures/README.md says where
they come from).
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from pathlib import Path
from random import Random

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from ace_model.examples import FOLDER, MASK_ENDING
from demo.scenes.render import Picture, render, to_image
from demo.scenes.world import Figure, Scene, Thing

FINE = 3  # drawn this many times larger, then shrunk
PHOTOS = {"astronaut.png": ("portrait.jpg", (0, 0, 512, 512)), "chelsea.png": ("cat.jpg", (0, 6, 448, 294)),
          "coffee.png": ("coffee.jpg", (4, 0, 596, 400)), "rocket.jpg": ("rocket.jpg", (0, 11, 640, 427))}
SKY, FAR = ((96, 150, 214), (206, 226, 240)), ((120, 160, 120), (86, 132, 84))


def canvas(width: int, height: int, top=(255, 255, 255), bottom=None) -> Image.Image:
    """A picture with a vertical gradient, FINE times larger."""
    rows = np.linspace(np.array(top, float), np.array(bottom or top, float), height * FINE)[:, None]
    return Image.fromarray(np.broadcast_to(rows, (height * FINE, width * FINE, 3)).astype(np.uint8))


def scaled(points) -> list[tuple[float, float]]:
    return [(x * FINE, y * FINE) for x, y in points]


def finish(picture: Image.Image) -> Image.Image:
    return picture.resize((picture.width // FINE, picture.height // FINE), Image.Resampling.LANCZOS)


def hill(width: int, height: int, base: float, swing: float, phase: float) -> list[tuple[float, float]]:
    line = [(x, base + swing * math.sin(x / width * 5 + phase)) for x in range(0, width + 8, 8)]
    return scaled([*line, (width, height), (0, height)])


def meadow(width: int = 512, height: int = 384) -> Image.Image:
    picture = canvas(width, height, *SKY)
    draw, random = ImageDraw.Draw(picture), Random(4)
    for x, y in ((90, 60), (330, 44), (430, 96)):
        for _ in range(9):
            cx, cy, r = x + random.uniform(-42, 42), y + random.uniform(-9, 9), random.uniform(12, 24)
            draw.ellipse(scaled(((cx - r, cy - r * 0.7), (cx + r, cy + r * 0.7))), fill=(246, 249, 252))
    picture = picture.filter(ImageFilter.GaussianBlur(4))
    draw = ImageDraw.Draw(picture)
    for base, swing, phase, colour in ((200, 22, 0.4, (146, 178, 150)), (238, 18, 2.4, (112, 160, 96)),
                                       (280, 12, 4.0, (88, 146, 66))):
        draw.polygon(hill(width, height, base, swing, phase), fill=colour)
    for _ in range(2600):
        x, y = random.uniform(0, width), random.uniform(292, height)
        length, green = (y - 270) / 9, random.randint(110, 190)
        draw.line(scaled(((x, y), (x + random.uniform(-3, 3), y - length))), fill=(green - 60, green, 50), width=2)
    for _ in range(90):
        x, y = random.uniform(0, width), random.uniform(300, height)
        r = (y - 260) / 50
        colour = random.choice(((250, 240, 120), (252, 252, 250), (226, 96, 120)))
        draw.ellipse(scaled(((x - r, y - r), (x + r, y + r))), fill=colour)
    return finish(picture)


BOARD = (136, 96, 376, 216)
LETTERS = (168, 122, 344, 190)


def sign(text: str = "") -> Image.Image:
    picture = meadow(512, 384).resize((512 * FINE, 384 * FINE), Image.Resampling.BICUBIC)
    draw, random = ImageDraw.Draw(picture), Random(1)
    for x in (176, 322):
        draw.rectangle([v * FINE for v in (x, 200, x + 14, 366)], fill=(96, 66, 42))
    draw.rounded_rectangle([v * FINE for v in (130, 90, 382, 222)], 10 * FINE, fill=(104, 72, 44))
    draw.rounded_rectangle([v * FINE for v in BOARD], 7 * FINE, fill=(214, 184, 138))
    for _ in range(70):
        y, x = random.uniform(99, 213), random.uniform(138, 330)
        draw.line(scaled(((x, y), (x + random.uniform(20, 44), y))), fill=(200, 168, 122), width=2)
    if text:
        font = ImageFont.load_default(66 * FINE)
        draw.text((256 * FINE, 156 * FINE), text, font=font, fill=(52, 34, 22), anchor="mm")
    return finish(picture)


def shirt() -> Image.Image:
    picture = canvas(384, 448)
    draw = ImageDraw.Draw(picture)
    outline = scaled(((130, 50), (160, 66), (192, 72), (224, 66), (254, 50), (310, 80), (366, 180), (310, 212), (282, 166),
                      (284, 408), (100, 408), (102, 166), (74, 212), (18, 180), (74, 80)))
    shape = Image.new("L", picture.size, 0)
    ImageDraw.Draw(shape).polygon(outline, fill=255)
    stripes = canvas(384, 448, (240, 236, 226))
    lines = ImageDraw.Draw(stripes)
    for y in range(40, 420, 34):
        lines.rectangle([0, y * FINE, stripes.width, (y + 15) * FINE], fill=(32, 74, 140))
    picture.paste(stripes, mask=shape)
    draw.line([*outline, outline[0]], fill=(70, 74, 84), width=2 * FINE, joint="curve")
    draw.arc([v * FINE for v in (146, 20, 238, 86)], 20, 160, fill=(190, 48, 40), width=8 * FINE)
    return finish(picture)


def teapot() -> Image.Image:
    picture = canvas(416, 352)
    draw = ImageDraw.Draw(picture)
    body, light, dark = (46, 120, 128), (122, 190, 194), (26, 78, 86)
    draw.ellipse([v * FINE for v in (96, 292, 330, 316)], fill=(226, 228, 230))
    draw.arc([v * FINE for v in (248, 126, 366, 256)], -95, 100, fill=dark, width=19 * FINE)
    draw.polygon(scaled(((126, 226), (84, 190), (62, 124), (40, 116), (48, 100), (86, 106), (104, 150), (146, 168))), fill=body)
    draw.ellipse([v * FINE for v in (104, 112, 316, 306)], fill=body)
    draw.ellipse([v * FINE for v in (140, 136, 196, 206)], fill=light)
    draw.ellipse([v * FINE for v in (148, 100, 272, 140)], fill=dark)
    draw.ellipse([v * FINE for v in (152, 88, 268, 130)], fill=body)
    draw.ellipse([v * FINE for v in (194, 62, 226, 96)], fill=(230, 182, 70))
    for x in range(124, 300, 26):
        draw.ellipse([v * FINE for v in (x, 232, x + 14, 246)], fill=(230, 182, 70))
    return finish(picture.filter(ImageFilter.GaussianBlur(1.2)))


def hat() -> Image.Image:
    picture = canvas(416, 288)
    draw = ImageDraw.Draw(picture)
    draw.ellipse([v * FINE for v in (40, 176, 376, 252)], fill=(150, 112, 60))
    draw.ellipse([v * FINE for v in (40, 168, 376, 242)], fill=(204, 164, 98))
    draw.rounded_rectangle([v * FINE for v in (130, 62, 286, 222)], 46 * FINE, fill=(212, 174, 108))
    draw.rectangle([v * FINE for v in (130, 158, 286, 188)], fill=(150, 34, 44))
    draw.ellipse([v * FINE for v in (130, 196, 286, 226)], fill=(204, 164, 98))
    for y in range(92, 156, 9):
        draw.line(scaled(((136, y), (280, y))), fill=(194, 154, 90), width=2)
    return finish(picture)


def swirls(size: int = 416) -> Image.Image:
    """Brush strokes that turn around two centres: something to take a style from."""
    picture, random = canvas(size, size, (28, 44, 92), (60, 88, 130)), Random(7)
    draw = ImageDraw.Draw(picture)
    palette = ((244, 206, 92), (240, 160, 60), (70, 132, 190), (120, 180, 216), (34, 62, 130), (230, 232, 220))
    for _ in range(5200):
        x, y = random.uniform(0, size), random.uniform(0, size)
        angle = sum(math.atan2(y - cy, x - cx) * w for cx, cy, w in ((0.32 * size, 0.36 * size, 0.7),
                                                                    (0.72 * size, 0.66 * size, 0.3))) + math.pi / 2
        near = min(math.hypot(x - 0.32 * size, y - 0.36 * size), math.hypot(x - 0.72 * size, y - 0.66 * size)) / size
        colour = random.choice(palette[:2] + palette[5:]) if random.random() > near * 4 else random.choice(palette[2:5])
        shade = random.uniform(0.85, 1.1)
        length = random.uniform(9, 22)
        end = x + length * math.cos(angle), y + length * math.sin(angle)
        draw.line(scaled(((x, y), end)), fill=tuple(min(255, int(c * shade)) for c in colour), width=round(4.5 * FINE))
    return finish(picture)


def room_depth(width: int = 512, height: int = 384) -> Image.Image:
    """Depth of a room with three balls, near = white, as depth estimators draw it: 1/distance along each ray."""
    y, x = np.mgrid[:height, :width]
    rays = np.stack([(x - width / 2) / width, (y - height / 2) / width, np.full(x.shape, 0.62)])
    rays /= np.linalg.norm(rays, axis=0)
    with np.errstate(divide="ignore"):
        distance = np.min([limit / np.abs(ray) for limit, ray in zip((2.2, 1.5, 6.0), rays, strict=True)], axis=0)
    for centre, radius in (((-0.9, 0.8, 3.6), 0.7), ((0.7, 1.0, 2.9), 0.5), ((1.2, 0.5, 4.8), 1.0)):
        along = np.tensordot(np.array(centre), rays, 1)
        inside = radius**2 - (np.dot(centre, centre) - along**2)
        distance = np.where(inside > 0, np.minimum(distance, along - np.sqrt(np.maximum(inside, 0))), distance)
    near = 1 / distance
    return Image.fromarray((255 * (near - near.min()) / (near.max() - near.min())).astype(np.uint8)).convert("RGB")


TOY = Scene("meadow", "day", (Thing("star", "red", "plain", "big", "bottom left"),
                              Thing("circle", "blue", "striped", "small", "top right")))
TOY_FIGURE = Scene("beach", "day", figure=Figure(1, "green", "dotted", "out", "apart"))


def toy(scene: Scene) -> Image.Image:
    """A scene of the demo model's world, 128×128 pixels."""
    return to_image(render([Picture(scene)])[0])


DRAWINGS: dict[str, Callable[[], Image.Image]] = {
    "meadow.jpg": meadow, "sign.jpg": sign, "sign with text.jpg": lambda: sign("OPEN"), "shirt.jpg": shirt,
    "teapot.jpg": teapot, "hat.jpg": hat, "swirls.jpg": swirls, "toy scene.png": lambda: toy(TOY),
    "toy figure.png": lambda: toy(TOY_FIGURE), "room depth.png": room_depth,
}
# polygons and (x0, y0, x1, y1) ellipses or boxes in the pixels of the finished picture
MASKS: dict[str, list[tuple[str, object]]] = {
    "coffee.jpg": [("polygon", ((398, 66), (426, 62), (426, 90), (398, 200), (410, 250), (408, 300), (376, 332), (330, 332),
                                (312, 296), (308, 250), (330, 232), (372, 226), (396, 110)))],
    "portrait.jpg": [("polygon", ((24, 511), (30, 400), (44, 280), (84, 238), (118, 210), (150, 268), (210, 296), (268, 292),
                                  (302, 240), (340, 268), (362, 340), (330, 352), (290, 410), (276, 511)))],
    "cat.jpg": [("ellipse", (284, 90, 364, 172))],
    "rocket.jpg": [("ellipse", (346, 30, 436, 120))],
    "sign.jpg": [("rectangle", BOARD)], "sign with text.jpg": [("rectangle", LETTERS)],
    "toy scene.png": [("rectangle", TOY.things[0].box())], "toy figure.png": [("ellipse", (44, 3, 84, 41))],
}


def draw_mask(size: tuple[int, int], shapes) -> Image.Image:
    mask = Image.new("L", size, 0)
    draw = ImageDraw.Draw(mask)
    for kind, where in shapes:
        getattr(draw, kind)(where, fill=255)
    return mask.convert("1")


def main(photos: str | None = None) -> int:
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, draw in DRAWINGS.items():
        draw().save(FOLDER / name, quality=90)
    for source, (name, box) in PHOTOS.items() if photos else ():
        Image.open(Path(photos) / source).convert("RGB").crop(box).save(FOLDER / name, quality=90)
    for name, shapes in MASKS.items():
        with Image.open(FOLDER / name) as picture:
            draw_mask(picture.size, shapes).save(FOLDER / f"{Path(name).stem}{MASK_ENDING}", optimize=True)
    print(f"{len(list(FOLDER.glob('*.*g')))} pictures in {FOLDER.name}")
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:2]))
