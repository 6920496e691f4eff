"""ACE's diffusion transformer (reference: ali-vilab/ACE @ 886bf95, Apache-2.0; arXiv 2410.00086, figure 3).

Condition tokenizing, image indicator embedding and long-context attention. Text is projected once per prompt
(`project_text`), everything else runs once per step (`forward`).
"""

import math
from collections.abc import Hashable, Sequence
from functools import partial

import torch
from einops import rearrange
from torch import Tensor, nn

from .config import ACEConfig
from .layers import Block, FinalLayer, Mlp, PatchEmbed, TimestepEmbedder, attention, target_only
from .reuse import Call, ContextReuse
from .rope import Grids, rotary_tables

ROPE_TABLES = 8  # how many are kept; the largest (10 frames at 1024px) takes 12 MB


class DiT(nn.Module):
    """Predicts the noise of the target frame from the noisy target, the condition images and one text per frame."""

    def __init__(self, config: ACEConfig, ops=nn, attention=attention, dtype=None, device=None):
        super().__init__()
        self.config, self.attention = config, attention
        hidden, where = config.hidden_size, {"dtype": dtype, "device": device}
        self.x_embedder = PatchEmbed(config.in_channels, hidden, config.patch_size, ops, where)
        self.t_embedder = TimestepEmbedder(hidden, ops, where)
        self.y_embedder = Mlp(config.text_width, hidden, hidden, ops, where)
        self.t_block = nn.Sequential(nn.SiLU(), ops.Linear(hidden, 6 * hidden, **where))
        self.blocks = nn.ModuleList(Block(hidden, config.num_heads, config.mlp_ratio, ops, where)
                                    for _ in range(config.depth))
        self.final_layer = FinalLayer(hidden, config.out_channels * config.patch_size**2, ops, where)
        self._rope: dict[tuple, Tensor] = {}

    def project_text(self, texts: Sequence[Tensor], indicators: Tensor) -> tuple[list[Tensor], Tensor]:
        """Project texts and image names to the model's width, once per prompt.

        texts: per frame, target first, T5 features (B, L, text_width) without padding · indicators (B, 10, text_width):
        features of the identifier strings → texts (B, L, D) with their frame's indicator added, names (B, F, D).
        """
        conditions = len(texts) - 1
        names = self.y_embedder(indicators[:, :conditions + 1].roll(1, 1))  # the target has the last in use, image i the i-th
        return [self.y_embedder(text) + names[:, f:f + 1] for f, text in enumerate(texts)], names

    def forward(self, x: Tensor, timestep: Tensor, target_mask: Tensor, images: Sequence[Tensor],
                masks: Sequence[Tensor], texts: Sequence[Tensor], names: Tensor, reuse: ContextReuse | None = None,
                prompts: Sequence[Hashable] = ("",), **host) -> Tensor:
        """Noise of the target, (B, 4, h, w).

        x: noisy target (B, 4, h, w) · timestep (B,) in 0…999 · target_mask (B, 1, h, w) · images: clean scaled latents
        (B, 4, hᵢ, wᵢ), oldest turn first · masks (B, 1, hᵢ, wᵢ) · texts, names: from `project_text` · reuse, prompts: see
        reuse.py · host: passed on to `run_blocks` for hosts that override it.
        Raises ValueError if a latent's side is odd.
        """
        latents, masks = [x, *images], [target_mask, *masks]
        grids = tuple(self.token_grid(latent) for latent in latents)
        call = None
        if reuse is not None and images:
            call = reuse.call(prompts, math.prod(grids[0]), (grids, x.shape, x.dtype, x.device))
            if not call.full:
                latents, masks, grids, texts = latents[:1], masks[:1], grids[:1], texts[:1]
        lengths = [rows * columns for rows, columns in grids], [text.shape[1] for text in texts]

        tokens = torch.cat([self.x_embedder(latent, mask) + names[:, f:f + 1]
                            for f, (latent, mask) in enumerate(zip(latents, masks, strict=True))], 1)  # (B, N, D)
        t = self.t_embedder(timestep, x.dtype)  # (B, D)
        out = self.run_blocks(tokens, torch.cat(list(texts), 1), self.t_block(t),
                              self.rope(grids, x.device), lengths, call, **host)
        return self.unpatchify(self.final_layer(out[:, :lengths[0][0]], t), grids[0])

    def run_blocks(self, x: Tensor, y: Tensor, t0: Tensor, rope: Tensor, lengths, call: Call | None = None) -> Tensor:
        """x (B, N, D), y (B, L, D), t0 (B, 6·D) → (B, n, D), at least the target's tokens. A host that patches blocks overrides
        this."""
        for i, block in enumerate(self.blocks):
            if i == len(self.blocks) - 1:
                lengths = target_only(lengths)  # nothing reads the other frames after the last block
            x = block(x, y, t0, rope, lengths, self.attention, call and partial(call, i))
        return x

    def rope(self, grids: Grids, device: torch.device) -> Tensor:
        """Rotary tables of these token grids, computed once."""
        key = (grids, device)
        if key not in self._rope:
            if len(self._rope) >= ROPE_TABLES:
                self._rope.pop(next(iter(self._rope)))
            head_width = self.config.hidden_size // self.config.num_heads
            self._rope[key] = rotary_tables(grids, head_width).to(device)
        return self._rope[key]

    def token_grid(self, latent: Tensor) -> tuple[int, int]:
        height, width = latent.shape[-2:]
        p = self.config.patch_size
        if height % p or width % p:
            raise ValueError(f"a latent of {width}×{height} cells ({width * 8}×{height * 8} pixels) cannot be cut into "
                             f"{p}×{p} patches: use a width and height that are multiples of {8 * p} pixels.")
        return height // p, width // p

    def unpatchify(self, tokens: Tensor, grid: tuple[int, int]) -> Tensor:
        p, c = self.config.patch_size, self.config.out_channels
        out = rearrange(tokens, "b (h w) (p q c) -> b c (h p) (w q)", h=grid[0], w=grid[1], p=p, q=p, c=c)
        return out[:, :self.config.latent_channels]  # the reference never uses the other half
