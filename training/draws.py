"""Where a step's chance comes from."""

from collections.abc import Sequence
from hashlib import sha256

import torch
from torch import Tensor


class Draws:
    """Chance for the samples of a batch. Each has its own, of seed, step and its place among all samples of the step: it does
    not matter how many processes share a step, on which device they run, or where a run was interrupted."""

    def __init__(self, seed: int, step: int, places: Sequence[int]):
        self.generators = [torch.Generator().manual_seed(number(seed, step, place)) for place in places]

    def integers(self, high: int, low: int = 0) -> Tensor:
        """(B,) from low up to high, without high."""
        return torch.stack([torch.randint(low, high, (), generator=each) for each in self.generators])

    def uniform(self) -> Tensor:
        """(B,) in [0, 1)."""
        return torch.stack([torch.rand((), generator=each) for each in self.generators])

    def normal(self, shape: Sequence[int]) -> Tensor:
        """(B, *shape)."""
        return torch.stack([torch.randn(*shape, generator=each) for each in self.generators])


def number(*parts: object) -> int:
    """A seed of 63 bits from anything that can be printed."""
    return int.from_bytes(sha256(repr(parts).encode()).digest()[:8], "big") >> 1
