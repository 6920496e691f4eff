"""The reference's schedule and guidance for ComfyUI's samplers (spec: ACE-0.6B, section 6)."""

import math
from collections.abc import Sequence

import comfy.model_sampling
import comfy.sample
import comfy.samplers
import comfy.utils
import latent_preview
import torch
from torch import Tensor

from ..diffusion import TIMESTEPS, rescaled, trailing_timesteps
from ..errors import InputError
from .loader import defaults_of
from .model import ACE

SAMPLERS = "euler", "lcm"  # of ComfyUI's: the reference's DDIM, and what a LoRA for few steps is sampled with


class ModelError(InputError):
    """A MODEL that ACE's schedule and guidance are not for."""


def check_model(model) -> None:
    """Raise ModelError unless `model` is an ACE model with noise levels by timestep."""
    if not isinstance(model.model, ACE):
        raise ModelError(f"model is {type(model.model).__name__}, not ACE: connect Load ACE Model. ACE's schedule and guidance "
                         "do not suit other models; for ACE++ on FLUX use KSampler.")
    sampling = model.get_model_object("model_sampling")
    if not isinstance(sampling, comfy.model_sampling.ModelSamplingDiscrete):
        raise ModelError(f"a patch gave the model noise levels of {type(sampling).__mro__[1].__name__}, but ACE was trained on "
                         f"{TIMESTEPS} discrete ones: remove that patch (ModelSampling…).")


def sigmas(model, steps: int, denoise: float = 1.0) -> Tensor:
    """Sigmas of the trailing timesteps, then 0: (steps + 1,). steps 0: the model's own number. denoise < 1 keeps the last
    `steps` of a longer schedule."""
    check_model(model)
    steps = steps or defaults_of(model).steps
    if denoise <= 0:
        return torch.zeros(0)
    total = max(steps, round(steps / denoise))
    timesteps = trailing_timesteps(min(total, 1000))[-steps:]
    sampling = model.get_model_object("model_sampling")
    table = sampling.sigmas.cpu()
    levels = table[timesteps] if len(table) == TIMESTEPS else sampling.sigma(timesteps).cpu()  # distilled: fewer levels
    return torch.cat([levels, table.new_zeros(1)])


def with_guidance(model, rescale: float):
    """MODEL with rescaled guidance on eps. Works with any sampler; the sampler's cfg is the guidance.

    It corrects what guidance came to, so it composes with patches that guide in their own way (RescaleCFG, RenormCFG,
    PerpNeg, …). Of two, the later counts.
    """
    check_model(model)

    def rescaled_guidance(args):
        if args["uncond_denoised"] is None or math.isclose(args["cond_scale"], 1.0):
            return args["denoised"]
        x = args["input"]  # eps times sigma is x - denoised: the scale cancels
        return x - rescaled(x - args["denoised"], x - args["cond_denoised"], rescale)

    rescaled_guidance.of_ace_editor = True
    model = model.clone()
    others = [f for f in model.model_options.get("sampler_post_cfg_function", ()) if not hasattr(f, "of_ace_editor")]
    model.model_options["sampler_post_cfg_function"] = others
    model.set_model_sampler_post_cfg_function(rescaled_guidance)
    return model


def check_sampler(name: str, where: str = "settings.sampler") -> None:
    """Raise ModelError for a sampler that this ComfyUI does not have."""
    if name not in comfy.samplers.SAMPLER_NAMES:
        raise ModelError(f"{where} is {name}, which this ComfyUI does not have: use euler, the reference's, or another that "
                         "KSamplerSelect lists.")


def noise_of(samples: Tensor, seeds: Sequence[int]) -> Tensor:
    """For a batch of latents (n, 4, h, w), each with the noise that its seed alone gives."""
    return torch.cat([comfy.sample.prepare_noise(each[None], seed) for each, seed in zip(samples, seeds, strict=True)])


def sample(model, positive, negative, latent: dict, seed: int, steps: int, guidance: float, rescale: float,
           denoise: float, sampler: str = SAMPLERS[0], noise: Tensor | None = None) -> dict:
    """Long-context sampling over the trailing timesteps. Shows previews and can be interrupted.

    sampler: of SAMPLERS, or another of core's · guidance 1 leaves out the pass over the negative ·
    noise: instead of the seed's.
    """
    out = latent.copy()
    out.pop("downscale_ratio_spacial", None)
    samples = comfy.sample.fix_empty_latent_channels(model, latent["samples"], latent.get("downscale_ratio_spacial"))
    schedule = sigmas(model, steps, denoise)
    if len(schedule) < 2:
        return {**out, "samples": samples}
    model = with_guidance(model, rescale)
    out["samples"] = comfy.sample.sample_custom(
        model, comfy.sample.prepare_noise(samples, seed, latent.get("batch_index")) if noise is None else noise, guidance,
        comfy.samplers.sampler_object(sampler), schedule, positive, negative, samples,
        noise_mask=latent.get("noise_mask"), callback=latent_preview.prepare_callback(model, len(schedule) - 1),
        disable_pbar=not comfy.utils.PROGRESS_BAR_ENABLED, seed=seed)
    return out
