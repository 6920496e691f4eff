"""The parts of ACE's diffusion transformer, in the order they run (reference: ali-vilab/ACE @ 886bf95).

Every part takes its layers from `ops` (torch.nn, or a host's drop-in namespace) and `where` (dtype and device).
"""

import math

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from .rope import rotate

EPS = 1e-6


def attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Exact attention without a mask: (B, heads, N, d), (B, heads, M, d) → (B, N, heads·d). A host may bring its own."""
    return rearrange(F.scaled_dot_product_attention(q, k, v), "b h n d -> b n (h d)")


class PatchEmbed(nn.Module):
    """Latent and mask → one token per 2×2 cells."""

    def __init__(self, in_channels: int, hidden: int, patch: int, ops, where: dict):
        super().__init__()
        self.proj = ops.Conv2d(in_channels, hidden, kernel_size=patch, stride=patch, **where)

    def forward(self, latent: Tensor, mask: Tensor) -> Tensor:
        x = torch.cat([latent, mask.to(latent)], dim=1)  # (B, 4 + 1, h, w)
        return rearrange(self.proj(x), "b c h w -> b (h w) c")


class TimestepEmbedder(nn.Module):
    FREQUENCIES = 256

    def __init__(self, hidden: int, ops, where: dict):
        super().__init__()
        self.mlp = nn.Sequential(ops.Linear(self.FREQUENCIES, hidden, **where), nn.SiLU(),
                                 ops.Linear(hidden, hidden, **where))

    def forward(self, t: Tensor, dtype: torch.dtype) -> Tensor:
        half = self.FREQUENCIES // 2
        rates = torch.exp(torch.arange(half, device=t.device, dtype=torch.float32) * (-math.log(10000.0) / half))
        angles = t.float()[:, None] * rates
        return self.mlp(torch.cat([angles.cos(), angles.sin()], dim=-1).to(dtype))  # (B, D)


class Mlp(nn.Module):
    """Two linear layers with a tanh-GELU between; also projects text (`y_embedder`)."""

    def __init__(self, width: int, inner: int, out: int, ops, where: dict):
        super().__init__()
        self.fc1 = ops.Linear(width, inner, **where)
        self.fc2 = ops.Linear(inner, out, **where)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(x), approximate="tanh"))


class Attention(nn.Module):
    """Projections shared by self- and cross-attention."""

    def __init__(self, hidden: int, heads: int, ops, where: dict):
        super().__init__()
        self.heads = heads
        self.q = ops.Linear(hidden, hidden, **where)
        self.k = ops.Linear(hidden, hidden, **where)
        self.v = ops.Linear(hidden, hidden, **where)
        self.o = ops.Linear(hidden, hidden, **where)
        self.norm_q = ops.RMSNorm(hidden, eps=EPS, **where)
        self.norm_k = ops.RMSNorm(hidden, eps=EPS, **where)  # every published file has it, no model uses it

    def qkv(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries of x (B, N, D), keys and values of y (B, M, D), each (B, heads, N or M, d)."""
        q, k = self.norm_q(self.q(x)), self.norm_q(self.k(y))  # the published weights normalize k with norm_q
        return tuple(rearrange(z, "b n (h d) -> b h n d", h=self.heads) for z in (q, k, self.v(y)))


class Block(nn.Module):
    """Long-context self-attention over all frames, cross-attention of each frame with its own text, MLP."""

    def __init__(self, hidden: int, heads: int, mlp_ratio: float, ops, where: dict):
        super().__init__()
        self.scale_shift_table = nn.Parameter(torch.empty(6, hidden, device=where["device"]))  # float32: fp8 would lose it
        self.norm1 = ops.LayerNorm(hidden, elementwise_affine=False, eps=EPS, **where)
        self.attn = Attention(hidden, heads, ops, where)
        self.cross_attn = Attention(hidden, heads, ops, where)
        self.norm2 = ops.LayerNorm(hidden, elementwise_affine=False, eps=EPS, **where)
        self.mlp = Mlp(hidden, int(hidden * mlp_ratio), hidden, ops, where)

    def forward(self, x: Tensor, y: Tensor, t0: Tensor, rope: Tensor, lengths: "Lengths", attention, keep=None) -> Tensor:
        """x (B, N, D) all frames' tokens, y (B, L, D) all frames' texts, t0 (B, 6·D) → (B, n, D), n ≤ N.

        lengths: of the frames to compute, which come first. Keys and values are always those of all N tokens ·
        keep: (k, v) → (k, v), see reuse.py.
        """
        wanted = sum(lengths[0])
        table = self.scale_shift_table.to(x) + rearrange(t0, "b (six d) -> b six d", six=6)
        shift1, scale1, gate1, shift2, scale2, gate2 = table.chunk(6, dim=1)  # (B, 1, D) each
        x = torch.addcmul(x[:, :wanted], gate1,
                          self.self_attention(modulate(self.norm1(x), shift1, scale1), rope, attention, wanted, keep))
        x = x + self.cross_attention(x, y, lengths, attention)  # no norm, no gate
        return torch.addcmul(x, gate2, self.mlp(modulate(self.norm2(x), shift2, scale2)))

    def self_attention(self, x: Tensor, rope: Tensor, attention, wanted: int, keep=None) -> Tensor:
        q, k, v = self.attn.qkv(x[:, :wanted], x)
        q = rotate(q, rope[:, :wanted])  # lets go of the unrotated ones before the keys' turn, where memory peaks
        k = rotate(k, rope)
        if keep is not None:
            k, v = keep(k, v)
        return self.attn.o(attention(q, k, v))

    def cross_attention(self, x: Tensor, y: Tensor, lengths: "Lengths", attention) -> Tensor:
        frames, texts = lengths
        q, k, v = self.cross_attn.qkv(x, y[:, :sum(texts)])
        return self.cross_attn.o(torch.cat([
            attention(*qkv) for qkv in zip(q.split(frames, 2), k.split(texts, 2), v.split(texts, 2), strict=True)], 1))


Lengths = tuple[list[int], list[int]]  # tokens of each frame, tokens of each frame's text


def target_only(lengths: Lengths) -> Lengths:
    frames, texts = lengths
    return frames[:1], texts[:1]


class FinalLayer(nn.Module):
    def __init__(self, hidden: int, out: int, ops, where: dict):
        super().__init__()
        self.scale_shift_table = nn.Parameter(torch.empty(2, hidden, device=where["device"]))
        self.norm_final = ops.LayerNorm(hidden, elementwise_affine=False, eps=EPS, **where)
        self.linear = ops.Linear(hidden, out, **where)

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        shift, scale = (self.scale_shift_table.to(x) + t[:, None]).chunk(2, dim=1)
        return self.linear(modulate(self.norm_final(x), shift, scale))


def modulate(x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    """Adaptive layer norm: x (B, N, D), shift and scale (B, 1, D)."""
    return torch.addcmul(shift, x, 1 + scale)
