"""Signed distances of the primitives, in pixels, negative inside; each (n, 128, 128) from parameters (n, 5).

Two-dimensional distance functions after the well-known constructions by folding and clamping.
"""

import math

import torch
from torch import Tensor

KINDS = ("circle", "square", "triangle", "star", "heart", "cross", "ellipse", "box", "capsule", "ring")


def distance(kind: str, x: Tensor, y: Tensor, p: Tensor) -> Tensor:
    """x (1, 1, W), y (1, H, 1): pixel centres. p (n, 5): centre and sizes; a capsule has two ends and half a width."""
    a, b, c, d, e = (v.reshape(-1, 1, 1) for v in p.unbind(1))
    if kind == "capsule":
        return capsule(x, y, a, b, c, d, e)
    return _CENTRED[kind](x - a, y - b, c, d)


def capsule(x: Tensor, y: Tensor, x0: Tensor, y0: Tensor, x1: Tensor, y1: Tensor, half: Tensor) -> Tensor:
    dx, dy = x1 - x0, y1 - y0
    along = (((x - x0) * dx + (y - y0) * dy) / (dx * dx + dy * dy).clamp(min=1e-6)).clamp_(0, 1)
    return torch.hypot(x - x0 - along * dx, y - y0 - along * dy) - half


def circle(x, y, r, _):
    return torch.hypot(x, y) - r * 0.98


def box(x, y, half_width, half_height):
    return torch.maximum(x.abs() - half_width, y.abs() - half_height)


def square(x, y, r, _):
    return box(x, y, r * 0.86, r * 0.86)


def triangle(x, y, r, _):
    """Upright: tip at −r, base at +0.85 r."""
    slope = math.radians(28)
    side = x.abs() * math.cos(slope) - (y + r) * math.sin(slope)
    return torch.maximum(side, y - r * 0.85)


def star(x, y, r, _):
    """Five points, one upwards: the angle is folded into half a point, whose edge is a straight line."""
    step = math.pi / 5
    angle = torch.remainder(torch.atan2(x, -y) + step, 2 * step) - step  # 0 on a tip's axis
    radius = torch.hypot(x, y)
    u, v = radius * angle.abs().sin(), radius * angle.cos()  # tip at (0, r)
    inner = 0.48
    ex, ey = inner * math.sin(step), inner * math.cos(step) - 1  # from the tip to the notch, in units of r
    norm = math.hypot(ex, ey)
    return (u * -ey + (v - r * 1.08) * ex) / norm


def heart(x, y, r, _):
    x, y = x.abs() / r, -(y + r * 0.08) / r
    lobes = torch.hypot(x - 0.47, y - 0.38) - 0.53
    point = torch.maximum((x * 0.72 - (y + 0.98) * 0.694), torch.maximum(y - 0.38, -y - 1.2))
    return torch.minimum(lobes, point) * r


def cross(x, y, r, _):
    arm = r * 0.36
    return torch.minimum(box(x, y, r, arm), box(x, y, arm, r))


def ellipse(x, y, rx, ry):
    return (torch.hypot(x / rx, y / ry) - 1) * torch.minimum(rx, ry)


def ring(x, y, r, half):
    return (torch.hypot(x, y) - r).abs() - half


_CENTRED = {"circle": circle, "square": square, "triangle": triangle, "star": star, "heart": heart, "cross": cross,
            "ellipse": ellipse, "box": box, "ring": ring}
