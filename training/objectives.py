"""What is learned: a function from (network, batch, draws) to a loss. Everything of chance comes from `draws`."""

from collections.abc import Callable
from functools import partial

from torch import Tensor

from ace_model.diffusion import TIMESTEPS, sigmas, training_loss

from . import plus
from .consistency import consistency
from .draws import Draws
from .network import Batch, Network
from .settings import Settings


def ace(network: Network, batch: Batch, draws: Draws, min_snr: float = 0.0) -> Tensor:
    """The paper's: mean squared error of the target's noise, timesteps uniform, clean conditions (section 2.3).

    min_snr: γ of arXiv 2303.09556: an error at a signal-to-noise ratio above it counts γ / ratio. 0: every error counts alike.
    """
    clean = batch.latents[0]
    timestep, noise = draws.integers(TIMESTEPS).to(clean.device), draws.normal(clean.shape[1:]).to(clean.device)
    prepared = network.prepare(batch.texts, batch.names)
    weight = (min_snr * sigmas().to(clean.device)[timestep] ** 2).clamp(max=1).reshape(-1, 1, 1, 1) if min_snr else None
    return training_loss(lambda x, t: network.eps(x, t, batch, prepared), clean, timestep=timestep, noise=noise, weight=weight)


Objective = Callable[[Network | plus.Network, Batch, Draws], Tensor]
OBJECTIVES: dict[str, Objective] = {"ace": ace, "consistency": consistency, "plus": plus.objective}  # by train.objective


def objective_of(settings: Settings) -> Objective:
    """With its own settings."""
    own = {"ace": {"min_snr": settings.train.min_snr}, "consistency": {"options": settings.consistency}}
    return partial(OBJECTIVES[settings.train.objective], **own.get(settings.train.objective, {}))
