"""Real photographs for the tasks whose answer is computed from the picture itself; sources in demo/photos/README.md."""

from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

FOLDER = Path(__file__).parent.parent / "photos"


@cache
def load(part: str = "train") -> tuple[Tensor, ...]:
    """The pictures of demo/photos/train or demo/photos/held_out, each (3, H, W) in [0, 1], sorted by name."""
    files = sorted((FOLDER / part).glob("*.jpg"))
    return tuple(torch.from_numpy(np.array(Image.open(f).convert("RGB"))).permute(2, 0, 1) / 255 for f in files)


def crops(which: Sequence[tuple[int, tuple[float, float, float]]], size: int) -> Tensor:
    """(number, (left, top, mirrored) in [0, 1]) … → (n, 3, size, size): squares of 0.6 to 1 side.

    Numbers from 0 are training photographs, −1, −2, … those that were held out.
    """
    out = []
    for index, (left, top, mirrored) in which:
        photo = load()[index] if index >= 0 else load("held_out")[-1 - index]
        side = int(min(photo.shape[1:]) * (0.6 + 0.4 * (left * 7 % 1)))
        y, x = (int(f * (n - side)) for f, n in ((top, photo.shape[1]), (left, photo.shape[2])))
        square = F.interpolate(photo[None, :, y:y + side, x:x + side], (size, size), mode="bilinear", antialias=True)[0]
        out.append(square.flip(-1) if mirrored > 0.5 else square)
    return torch.stack(out)
