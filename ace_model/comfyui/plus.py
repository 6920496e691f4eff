"""ACE++ in ComfyUI: conditioning for core's Flux, and recognition of the full fine-tune (arXiv 2501.02487, section 3).

Core's FLUX.1-Fill reads noise 16 + canvas 16 + mask 64 = 96 channels, and so do the LoRAs. The full fine-tune reads a
modify latent between canvas and mask: 112. Written against ComfyUI 0.30: comfy/model_base.py (Flux),
comfy/supported_models.py (FluxInpaint).
"""

import logging

import comfy.lora
import comfy.model_base
import comfy.model_management
import comfy.supported_models
import comfy.text_encoders.flux
import node_helpers
import torch
from einops import rearrange
from torch import Tensor

from .. import plus_text
from ..images import TOKEN
from ..plus import PlusError, split
from ..text import clean
from .conditioning import check_vae

LATENT = 16  # channels of Flux's VAE
FILL, FFT = 96, 112  # input channels before the 2×2 patches: 384 and 448 after
AUTO, WITH_LORA, WITH_FFT = "auto", "LoRA", "FFT"
WEIGHTS = (AUTO, WITH_LORA, WITH_FFT)
INPUT_KEY = "diffusion_model.img_in.weight"


class ACEPlus(comfy.model_base.Flux):
    """Core's Flux with a clear error, instead of a matmul error, for conditioning without the second latent."""

    def concat_cond(self, **kwargs):
        latents = kwargs.get("concat_latent_image")
        if latents is None:
            raise PlusError("this model is ACE++'s full fine-tune (448 inputs), but its conditioning has no canvas: "
                            "connect positive and negative of ACE++ Conditioning to the sampler.")
        if latents.shape[1] != 2 * LATENT:
            raise PlusError(f"this model is ACE++'s full fine-tune (448 inputs) and reads two latents, but its "
                            f"conditioning has {latents.shape[1]} channels instead of {2 * LATENT}: set weights to FFT (or "
                            "auto) in ACE++ Conditioning, and do not use another node's inpainting conditioning.")
        return super().concat_cond(**kwargs)


class ACEPlusConfig(comfy.supported_models.FluxInpaint):
    """What core's model detection finds for the full fine-tune: like Fill, in bfloat16 or float32 but not float16."""

    unet_config = {**comfy.supported_models.FluxInpaint.unet_config, "in_channels": FFT}

    def get_model(self, state_dict, prefix="", device=None):
        dtype = self.unet_config.get("dtype")
        if dtype not in (None, *self.supported_inference_dtypes):
            logging.warning("ACE Editor: ACE++'s full fine-tune is loaded as %s; people report noise and red pictures "
                            "with fp8 and fp16. If you see them, set weight_dtype to default.", dtype)
        return ACEPlus(self, device=device)


def register() -> None:
    """Put the full fine-tune's configuration before core's Flux, which would run it in fp16. Does nothing if core has such a
    configuration itself. Calling it again changes nothing."""
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
    check_flux_vae(vae)
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


def check_flux_vae(vae) -> None:
    """Raises VAEError."""
    check_vae(vae, LATENT, needed=f"FLUX.1's VAE ({LATENT} channels, 1/8 of the size), ae.safetensors")


def check_weights(model, weights: str) -> str:
    """LoRA or FFT, whichever the model is for. Raises PlusError if it is for neither, or not for the requested one."""
    channels = input_channels(model)
    if channels not in (FILL, FFT):
        kind = {16: "like FLUX.1 dev or schnell", 32: "like FLUX.1 Canny or Depth"}.get(channels, "unlike any FLUX.1 model")
        found = f"it is {type(model.model).__name__}" if channels is None else f"it has {channels * 4} inputs, {kind}"
        raise PlusError(f"model is not FLUX.1-Fill: {found}. Load flux1-fill-dev.safetensors (384 inputs) with one of ACE++'s "
                        "LoRAs, or the full fine-tune ace_plus_fft.safetensors (448 inputs).")
    fits = WITH_LORA if channels == FILL else WITH_FFT
    if weights not in (AUTO, fits):
        name = {WITH_LORA: "FLUX.1-Fill (384 inputs), which the LoRAs are for",
                WITH_FFT: "ACE++'s full fine-tune (448 inputs), which needs a second latent"}[fits]
        raise PlusError(f"weights is set to {weights}, but the model is {name}: set weights to {fits} or auto in ACE++ "
                        "Conditioning, or load the other model.")
    return fits


