"""What a MODEL makes of a latent that is known: the error of its predicted noise, without a sampling run.

In a run nobody can tell which part of a bad picture is whose fault. Here the clean latent is given, noise is added to it, and
the model must say which: that is the loss it was trained with (arXiv 2410.00086, section 2.3).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import comfy.model_management
import comfy.sample
import comfy.samplers
import torch
from torch import Tensor

from .sampling import check_model


@dataclass(frozen=True)
class Errors:
    """Per noise level, the mean squared error of the predicted noise in units of the noise's own mean square.

    model: the model's · blind: that of the best guess without a model, which knows how strong the latent is and nothing else.
    """

    model: tuple[float, ...]
    blind: tuple[float, ...]


def errors(model, positive: list, clean: Tensor, timesteps: Sequence[int], seed: int) -> Errors:
    """The errors for one clean latent (1, 4, h, w), unscaled as the VAE gives it, under a positive conditioning.

    timesteps: of 1000; all are asked at once. Every level has noise of its own; the same seed and size give the same noise.
    Raises ModelError.
    """
    check_model(model)
    comfy.model_management.throw_exception_if_processing_interrupted()
    levels = model.get_model_object("model_sampling").sigmas.cpu()[list(timesteps)]
    noise = torch.cat([torch.randn(clean.shape, generator=torch.Generator().manual_seed(seed + t)) for t in timesteps])
    found: list[Errors] = []

    def look(denoise, x, sigmas, extra_args=None, **_):
        latent, added, sigma = denoise.latent_image, noise.to(x), levels.to(x)
        level = sigma.reshape(-1, 1, 1, 1)
        noisy = latent + level * added
        predicted = (noisy - denoise(noisy, sigma, **extra_args)) / level
        blind = noisy * level / (level**2 + latent.square().mean())
        found.append(Errors(*(relative(guess, added) for guess in (predicted, blind))))
        return latent

    comfy.sample.sample_custom(model, noise, 1.0, comfy.samplers.KSAMPLER(look), torch.tensor([float(levels.max()), 0.0]),
                               positive, positive, clean.expand_as(noise), disable_pbar=True, seed=seed)
    return found[0]


def relative(guess: Tensor, noise: Tensor) -> tuple[float, ...]:
    dims = tuple(range(1, noise.ndim))
    return tuple(((guess - noise).square().mean(dims) / noise.square().mean(dims)).tolist())
