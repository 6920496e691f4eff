"""The reference's schedule and guidance for ComfyUI's samplers (spec: ACE-0.6B, section 6)."""

import comfy.sample
import comfy.samplers
import latent_preview
import torch
from torch import Tensor

from ..diffusion import guide, trailing_timesteps
from .loader import defaults_of


def sigmas(model, steps: int, denoise: float = 1.0) -> Tensor:
    """Sigmas of the trailing timesteps, then 0: (steps + 1,). steps 0: the model's own number. denoise < 1 keeps the last
    `steps` of a longer schedule."""
    steps = steps or defaults_of(model).steps
    if denoise <= 0:
        return torch.zeros(0)
    total = max(steps, round(steps / denoise))
    timesteps = trailing_timesteps(min(total, 1000))[-steps:]
    table = model.get_model_object("model_sampling").sigmas.cpu()
    return torch.cat([table[timesteps], table.new_zeros(1)])


def with_guidance(model, rescale: float):
    """MODEL with rescaled guidance on eps. Works with any sampler; the sampler's cfg is the guidance."""
    def rescaled_guidance(args):
        return guide(args["cond"], args["uncond"], args["cond_scale"], rescale)  # eps times sigma: the scale cancels

    model = model.clone()
    model.set_model_sampler_cfg_function(rescaled_guidance)
    return model


def sample(model, positive, negative, latent: dict, seed: int, steps: int, guidance: float, rescale: float,
           denoise: float) -> dict:
    """Long-context sampling: euler over the trailing timesteps. Shows previews and can be interrupted."""
    out = latent.copy()
    out.pop("downscale_ratio_spacial", None)
    samples = comfy.sample.fix_empty_latent_channels(model, latent["samples"], latent.get("downscale_ratio_spacial"))
    schedule = sigmas(model, steps, denoise)
    if len(schedule) < 2:
        return {**out, "samples": samples}
    model = with_guidance(model, rescale)
    out["samples"] = comfy.sample.sample_custom(
        model, comfy.sample.prepare_noise(samples, seed, latent.get("batch_index")), guidance,
        comfy.samplers.sampler_object("euler"), schedule, positive, negative, samples,
        noise_mask=latent.get("noise_mask"), callback=latent_preview.prepare_callback(model, len(schedule) - 1),
        disable_pbar=False, seed=seed)
    return out
