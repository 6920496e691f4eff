"""Encoded examples → the batches that each process computes in each step."""

from collections.abc import Callable, Sequence
from random import Random

import torch

from .batches import Batches, bucket
from .draws import Draws
from .encode import Encoded
from .network import Batch


class Feed:
    """Batch and chance of every pass, a function of seed, step, pass and process alone.

    encoded: i-th example · count: of examples · batch: examples in a pass of one process · accumulate: passes in a step ·
    drop_text, drop_history: probabilities.
    """

    def __init__(self, encoded: Callable[[int], Encoded], count: int, batch: int, accumulate: int = 1, seed: int = 0,
                 drop_text: float = 0.0, drop_history: float = 0.0, rank: int = 0, processes: int = 1):
        self.encoded, self.batch, self.accumulate, self.seed = encoded, batch, accumulate, seed
        self.drop_text, self.drop_history, self.rank, self.processes = drop_text, drop_history, rank, processes
        self.batches = Batches([kind(encoded(i)) for i in range(count)], batch * processes, seed)

    def __call__(self, step: int, part: int) -> tuple[Batch, Draws]:
        """part: which pass of the step. Both are on the CPU."""
        number = step * self.accumulate + part
        own = slice(self.rank * self.batch, (self.rank + 1) * self.batch)
        chosen = [self.encoded(i) for i in self.batches(number)[own]]
        if chosen[0].recent and Random(f"history {self.seed} {number}").random() < self.drop_history:
            chosen = [each.recent for each in chosen]
        first = part * self.batch * self.processes
        draws = Draws(self.seed, step, range(first + own.start, first + own.stop))
        return together(chosen, (draws.uniform() < self.drop_text).tolist()), draws


def kind(encoded: Encoded) -> tuple:
    """What the examples of a batch share, with and without history."""
    return bucket(encoded), encoded.recent and bucket(encoded.recent)


def together(samples: Sequence[Encoded], without_text: Sequence[bool] | None = None) -> Batch:
    """Samples of one bucket as a batch. without_text: of each, whether its instruction is left out."""
    words = [each.negative_words if left_out else each.words
             for each, left_out in zip(samples, without_text or [False] * len(samples), strict=True)]
    return Batch([torch.stack(frame) for frame in zip(*(each.latents for each in samples), strict=True)],
                 [torch.stack(frame) for frame in zip(*(each.masks for each in samples), strict=True)],
                 [list(frame) for frame in zip(*words, strict=True)],
                 negatives=[list(frame) for frame in zip(*(each.negative_words for each in samples), strict=True)])
