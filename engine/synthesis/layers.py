"""Layers: a subject cut out by its mask, put on white, and put onto other pictures."""

from random import Random

import torch
import torch.nn.functional as F
from torch import Tensor

from .holes import Box

WHITE = 1.0


def on_white(x: Tensor, alpha: Tensor) -> Tensor:
    """(H, W, 3), (H, W) → the subject alone on a plain white background."""
    return x * alpha[..., None] + WHITE * (1 - alpha[..., None])


def bounds(alpha: Tensor) -> Box:
    rows, columns = (torch.nonzero((alpha > 0.5).any(dim)).flatten() for dim in (1, 0))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def placed(x: Tensor, alpha: Tensor, height: int, width: int, rng: Random, least: float = 0.35, most: float = 0.75
           ) -> tuple[Tensor, Tensor]:
    """The subject somewhere in an empty frame: (height, width, 3) and its alpha (height, width).

    least, most: the part of the frame that its longer side takes.
    """
    left, top, right, bottom = bounds(alpha)
    subject = torch.cat([x, alpha[..., None]], 2)[top:bottom, left:right].movedim(-1, 0)[None]
    scale = min(rng.uniform(least, most) * side / have for side, have in ((height, bottom - top), (width, right - left)))
    size = tuple(max(2, round(side * scale)) for side in subject.shape[2:])
    small = F.interpolate(subject, size, mode="bilinear", antialias=True, align_corners=False)[0]
    y, x0 = rng.randint(0, height - size[0]), rng.randint(0, width - size[1])
    out = torch.zeros(4, height, width)
    out[:, y:y + size[0], x0:x0 + size[1]] = small
    return out[:3].movedim(0, -1), out[3].clamp(0, 1)


def over(background: Tensor, x: Tensor, alpha: Tensor) -> Tensor:
    return torch.lerp(background, x, alpha[..., None])
