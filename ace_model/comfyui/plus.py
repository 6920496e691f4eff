"""ACE++ in ComfyUI: conditioning for core's Flux, and recognition of the full fine-tune (arXiv 2501.02487, section 3).

Core's FLUX.1-Fill reads noise 16 + canvas 16 + mask 64 = 96 channels, which is the LoRA models' input. The full
fine-tune has a modify latent between canvas and mask: 112. Written against ComfyUI 0.30: comfy/model_base.py (Flux),
comfy/supported_models.py (FluxInpaint).
"""

import logging

import comfy.lora
import comfy.model_base
import comfy.model_management
import comfy.supported_models
import node_helpers
import torch
from einops import rearrange
from torch import Tensor

from ..images import TOKEN
from ..plus import PlusError, split
from .conditioning import check_vae

LATENT = 16  # channels of Flux's VAE
FILL, FFT = 96, 112  # input channels before the 2×2 patches: 384 and 448 after
AUTO, WITH_LORA, WITH_FFT = "auto", "LoRA", "FFT"
WEIGHTS = (AUTO, WITH_LORA, WITH_FFT)
INPUT_KEY = "diffusion_model.img_in.weight"


class ACEPlus(comfy.model_base.Flux):
    """Core's Flux, which refuses conditioning without the second latent in a sentence instead of a matmul error."""

    def concat_cond(self, **kwargs):
        latents = kwargs.get("concat_latent_image")
        if latents is None:
            raise PlusError("this model is ACE++'s full fine-tune (448 inputs), but its conditioning has no canvas: "
                            "connect positive and negative of ACE++ Conditioning to the sampler.")
        if latents.shape[1] != 2 * LATENT:
            raise PlusError(f"this model is ACE++'s full fine-tune (448 inputs) and reads two latents, its "
                            f"conditioning has {latents.shape[1]} channels instead of {2 * LATENT}, as LoRA weights on "
                            "FLUX.1-Fill need: set weights to FFT (or auto) in ACE++ Conditioning, and use no other "
                            "inpainting conditioning.")
        return super().concat_cond(**kwargs)


class ACEPlusConfig(comfy.supported_models.FluxInpaint):
    """What core's model detection finds for the full fine-tune: like Fill, in bfloat16 or float32 but not float16."""

    unet_config = {**comfy.supported_models.FluxInpaint.unet_config, "in_channels": FFT}

    def get_model(self, state_dict, prefix="", device=None):
        dtype = self.unet_config.get("dtype")
        if dtype not in (None, *self.supported_inference_dtypes):
            logging.warning("ACE Editor: ACE++'s full fine-tune is loaded as %s; people report noise and red pictures "
                            "with fp8 and fp16. Choose weight_dtype default if you see them.", dtype)
        return ACEPlus(self, device=device)


def register() -> None:
    """Put the full fine-tune's configuration before core's Flux, which would take it for an fp16 model: once, whatever
    is imported again, and only while core has none of its own."""
    models, base = comfy.supported_models.models, comfy.supported_models.Flux
    models[:] = [config for config in models if config.__qualname__ != ACEPlusConfig.__qualname__]
    if not any(config.unet_config == ACEPlusConfig.unet_config for config in models):
        models.insert(models.index(base) if base in models else 0, ACEPlusConfig)


def conditioning(model, positive, negative, vae, canvas: Tensor, mask: Tensor, weights: str = AUTO,
                 batch_size: int = 1) -> tuple[list, list, dict]:
    """(positive, negative, empty latent) for a sampler.

    canvas (B, H, W, 3) in [0, 1], mask (B, H, W), from ACE++ Canvas · weights: LoRA, FFT or auto (as the model says) ·
    batch_size: results per canvas; those of one canvas follow each other. Raises PlusError.
    """
    weights = check_weights(model, weights)
    check_vae(vae, LATENT, needed=f"FLUX.1's ({LATENT} channels, 1/8), ae.safetensors")
    check_canvas(canvas, mask)
    pictures = split(canvas, mask.to(canvas)) if weights == WITH_FFT else (canvas,)
    latents = []
    for picture in pictures:
        comfy.model_management.throw_exception_if_processing_interrupted()
        latents.append(vae.encode(picture))
    latent = torch.cat(latents, dim=1).repeat_interleave(batch_size, dim=0)  # (B, 16 or 32, H/8, W/8)
    values = {"concat_latent_image": latent,
              "concat_mask": rearrange(mask, "b h w -> b 1 h w").repeat_interleave(batch_size, dim=0)}
    positive, negative = (node_helpers.conditioning_set_values(each, values) for each in (positive, negative))
    empty = torch.zeros(latent.shape[0], LATENT, *latent.shape[2:], device=comfy.model_management.intermediate_device())
    return positive, negative, {"samples": empty, "downscale_ratio_spacial": 8}


def check_weights(model, weights: str) -> str:
    """Which of LoRA and FFT the model is for. Raises PlusError if it is for neither, or not for what is asked."""
    channels = input_channels(model)
    if channels not in (FILL, FFT):
        kind = {16: "FLUX.1 dev, schnell or a like one", 32: "FLUX.1 Canny or Depth"}.get(channels, "another Flux")
        found = f"it is {type(model.model).__name__}" if channels is None else f"{channels * 4} inputs, {kind}"
        raise PlusError(f"model is no FLUX.1-Fill: {found}. ACE++'s LoRAs need flux1-fill-dev.safetensors (384 inputs) "
                        "under them, its full fine-tune is ace_plus_fft.safetensors (448 inputs). Load one of them.")
    fits = WITH_LORA if channels == FILL else WITH_FFT
    if weights not in (AUTO, fits):
        name = {WITH_LORA: "FLUX.1-Fill (384 inputs), on which the LoRAs work",
                WITH_FFT: "ACE++'s full fine-tune (448 inputs), which needs a second latent"}[fits]
        raise PlusError(f"weights is set to {weights}, but the model is {name}: set weights to {fits} or auto in ACE++ "
                        "Conditioning, or load the other model.")
    return fits


def input_channels(model) -> int | None:
    """Channels that a Flux reads, noise included, with LoRAs that widen the input; None if the model is no Flux."""
    base = model.model
    if not isinstance(base, comfy.model_base.Flux):
        return None
    try:
        weight = base.diffusion_model.img_in.weight
        width = comfy.lora.calculate_shape(model.patches.get(INPUT_KEY, []), weight, INPUT_KEY)[1]
        return width // base.diffusion_model.patch_size**2
    except AttributeError:  # engines that hide their weights
        return base.model_config.unet_config["in_channels"]


def check_canvas(canvas: Tensor, mask: Tensor) -> None:
    """Raise PlusError unless both are as ACE++ Canvas makes them."""
    height, width = canvas.shape[1:3]
    if height % TOKEN or width % TOKEN:
        raise PlusError(f"canvas is {width}×{height} pixels, sides must be multiples of {TOKEN}: connect canvas of "
                        "ACE++ Canvas, not the picture itself.")
    if mask.shape != canvas.shape[:3]:
        raise PlusError(f"mask is {' × '.join(map(str, mask.shape))}, canvas {' × '.join(map(str, canvas.shape[:3]))} "
                        "(batch, height, width): connect mask of the same ACE++ Canvas, not the painted mask.")
