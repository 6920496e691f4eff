"""Real photographs for the tasks whose answer is computed from the picture itself (demo/world/photographs/README.md)."""

import math
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from random import Random

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

FOLDER = Path(__file__).parent.parent / "photographs"


@cache
def load(part: str = "train") -> tuple[Tensor, ...]:
    """The pictures of demo/world/photographs/train or …/held_out, each (3, H, W) in [0, 1], sorted by name."""
    files = sorted((FOLDER / part).glob("*.jpg"))
    return tuple(torch.from_numpy(np.array(Image.open(f).convert("RGB"))).permute(2, 0, 1) / 255 for f in files)


def crops(which: Sequence[tuple[int, tuple[float, float, float]]], size: int) -> Tensor:
    """(number, (left, top, mirrored) in [0, 1]) … → (n, 3, size, size): squares of 0.6 to 1 side.

    Numbers from 0 are training photographs, −1, −2, … those that were held out. Training photographs are few, so they come
    in other colors and with pieces of each other in them: see `varied`.
    """
    return torch.stack([varied(index, crop, size) if index >= 0 else square(load("held_out")[-1 - index], crop, size, 0.6)
                        for index, crop in which])


def square(photo: Tensor, crop: tuple[float, float, float], size: int, least: float) -> Tensor:
    """(3, size, size): a part of least … 1 of the shorter side."""
    left, top, mirrored = crop
    side = int(min(photo.shape[1:]) * (least + (1 - least) * (left * 7 % 1)))
    y, x = (int(f * (n - side)) for f, n in ((top, photo.shape[1]), (left, photo.shape[2])))
    part = F.interpolate(photo[None, :, y:y + side, x:x + side], (size, size), mode="bilinear", antialias=True)[0]
    return part.flip(-1) if mirrored > 0.5 else part


def varied(index: int, crop: tuple[float, float, float], size: int) -> Tensor:
    """A training photograph with up to two discs or half-planes of others in it, all in changed colors; `crop` decides."""
    rng = Random(f"{index} {crop}")
    y, x = torch.meshgrid(*[torch.linspace(0, 1, size)] * 2, indexing="ij")
    out = changed(rng, square(load()[index], crop, size, 0.5))
    for _ in range(rng.choice((0, 0, 0, 1, 2))):
        piece = changed(rng, square(rng.choice(load()), (rng.random(), rng.random(), rng.random()), size, 0.3))
        cx, cy, radius, angle = rng.random(), rng.random(), rng.uniform(0.08, 0.4), rng.uniform(0, 2 * math.pi)
        inside = ((x - cx) * math.cos(angle) + (y - cy) * math.sin(angle) if rng.random() < 0.3 else
                  radius - torch.hypot(x - cx, (y - cy) * rng.uniform(0.5, 2)))
        out = torch.lerp(out, piece, (inside * size + 0.5).clamp(0, 1))
    return out


def changed(rng: Random, picture: Tensor) -> Tensor:
    """Its channels mixed up, lighter or darker."""
    return picture[rng.sample(range(3), 3)].clamp(0, 1) ** rng.uniform(0.5, 1.8)
