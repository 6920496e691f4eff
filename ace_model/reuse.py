"""Context reuse: between full evaluations of the network only the target's tokens are computed. Not in the paper.

Condition images stay clean while the target is denoised: their tokens change from step to step through the timestep and
through what they see of the target, and slowly. So a full evaluation keeps every block's keys and values of the condition
frames, and until the next one the target attends to its own fresh ones and to these.
"""

from collections.abc import Hashable, Sequence

import torch
from torch import Tensor

KeysAndValues = tuple[Tensor, Tensor]  # (B, heads, M, d) each, keys rotated


class ContextReuse:
    """When a sampling run computes all frames, and what it keeps of the condition frames in between.

    every: an evaluation is full at least each so many times; 1 is exact · change: it is also full as soon as the target has
    changed by more than this share since the last full one; 0 leaves that out.
    """

    def __init__(self, every: int, change: float = 0.0):
        self.every, self.change = every, change
        self.full, self.refused = True, set()  # refused: reasons that were told already
        self._since, self._seen = 0, None
        self._kept: dict[Hashable, tuple[tuple, list[KeysAndValues]]] = {}

    def begin(self, x: Tensor) -> None:
        """Decide how the next evaluation is done. x: the noisy target as the network reads it, (B, 4, h, w)."""
        self._since += 1
        self.full = self._seen is None or self._since >= self.every or self._has_changed(x)
        if self.full:
            self._since = 0
            self._kept.clear()  # a prompt that takes no part now must not come back with what is older than this
            self._seen = x.detach().clone() if self.change else x[:0]

    def _has_changed(self, x: Tensor) -> bool:
        if not self.change:
            return False
        seen = self._seen
        return x.shape != seen.shape or float((x - seen).abs().mean()) > self.change * float(seen.abs().mean())

    def call(self, prompts: Sequence[Hashable], target: int, like: tuple) -> "Call":
        """One call of the network within an evaluation.

        prompts: what its batch is made of, equal parts each · target: tokens of the target · like: what must be the same for
        kept keys and values to fit (sizes, type, device). Without kept ones that fit, the call is full.
        """
        known = [self._kept.get(prompt) for prompt in prompts]
        if not self.full and all(found and found[0] == like for found in known):
            return Call(target, [blocks for _, blocks in known], full=False)
        fresh: list[list[KeysAndValues]] = [[] for _ in prompts]
        self._kept |= {prompt: (like, blocks) for prompt, blocks in zip(prompts, fresh, strict=True)}
        return Call(target, fresh, full=True)


class Call:
    """Keeps the condition frames' keys and values (a full call), or adds the kept ones to the target's."""

    def __init__(self, target: int, kept: list[list[KeysAndValues]], full: bool):
        self.target, self.kept, self.full = target, kept, full

    def __call__(self, block: int, k: Tensor, v: Tensor) -> KeysAndValues:
        """What the self-attention of a block attends to. k, v (B, heads, N, d): of all frames, or of the target alone."""
        if not self.full:
            kept = zip(*(blocks[block] for blocks in self.kept), strict=True)
            return tuple(torch.cat([own, *parts] if len(parts) == 1 else [own, torch.cat(parts)], 2)
                         for own, parts in zip((k, v), kept, strict=True))
        rows = (x[:, :, self.target:].chunk(len(self.kept)) for x in (k, v))
        for blocks, *parts in zip(self.kept, *rows, strict=True):
            blocks.append(tuple(part.clone() for part in parts))  # a view would keep the target's alive, too
        return k, v


def kept_bytes(depth: int, hidden: int, tokens: int, element_size: int) -> int:
    """Bytes of keys and values of `tokens` of condition frames in every block, for one prompt and one picture of a batch."""
    return 2 * depth * hidden * tokens * element_size
