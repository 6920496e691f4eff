"""Few steps: latent consistency distillation into a LoRA (arXiv 2310.04378; as a LoRA, 2311.05556).

The student leaps from any noise level to the clean latent. What it is taught: wherever it stands on the teacher's path from
noise to picture, it leaps to the same place. Choices:

- Teacher: the same network with its LoRA switched off. It guides and the student does not, so that one pass does for two. The
  guidance is fixed, for the network has no input that could tell it of another.
- Solver: one DDIM step from t to t − 1000/solver, so that the path is the one that `solver` steps of the reference's sampler
  take. The last step ends at the clean latent, and there the teacher's answer is the target.
- No c_skip and c_out: they would differ from 0 and 1 only below the last timestep that is ever visited, and without them the
  student samples with ComfyUI's `lcm` and no patch.
- Target: the student itself, without a gradient, as in diffusers' trainer for LCM-LoRA and as arXiv 2310.14189 found best.
- Timesteps: the solver's, and more often those that sampling in `steps` visits, for nothing else is ever asked.
- Loss: pseudo-Huber on the clean latent over σ^damping. The error of the clean latent is σ times that of eps, and σ is 157 at
  the noisiest end: undamped, the first timestep drowns all others, and with damping 1 hardly counts.
"""

import torch
from torch import Tensor

from ace_model.diffusion import TIMESTEPS, add_noise, clean_of, guide, sigmas, trailing_timesteps

from . import lora
from .draws import Draws
from .network import Batch, Network
from .settings import Consistency


def consistency(network: Network, batch: Batch, draws: Draws, options: Consistency) -> Tensor:
    """How far apart the student's leaps from neighbouring points of the teacher's path end. batch: with `negatives`."""
    clean = batch.latents[0]
    timestep = timesteps(draws, options).to(clean.device)
    noisy = add_noise(clean, draws.normal(clean.shape[1:]).to(clean.device), timestep)
    with torch.no_grad():
        wanted = target(network, batch, noisy, timestep, options)
    found = clean_of(noisy, predicted(network, batch, noisy, timestep), timestep)
    distance = ((found - wanted).square() + options.huber**2).sqrt() - options.huber
    weight = sigmas().to(clean.device)[timestep].clamp(min=1) ** -options.damping  # (B,)
    return (weight * distance.flatten(1).mean(1)).mean()


def timesteps(draws: Draws, options: Consistency) -> Tensor:
    """(B,) integers."""
    path = trailing_timesteps(options.solver)[draws.integers(options.solver)]
    visited = torch.cat([trailing_timesteps(steps) for steps in options.steps])
    return torch.where(draws.uniform() < options.share, visited[draws.integers(len(visited))], path)


def target(network: Network, batch: Batch, noisy: Tensor, timestep: Tensor, options: Consistency) -> Tensor:
    """Where the student leaps to from one step of the teacher further on."""
    with lora.without(network.dit):
        eps = predicted(network, batch, noisy, timestep)
        if options.guidance != 1:
            eps = guide(eps, predicted(network, batch, noisy, timestep, batch.negatives), options.guidance, options.rescale)
    clean = clean_of(noisy, eps, timestep)
    later = timestep - TIMESTEPS // options.solver
    ended, later = (later < 0).reshape(-1, *[1] * (clean.ndim - 1)), later.clamp(min=0)
    noisy = add_noise(clean, eps, later)
    return torch.where(ended, clean, clean_of(noisy, predicted(network, batch, noisy, later), later))


def predicted(network: Network, batch: Batch, noisy: Tensor, timestep: Tensor, texts: list[list[str]] | None = None) -> Tensor:
    """eps in float32. texts: instead of the batch's."""
    return network.eps(noisy, timestep, batch, network.prepare(texts or batch.texts, batch.names)).float()
