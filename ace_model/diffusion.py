"""Diffusion: noise schedule, trailing timesteps, guidance, DDIM, training loss (spec: ACE-0.6B, sections 6 and 7)."""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

TIMESTEPS = 1000
GUIDANCE, RESCALE, STEPS = 4.5, 0.5, 20  # the 512px model's defaults; the 1024px model uses 50 steps


def signal_and_noise() -> tuple[Tensor, Tensor]:
    """√ᾱ and √(1 − ᾱ) of the linear schedule β = 1e-4 … 0.02: (1000,) each.

    Like the reference, this keeps √(1 − ᾱ) in float32 and derives the other from it, which moves the noisiest steps by
    up to 8e-4 compared to exact arithmetic.
    """
    alphas = (1 - torch.linspace(1e-4, 0.02, TIMESTEPS, dtype=torch.float32)).cumprod(0)
    noise = (1 - alphas).sqrt()
    return (1 - noise**2).sqrt(), noise


def sigmas() -> Tensor:
    """The schedule as noise over signal: (1000,), rising to 157.5. This is the convention of k-samplers."""
    signal, noise = signal_and_noise()
    return noise / signal


def trailing_timesteps(steps: int) -> Tensor:
    """(steps,) integers, falling from 999: 20 steps are 999, 949, … 49. Raises ValueError outside 1…1000."""
    if not 1 <= steps <= TIMESTEPS:
        raise ValueError(f"steps is {steps}, but the schedule has {TIMESTEPS} timesteps: use 1 to {TIMESTEPS}.")
    return torch.arange(TIMESTEPS, 0, -TIMESTEPS / steps, dtype=torch.float64)[:steps].round().long() - 1


def guide(cond: Tensor, uncond: Tensor, guidance: float = GUIDANCE, rescale: float = RESCALE) -> Tensor:
    """Classifier-free guidance on eps with rescaled spread (arXiv 2305.08891, section 3.4, on eps as ACE does).

    cond, uncond (B, …): eps, or any scalar multiple of it. guidance 1 returns cond unscaled.
    """
    if math.isclose(guidance, 1):
        return cond
    return rescaled(uncond + guidance * (cond - uncond), cond, rescale)


def rescaled(guided: Tensor, cond: Tensor, rescale: float = RESCALE) -> Tensor:
    """Guided eps (B, …) with its spread brought back toward that of cond."""
    dims = tuple(range(1, cond.ndim))
    ratio = cond.std(dims, keepdim=True) / (guided.std(dims, keepdim=True) + 1e-12)
    return guided * (rescale * ratio + (1 - rescale))


def ddim(eps: Callable[[Tensor, Tensor], Tensor], x: Tensor, steps: int = STEPS) -> Tensor:
    """Sample with DDIM, eta 0. eps(x, timestep (B,)) → guided noise; x: start noise (B, …) → latents (B, …)."""
    signal, noise = (table.to(x.device) for table in signal_and_noise())
    timesteps = trailing_timesteps(steps)
    for i, t in enumerate(timesteps):
        predicted = eps(x, t.expand(len(x)).to(x.device))
        x = (x - noise[t] * predicted) / signal[t]  # the clean latent that the prediction implies
        if i + 1 < steps:
            x = signal[timesteps[i + 1]] * x + noise[timesteps[i + 1]] * predicted
    return x


def lcm(eps: Callable[[Tensor, Tensor], Tensor], x: Tensor, steps: int, generator: torch.Generator | None = None) -> Tensor:
    """Sample a network that leaps to the clean latent, as ComfyUI's sampler `lcm` does over the trailing timesteps.

    eps, x as for `ddim`. Multistep consistency sampling (arXiv 2303.01469, algorithm 1): every clean latent but the last gets
    fresh noise, from `generator`, of the next timestep.
    """
    timesteps = trailing_timesteps(steps)
    for i, t in enumerate(t.expand(len(x)).to(x.device) for t in timesteps):
        x = clean_of(x, eps(x, t), t)
        if i + 1 < steps:
            fresh = torch.randn(x.shape, generator=generator, dtype=x.dtype, device=generator.device if generator else x.device)
            x = add_noise(x, fresh.to(x.device), timesteps[i + 1].expand(len(x)).to(x.device))
    return x


def clean_of(noisy: Tensor, eps: Tensor, timestep: Tensor) -> Tensor:
    """The clean latent that a prediction implies, (noisy − √(1 − ᾱ)·eps) / √ᾱ; noisy, eps (B, …), timestep (B,) integers."""
    signal, spread = levels(timestep, noisy.ndim)
    return (noisy - spread * eps) / signal


def levels(timestep: Tensor, dims: int) -> tuple[Tensor, Tensor]:
    """√ᾱ and √(1 − ᾱ) at timestep (B,), shaped (B, 1, …) with so many dimensions."""
    return tuple(table.to(timestep.device)[timestep].reshape(-1, *[1] * (dims - 1)) for table in signal_and_noise())


def add_noise(clean: Tensor, noise: Tensor, timestep: Tensor) -> Tensor:
    """√ᾱ·clean + √(1 − ᾱ)·noise; clean, noise (B, …), timestep (B,) integers."""
    signal, spread = levels(timestep, clean.ndim)
    return signal * clean + spread * noise


def training_loss(eps: Callable[[Tensor, Tensor], Tensor], clean: Tensor, generator: torch.Generator | None = None,
                  timestep: Tensor | None = None, weight: Tensor | None = None, noise: Tensor | None = None) -> Tensor:
    """Mean squared error of the target's eps, timesteps uniform (arXiv 2410.00086, section 2.3); a scalar.

    eps(noisy (B, …), timestep (B,)) predicts the noise; the conditions it closes over stay clean.
    timestep (B,) integers: use these instead of uniform ones · weight: factor for each value's squared error, broadcast
    to (B, …) · noise (B, …): use this instead of the generator's.
    """
    if timestep is None:
        timestep = torch.randint(TIMESTEPS, (len(clean),), generator=generator, device=clean.device)
    if noise is None:
        noise = torch.randn(clean.shape, generator=generator, device=clean.device, dtype=clean.dtype)
    predicted = eps(add_noise(clean, noise, timestep), timestep)
    if weight is None:
        return F.mse_loss(predicted.float(), noise.float())
    return (weight * (predicted.float() - noise.float()).square()).mean()
