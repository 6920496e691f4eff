"""ACE's network straight from its equations, as one would first write it: what the pack's own is compared to.

arXiv 2410.00086, section 2.2 and figure 3, with the sizes of ACE-0.6B. Nothing is kept from step to step: texts and image
names are projected, positions turned into rotary factors, and masks made anew each time. Queries and keys are rotated in
complex128 in every block. Cross-attention is one product over all texts, with a mask that leaves each frame its own.
A test holds its numbers to those of `ace_model.dit.DiT`.
"""

import math
from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from ace_model.config import ACEConfig

EPS, THETA, FREQUENCIES, LONGEST_PERIOD = 1e-6, 10000.0, 256, 10000.0


class Baseline:
    """Calls like a module. weights: the state dict of a `DiT`, whose tensors it shares; other types are cast at each use."""

    def __init__(self, weights: Mapping[str, Tensor], config: ACEConfig):
        self.weights, self.config = weights, config

    def __call__(self, x: Tensor, timestep: Tensor, target_mask: Tensor, images: Sequence[Tensor], masks: Sequence[Tensor],
                 texts: Sequence[Tensor], indicators: Tensor) -> Tensor:
        """Noise of the target, (B, 4, h, w).

        x (B, 4, h, w) · timestep (B,) · target_mask (B, 1, h, w) · images (B, 4, hᵢ, wᵢ) · masks (B, 1, hᵢ, wᵢ) ·
        texts: per frame, target first, T5 features (B, L, text_width) · indicators (B, 10, text_width).
        """
        latents, masks, p = [x, *images], [target_mask, *masks], self.config.patch_size
        grids = [(latent.shape[2] // p, latent.shape[3] // p) for latent in latents]
        names = self.mlp("y_embedder", indicators)[:, [len(images), *range(len(images))]]  # (B, F, D)
        tokens = [self.patches(latent, mask) + names[:, f, None]
                  for f, (latent, mask) in enumerate(zip(latents, masks, strict=True))]
        words = [self.mlp("y_embedder", text) + names[:, f, None] for f, text in enumerate(texts)]
        own_text = self.own_text([part.shape[1] for part in tokens], [part.shape[1] for part in words], x.device)
        factors = self.rotary_factors(grids, x.device)
        t = self.time(timestep, x.dtype)  # (B, D)
        t0 = self.linear("t_block.1", F.silu(t)).unflatten(1, (6, -1))  # (B, 6, D)

        h, y = torch.cat(tokens, 1), torch.cat(words, 1)  # (B, N, D), (B, L, D)
        for i in range(self.config.depth):
            h = self.block(f"blocks.{i}", h, y, t0, factors, own_text)
        shift, scale = (self.weights["final_layer.scale_shift_table"].to(h) + t[:, None]).chunk(2, 1)
        h = self.linear("final_layer.linear", self.norm(h[:, :tokens[0].shape[1]]) * (1 + scale) + shift)
        rows, columns = grids[0]
        out = h.view(len(h), rows, columns, p, p, -1).permute(0, 5, 1, 3, 2, 4)  # (B, c, rows, p, columns, p)
        return out.reshape(len(h), -1, rows * p, columns * p)[:, :self.config.latent_channels]

    def block(self, key: str, h: Tensor, y: Tensor, t0: Tensor, factors: Tensor, own_text: Tensor) -> Tensor:
        """h + g₁·attn(LN(h)(1 + γ₁) + β₁), then + cross_attn(h, y), then + g₂·mlp(LN(h)(1 + γ₂) + β₂)."""
        table = self.weights[f"{key}.scale_shift_table"].to(h) + t0
        shift1, scale1, gate1, shift2, scale2, gate2 = table.chunk(6, 1)  # (B, 1, D) each
        z = self.norm(h) * (1 + scale1) + shift1
        h = h + gate1 * self.attention(f"{key}.attn", z, z, factors=factors)
        h = h + self.attention(f"{key}.cross_attn", h, y, mask=own_text)
        return h + gate2 * self.mlp(f"{key}.mlp", self.norm(h) * (1 + scale2) + shift2)

    def attention(self, key: str, x: Tensor, y: Tensor, factors: Tensor | None = None, mask: Tensor | None = None) -> Tensor:
        """softmax(q kᵀ / √d) v by PyTorch's own kernel; x (B, N, D), y (B, M, D), mask (N, M) → (B, N, D)."""
        q = self.rms_norm(f"{key}.norm_q", self.linear(f"{key}.q", x))
        k = self.rms_norm(f"{key}.norm_q", self.linear(f"{key}.k", y))  # norm_q for both, as the weights were trained
        v = self.linear(f"{key}.v", y)
        q, k, v = (part.unflatten(-1, (self.config.num_heads, -1)).transpose(1, 2) for part in (q, k, v))  # (B, heads, N, d)
        if factors is not None:
            q, k = self.rotated(q, factors), self.rotated(k, factors)
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        return self.linear(f"{key}.o", out.transpose(1, 2).flatten(2))

    def rotary_factors(self, grids: Sequence[tuple[int, int]], device: torch.device) -> Tensor:
        """exp(i·position·θ^(−2k/width)) of every token: (N, d/2) complex128. Frame, then row, then column channels."""
        head = self.config.hidden_size // self.config.num_heads
        spatial, parts = 2 * (head // 6), []
        for frame, (rows, columns) in enumerate(grids):
            positions = (torch.full((rows, columns), frame, device=device),
                         torch.arange(rows, device=device)[:, None].expand(rows, columns),
                         torch.arange(columns, device=device)[None].expand(rows, columns))
            angles = []
            for position, width in zip(positions, (head - 2 * spatial, spatial, spatial), strict=True):
                rates = THETA ** (-torch.arange(0, width, 2, device=device, dtype=torch.float64) / width)
                angles.append(position.flatten().double()[:, None] * rates)
            parts.append(torch.cat(angles, 1))
        angles = torch.cat(parts)
        return torch.polar(torch.ones_like(angles), angles)

    def rotated(self, x: Tensor, factors: Tensor) -> Tensor:
        """Adjacent channels of x (B, heads, N, d) are a complex number, multiplied in complex128."""
        pairs = torch.view_as_complex(x.double().unflatten(-1, (-1, 2)).contiguous())
        return torch.view_as_real(pairs * factors).flatten(-2).to(x.dtype)

    def own_text(self, frames: Sequence[int], texts: Sequence[int], device: torch.device) -> Tensor:
        """(N, L) bool: a token sees the text of its own frame."""
        frame_of = [torch.cat([torch.full((length,), f, device=device) for f, length in enumerate(lengths)])
                    for lengths in (frames, texts)]
        return frame_of[0][:, None] == frame_of[1][None]

    def patches(self, latent: Tensor, mask: Tensor) -> Tensor:
        """Latent (B, 4, h, w) and mask (B, 1, h, w) → one token per patch, row by row: (B, N, D)."""
        p = self.config.patch_size
        weight, bias = self.weight("x_embedder.proj.weight", latent), self.weight("x_embedder.proj.bias", latent)
        return F.conv2d(torch.cat([latent, mask.to(latent)], 1), weight, bias, stride=p).flatten(2).transpose(1, 2)

    def time(self, timestep: Tensor, dtype: torch.dtype) -> Tensor:
        half = FREQUENCIES // 2
        rates = torch.exp(-math.log(LONGEST_PERIOD) * torch.arange(half, device=timestep.device) / half)
        angles = timestep.float()[:, None] * rates
        z = torch.cat([angles.cos(), angles.sin()], 1).to(dtype)
        return self.linear("t_embedder.mlp.2", F.silu(self.linear("t_embedder.mlp.0", z)))

    def mlp(self, key: str, x: Tensor) -> Tensor:
        return self.linear(f"{key}.fc2", F.gelu(self.linear(f"{key}.fc1", x), approximate="tanh"))

    def norm(self, x: Tensor) -> Tensor:
        return F.layer_norm(x, x.shape[-1:], eps=EPS)

    def rms_norm(self, key: str, x: Tensor) -> Tensor:
        """Over all channels before the heads are split, in float32."""
        z = x.float()
        return (z * torch.rsqrt(z.square().mean(-1, keepdim=True) + EPS)).to(x) * self.weight(f"{key}.weight", x)

    def linear(self, key: str, x: Tensor) -> Tensor:
        return F.linear(x, self.weight(f"{key}.weight", x), self.weight(f"{key}.bias", x))

    def weight(self, key: str, like: Tensor) -> Tensor:
        return self.weights[key].to(like)
