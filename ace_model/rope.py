"""Rotary position embedding over frame, height and width (reference: ali-vilab/ACE @ 886bf95).

A head of width d is split into d − 4(d//6) frame, 2(d//6) height and 2(d//6) width channels; adjacent channels form
the pairs that are rotated. 72 = 24 + 24 + 24. Frame 0 is the target; height and width count from 0 in every frame.
"""

import torch
from einops import rearrange
from torch import Tensor

Grids = tuple[tuple[int, int], ...]  # (rows, columns) of tokens of every frame, target first


def rotary_tables(grids: Grids, head_width: int, theta: float = 10000.0) -> Tensor:
    """cos and sin of every token's angles: (2, N, head_width / 2), float32."""
    spatial = 2 * (head_width // 6)
    widths = (head_width - 2 * spatial, spatial, spatial)
    positions = torch.cat([
        torch.stack(torch.meshgrid(torch.tensor([frame]), torch.arange(rows), torch.arange(columns), indexing="ij"), -1)
        .reshape(-1, 3) for frame, (rows, columns) in enumerate(grids)])  # (N, 3)
    angles = torch.cat([
        positions[:, axis, None] * theta ** (-torch.arange(0, width, 2, dtype=torch.float64) / width)
        for axis, width in enumerate(widths)], dim=1)  # (N, d/2)
    return torch.stack([angles.cos(), angles.sin()]).float()


def rotate(x: Tensor, tables: Tensor) -> Tensor:
    """Rotate adjacent channel pairs of x (B, heads, N, d) by the tables' angles; computed in float32."""
    cos, sin = tables  # (N, d/2)
    even, odd = rearrange(x.float(), "b h n (d two) -> two b h n d", two=2)
    turned = torch.stack([even * cos - odd * sin, even * sin + odd * cos], dim=-1)
    return turned.flatten(-2).to(x.dtype)
