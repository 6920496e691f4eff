"""Which examples a step learns from: of one size, each equally often, and the same after a restart."""

from collections.abc import Hashable, Sequence

import torch

from .cache import key_of
from .encode import Encoded


def bucket(encoded: Encoded) -> Hashable:
    """What the examples of a batch share: the sizes (h, w) of all latents, the target's first. Texts of other lengths can be
    padded (network.py), pictures cannot."""
    return tuple(tuple(latent.shape[-2:]) for latent in encoded.latents)


class Batches:
    """Indices of examples for each step, a function of seed and step alone.

    buckets: each example's bucket · batch: how many examples in a step. A bucket of n examples gets n of the N steps of an
    epoch, so within an epoch every example comes exactly `batch` times. A bucket with fewer examples than a batch repeats them.
    """

    def __init__(self, buckets: Sequence[Hashable], batch: int, seed: int = 0):
        self.batch, self.seed = batch, seed
        members: dict[Hashable, list[int]] = {}
        for i, each in enumerate(buckets):
            members.setdefault(each, []).append(i)
        self.members = list(members.values())
        self.epoch = len(buckets)  # steps
        self._orders: dict[int, list[tuple[int, int]]] = {}

    def __call__(self, step: int) -> list[int]:
        """`batch` indices, all of one bucket."""
        epoch, place = divmod(step, self.epoch)
        chosen, turn = self._order(epoch)[place]
        members = self.members[chosen]
        first = (epoch * len(members) + turn) * self.batch  # its place in the bucket's endless row of shuffled rounds
        rounds = {e // len(members): None for e in range(first, first + self.batch)}
        shuffled = {each: self._random("round", chosen, each, len(members)).argsort().tolist() for each in rounds}
        return [members[shuffled[e // len(members)][e % len(members)]] for e in range(first, first + self.batch)]

    def _order(self, epoch: int) -> list[tuple[int, int]]:
        """For each step of an epoch (bucket, how many of its batches came before). A bucket's steps are spread evenly."""
        if epoch not in self._orders:
            places = [(((k + u) / len(members)), b) for b, members in enumerate(self.members)
                      for k, u in enumerate(self._random("order", b, epoch, len(members)).tolist())]
            counts, order = [0] * len(self.members), []
            for _, b in sorted(places):
                order.append((b, counts[b]))
                counts[b] += 1
            self._orders = {epoch: order}
        return self._orders[epoch]

    def _random(self, what: str, one: int, other: int, count: int) -> torch.Tensor:
        generator = torch.Generator().manual_seed(int(key_of(what, self.seed, one, other)[:15], 16))
        return torch.rand(count, generator=generator, dtype=torch.float64)
