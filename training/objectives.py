"""What is learned: a function from (network, batch, draws) to a loss. Everything of chance comes from `draws`."""

from collections.abc import Callable, Sequence
from functools import partial
from hashlib import sha256

import torch
from torch import Tensor

from ace_model.diffusion import TIMESTEPS, sigmas, training_loss

from .network import Batch, Network
from .settings import Settings


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


def ace(network: Network, batch: Batch, draws: Draws, min_snr: float = 0.0) -> Tensor:
    """The paper's: mean squared error of the target's noise, timesteps uniform, clean conditions (section 2.3).

    min_snr: γ of arXiv 2303.09556: an error at a signal-to-noise ratio above it counts γ / ratio. 0: every error counts alike.
    """
    clean = batch.latents[0]
    timestep, noise = draws.integers(TIMESTEPS).to(clean.device), draws.normal(clean.shape[1:]).to(clean.device)
    prepared = network.prepare(batch.texts, batch.names)
    weight = (min_snr * sigmas().to(clean.device)[timestep] ** 2).clamp(max=1).reshape(-1, 1, 1, 1) if min_snr else None
    return training_loss(lambda x, t: network.eps(x, t, batch, prepared), clean, timestep=timestep, noise=noise, weight=weight)


Objective = Callable[[Network, Batch, Draws], Tensor]
OBJECTIVES: dict[str, Objective] = {"ace": ace}


def objective_of(settings: Settings) -> Objective:
    """With its own settings."""
    own = {"ace": {"min_snr": settings.train.min_snr}}.get(settings.train.objective, {})
    return partial(OBJECTIVES[settings.train.objective], **own)
