"""What is learned: a function from (network, batch, draws) to a loss. Everything of chance comes from `draws`."""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from ace_model.diffusion import TIMESTEPS, add_noise, sigmas, training_loss

from . import lora, plus
from .consistency import consistency, predicted
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
    return training_loss(lambda x, t: network.eps(x, t, batch, prepared), clean, timestep=timestep, noise=noise,
                         weight=weight(timestep, min_snr))


def weight(timestep: Tensor, min_snr: float) -> Tensor | None:
    """(B, 1, 1, 1), of an error in eps. None: every one counts alike."""
    return (min_snr * sigmas().to(timestep.device)[timestep] ** 2).clamp(max=1).reshape(-1, 1, 1, 1) if min_snr else None


def preservation(network: Network, batch: Batch, draws: Draws, min_snr: float = 0.0) -> Tensor:
    """How far the LoRA has moved the answer to a request: mean squared difference of the noise that the network finds with and
    without it (as arXiv 1606.09282 keeps old tasks). It is 0 before training, and asks for no answer but the model's own."""
    clean = batch.latents[0]
    timestep = draws.integers(TIMESTEPS).to(clean.device)
    noisy = add_noise(clean, draws.normal(clean.shape[1:]).to(clean.device), timestep)
    with torch.no_grad(), lora.without(network.dit):
        wanted = predicted(network, batch, noisy, timestep)
    moved = (predicted(network, batch, noisy, timestep) - wanted).square()
    counts = weight(timestep, min_snr)
    return (moved if counts is None else counts * moved).mean()


Objective = Callable[[Network | plus.Network, Batch, Draws], Tensor]
OBJECTIVES: dict[str, Objective] = {"ace": ace, "consistency": consistency, "plus": plus.objective}  # by train.objective


def objective_of(settings: Settings) -> Objective:
    """With its own settings."""
    own = {"ace": {"min_snr": settings.train.min_snr}, "consistency": {"options": settings.consistency}}
    return partial(OBJECTIVES[settings.train.objective], **own.get(settings.train.objective, {}))
