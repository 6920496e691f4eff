"""What is learned: a function from (network, batch, draws) to a loss. Everything of chance comes from `draws`."""

from collections.abc import Callable
from functools import partial

from torch import Tensor

from ace_model.diffusion import TIMESTEPS, training_loss

from .consistency import consistency
from .draws import Draws
from .network import Batch, Network
from .settings import Settings


def ace(network: Network, batch: Batch, draws: Draws) -> Tensor:
    """The paper's: mean squared error of the target's noise, timesteps uniform, clean conditions (section 2.3)."""
    clean = batch.latents[0]
    timestep, noise = draws.integers(TIMESTEPS).to(clean.device), draws.normal(clean.shape[1:]).to(clean.device)
    prepared = network.prepare(batch.texts, batch.names)
    return training_loss(lambda x, t: network.eps(x, t, batch, prepared), clean, timestep=timestep, noise=noise)


Objective = Callable[[Network, Batch, Draws], Tensor]
OBJECTIVES: dict[str, Objective] = {"ace": ace, "consistency": consistency}  # by the name in train.objective


def objective_of(settings: Settings) -> Objective:
    """With its own settings."""
    own = {"consistency": {"options": settings.consistency}}.get(settings.train.objective, {})
    return partial(OBJECTIVES[settings.train.objective], **own)