def input_channels(model) -> int | None:
    """Channels that a Flux reads, noise and input-widening LoRAs included; None if the model is not a Flux."""
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
    """Raise PlusError unless both look like the outputs of ACE++ Canvas."""
    height, width = canvas.shape[1:3]
    if height % TOKEN or width % TOKEN:
        raise PlusError(f"canvas is {width}×{height} pixels, but its sides must be multiples of {TOKEN}: connect canvas of "
                        "ACE++ Canvas, not the picture itself.")
    if mask.shape != canvas.shape[:3]:
        raise PlusError(f"mask is {' × '.join(map(str, mask.shape))}, but canvas is {' × '.join(map(str, canvas.shape[:3]))} "
                        "(batch, height, width): connect mask of the same ACE++ Canvas, not the painted mask.")


def encode_text(clip, text: str, guidance: float) -> list:
    """CONDITIONING of an instruction as ACE++ was trained to read it: T5 features (1, 512, width), CLIP-L's pooled output,
    and the distilled guidance. Raises PlusError."""
    t5, clip_l = tokenizers_of(clip)
    text = clean(text)
    ids, cut = plus_text.fit(plus_text.tokens(text, lambda piece: t5(piece)["input_ids"]), plus_text.T5_LENGTH,
                             plus_text.T5_END, plus_text.T5_PAD)
    if cut:
        logging.warning("ACE Editor: the text of ACE++ Text Encode has %d tokens, %d are read. This part is cut off: %s",
                        len(ids) + len(cut), len(ids), plus_text.spell(cut, t5.decode))
    # The authors hand the same text to both encoders, the names in it as well; CLIP-L has no tokens for them and reads
    # brace, word, brace. Both read their padding: no attention mask.
    pooled = clip_l(text)["input_ids"]
    end = pooled[-1]
    pooled, _ = plus_text.fit(pooled, plus_text.CLIP_LENGTH, end, end)
    tokens = {"t5xxl": [[(one, 1.0) for one in ids]], "l": [[(one, 1.0) for one in pooled]]}
    return clip.encode_from_tokens_scheduled(tokens, add_dict={"guidance": guidance})


def tokenizers_of(clip) -> tuple:
    """transformers' tokenizers of T5 and CLIP-L in a Flux CLIP. Raises PlusError for any other."""
    advice = "Use DualCLIPLoader with clip_l.safetensors, a t5xxl file and type flux."
    if clip is None:
        raise PlusError(f"clip is empty: the checkpoint has no text encoder. {advice}")
    model = clip.cond_stage_model
    if not isinstance(model, comfy.text_encoders.flux.FluxClipModel):
        lacks = [label for name, label in (("t5xxl", "T5-XXL"), ("clip_l", "CLIP-L")) if getattr(model, name, None) is None]
        reason = f"has no {' and no '.join(lacks)}" if lacks else "is no text encoder of Flux"
        raise PlusError(f"clip {reason} (found {type(model).__name__}). {advice}")
    rows = model.t5xxl.transformer.get_input_embeddings().weight.shape[0]
    if rows != plus_text.ROWS:
        raise PlusError(f"the T5 in clip knows {rows} words, ACE++ needs T5 v1.1's {plus_text.ROWS}: image names are words "
                        f"{plus_text.FIRST} and up. {advice}")
    return clip.tokenizer.t5xxl.tokenizer, clip.tokenizer.clip_l.tokenizer
