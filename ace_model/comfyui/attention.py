"""What the network looks at: attention read while it samples, at core's hook around each. The picture stays as it is.

Each block attends once over all frames together, then each frame to its own text (arXiv 2410.00086, figure 3).
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from ..errors import InputError

EVERY_FRAME = "ace_every_frame"  # key in transformer_options: the last block computes every frame, not the target alone
CHUNK = 256  # queries at once: at 4,096 tokens and ten frames a chunk of one head takes 40 MB


class AttentionError(InputError):
    """A model whose attention cannot be read."""


class Watch:
    """Means over steps, blocks and heads of the positive branch.

    frames, texts: tokens of each frame and of its text, target first · chosen (frames[0],) bool: the target's tokens whose
    attention to the frames is summed · blocks: (first, last) that count · steps: (from, to) as fractions of the sampling.
    """

    def __init__(self, frames: Sequence[int], texts: Sequence[int], chosen: Tensor, blocks: tuple[int, int] = (0, 10_000),
                 steps: tuple[float, float] = (0.0, 1.0)):
        self.frames, self.texts, self.chosen, self.blocks, self.steps = list(frames), list(texts), chosen, blocks, steps
        self._words = [torch.zeros(n, m) for n, m in zip(frames, texts, strict=True)]
        self._shares, self._seen, self._call, self._block = torch.zeros(len(frames)), 0, 0, None

    def on(self, model):
        """A MODEL that is watched."""
        model = model.clone()
        options = model.model_options["transformer_options"] = dict(model.model_options.get("transformer_options", {}))
        before = options.get("optimized_attention_override")

        def override(func, q, k, v, heads, *args, **kwargs):
            self._see(q, k, kwargs.get("transformer_options") or {})
            return before(func, q, k, v, heads, *args, **kwargs) if before else func(q, k, v, heads, *args, **kwargs)

        options["optimized_attention_override"] = override
        options[EVERY_FRAME] = True
        return model

    @property
    def words(self) -> list[Tensor]:
        """Per frame (its tokens, its text's tokens): where in the frame each token of the text is looked at. Rows add to 1."""
        return [total / self._count for total in self._words]

    @property
    def shares(self) -> Tensor:
        """(frames,): how much of the attention of the target's chosen tokens goes to each frame. Adds to 1."""
        return self._shares / self._count

    @property
    def _count(self) -> int:
        if not self._seen:
            raise AttentionError("no attention was read: choose blocks and steps that the model has, and remove patches that "
                                 "replace its blocks.")
        return self._seen

    def _see(self, q: Tensor, k: Tensor, options: dict) -> None:
        block = options.get("block_index")
        if block != self._block:
            self._block, self._call = block, 0
        number, self._call = self._call, (self._call + 1) % (1 + len(self.frames))
        if not self._counts(block, options):
            return
        rows = _positive(q.shape[0], options)
        wanted = (sum(self.frames), sum(self.frames)) if number == 0 else (self.frames[number - 1], self.texts[number - 1])
        if (q.shape[2], k.shape[2]) != wanted:
            raise AttentionError(f"the model attends from {q.shape[2]} to {k.shape[2]} tokens, but from {wanted[0]} to "
                                 f"{wanted[1]} were expected: remove area conditioning, reference latents and patches of "
                                 "attention.")
        if number == 0:
            chosen = self.chosen.nonzero()[:, 0].to(q.device)
            self._shares += shares(q[rows][:, :, chosen], k[rows], self.frames).cpu()
            self._seen += 1
        else:
            q, k = q[rows].float(), k[rows].float()
            weights = (q @ k.mT / q.shape[-1] ** 0.5).softmax(-1)
            self._words[number - 1] += weights.mean((0, 1)).cpu()

    def _counts(self, block, options: dict) -> bool:
        """Whether this block and step are to be counted."""
        if not self.blocks[0] <= block <= self.blocks[1] or 0 not in options.get("cond_or_uncond", [0]):
            return False
        all_sigmas, now = options.get("sample_sigmas"), options.get("sigmas")
        if all_sigmas is None or now is None or len(all_sigmas) < 3:
            return True
        step = int((all_sigmas[:-1].to(now) - now[0]).abs().argmin()) / (len(all_sigmas) - 2)
        return self.steps[0] <= step <= self.steps[1]


def shares(q: Tensor, k: Tensor, lengths: list[int]) -> Tensor:
    """(parts,): how much attention q (B, heads, n, d) pays to each part of k (B, heads, m, d), parts being `lengths` long.
    The mean over batch, heads and queries."""
    total = torch.zeros(len(lengths), device=q.device)
    for some in q.split(CHUNK, 2):
        for head in range(q.shape[1]):  # one after the other: all at once would not fit
            weights = (some[:, head].float() @ k[:, head].float().mT / q.shape[-1] ** 0.5).softmax(-1)
            total += torch.stack([part.sum() for part in weights.split(lengths, -1)])
    return total / (q.shape[0] * q.shape[1] * q.shape[2])


def _positive(batch: int, options: dict) -> list[int]:
    """The rows of a batch that belong to the positive branch."""
    branches = options.get("cond_or_uncond", [0])
    size = batch // len(branches)
    return [row for i, branch in enumerate(branches) if branch == 0 for row in range(i * size, (i + 1) * size)]
