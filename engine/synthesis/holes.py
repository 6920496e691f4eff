"""Masks that are drawn: (H, W) of 0 and 1, white = edit here. Each selects a part, never nothing and never everything."""

from random import Random

import torch
from PIL import Image, ImageDraw
from torch import Tensor

Box = tuple[int, int, int, int]  # left, top, right, bottom; right and bottom are not in it


def hole(height: int, width: int, rng: Random) -> Tensor:
    """A box, an ellipse or a few strokes, over 5 to 50% of the picture."""
    while True:
        draw = rng.choice((box_mask, ellipse, strokes))
        mask = draw(height, width, rng)
        if 0.05 <= float(mask.mean()) <= 0.5:
            return mask


def border(height: int, width: int, rng: Random) -> Tensor:
    """What outpainting adds: an eighth to three eighths on one to four sides."""
    mask = torch.zeros(height, width)
    for side in rng.sample(("left", "top", "right", "bottom"), rng.choice((1, 2, 2, 4))):
        part = rng.uniform(0.125, 0.375)
        rows, columns = max(1, round(height * part)), max(1, round(width * part))
        if side in ("left", "right"):
            mask[:, slice(0, columns) if side == "left" else slice(width - columns, width)] = 1
        else:
            mask[slice(0, rows) if side == "top" else slice(height - rows, height)] = 1
    return mask


def box(height: int, width: int, rng: Random, least: float = 0.25, most: float = 0.7) -> Box:
    """Sides are `least` to `most` of the picture's."""
    w, h = (max(2, round(side * rng.uniform(least, most))) for side in (width, height))
    left, top = rng.randint(0, width - w), rng.randint(0, height - h)
    return left, top, left + w, top + h


def box_mask(height: int, width: int, rng: Random) -> Tensor:
    return of_box(height, width, box(height, width, rng))


def of_box(height: int, width: int, where: Box) -> Tensor:
    left, top, right, bottom = where
    mask = torch.zeros(height, width)
    mask[top:bottom, left:right] = 1
    return mask


def ellipse(height: int, width: int, rng: Random) -> Tensor:
    left, top, right, bottom = box(height, width, rng)
    return painted(height, width, lambda pen: pen.ellipse((left, top, right - 1, bottom - 1), fill=255))


def strokes(height: int, width: int, rng: Random) -> Tensor:
    def paint(pen: ImageDraw.ImageDraw) -> None:
        thick = max(3, round(min(height, width) * rng.uniform(0.06, 0.16)))
        for _ in range(rng.randint(1, 3)):
            points = [(rng.uniform(0, width), rng.uniform(0, height)) for _ in range(rng.randint(2, 4))]
            pen.line(points, fill=255, width=thick, joint="curve")
            for x, y in points:
                pen.ellipse((x - thick / 2, y - thick / 2, x + thick / 2, y + thick / 2), fill=255)
    return painted(height, width, paint)


def painted(height: int, width: int, paint) -> Tensor:
    image = Image.new("L", (width, height))
    paint(ImageDraw.Draw(image))
    levels = torch.frombuffer(bytearray(image.tobytes()), dtype=torch.uint8).view(height, width)
    return (levels > 127).float()
