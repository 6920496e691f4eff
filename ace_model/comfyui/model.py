"""ACE as ComfyUI sees it: `BaseModel` with flat conds, and `DiT` with the hooks that other packs use.

Written against ComfyUI 0.30: comfy/model_base.py (QwenImage), comfy/ldm/mage_flow/model.py for the block patches.
"""

import math
from functools import partial

import comfy.conds
import comfy.latent_formats
import comfy.model_base
import comfy.model_management
import comfy.patcher_extension
import comfy.supported_models_base
import comfy.text_encoders.pixart_t5
import comfy.text_encoders.sd3_clip
import torch
import torch.nn.functional as F
from comfy.cli_args import args
from comfy.ldm.common_dit import pad_to_patch_size
from comfy.ldm.modules.attention import attention_pytorch, attention_sub_quad, optimized_attention
from comfy.quant_ops import QUANT_ALGOS

from .. import diffusion
from ..checkpoint import t5_config
from ..config import HEAD_WIDTH, HEADS, ACEConfig
from ..dit import DiT
from ..errors import InputError
from ..layers import target_only
from ..planner import MARGIN, activation_bytes
from ..reuse import ContextReuse, kept_bytes
from ..soundness import warn
from .attention import EVERY_FRAME

FRAMES = "ace_frames"  # conditioning key: flat dict of tensors, made by conditioning.py
REUSE = "ace_context_reuse"  # key in transformer_options and in marked conditioning, see reuse.py


class ConditioningError(InputError):
    """Conditioning or a latent that ACE cannot sample with."""


class ComfyDiT(DiT):
    """DiT with ComfyUI's layers, attention, wrappers and block patches."""

    def __init__(self, image_model=None, dtype=None, device=None, operations=None, **config):
        super().__init__(ACEConfig(**config), ops=operations, dtype=dtype, device=device)
        self.dtype = dtype
        self.in_channels = self.config.latent_channels  # RenormCFG reads it

    def forward(self, x, timestep, context=None, target_mask=None, images=(), masks=(), texts=(), names=None,
                indicators=None, transformer_options=None, **kwargs):
        """x first and transformer_options last: EasyCache and other wrappers look for them there."""
        return comfy.patcher_extension.WrapperExecutor.new_class_executor(
            self._forward, self, comfy.patcher_extension.get_all_wrappers(
                comfy.patcher_extension.WrappersMP.DIFFUSION_MODEL, transformer_options or {}),
        ).execute(x, timestep, context, target_mask, images, masks, texts, names, indicators, transformer_options or {})

    def _forward(self, x, timestep, context, target_mask, images, masks, texts, names, indicators, transformer_options):
        texts = [context, *texts]
        fixed = names is not None  # else weights may change from step to step
        if not fixed:
            texts, names = self.project_text(texts, indicators)
        out = super().forward(self.whole(x), timestep, self.whole(target_mask), [self.whole(image) for image in images],
                              [self.whole(mask) for mask in masks], texts, names, self.reuse(transformer_options, fixed),
                              transformer_options.get("uuids", ("",)), transformer_options=transformer_options)
        return out[..., :x.shape[-2], :x.shape[-1]]

    @staticmethod
    def reuse(options: dict, fixed: bool) -> ContextReuse | None:
        """The run's context reuse, unless something looks into blocks or changes them."""
        reuse = options.get(REUSE)
        if not isinstance(reuse, ContextReuse):
            return None
        reasons = {"weights change from step to step": not fixed,
                   "a patch replaces blocks": options.get("patches_replace", {}).get("dit"),
                   "a patch adds to blocks": options.get("patches", {}).get("double_block"),
                   "a patch replaces attention": options.get("optimized_attention_override"),
                   "the picture is sampled in windows": options.get("context_window")}
        for reason in (reason for reason, found in reasons.items() if found):
            if reason not in reuse.refused:
                reuse.refused.add(reason)
                warn(f"ACE Context Reuse is off where {reason}. Those steps take their full time.")
            return None
        return reuse

    def whole(self, x):
        """Widened by its last row and column to whole patches, as core does for other transformers. ACE's sizes need none."""
        patch = self.config.patch_size
        return pad_to_patch_size(x, (patch, patch), padding_mode="replicate")

    def run_blocks(self, x, y, t0, rope, lengths, call, transformer_options):
        """The blocks in order, each open to replacement (`patches_replace`) and to additions (`patches`). The last computes the
        target alone where no patch sees it."""
        attend = attention_on(x.device)

        def attention(q, k, v):
            return attend(q, k, v, q.shape[1], mask=None, skip_reshape=True, transformer_options=transformer_options)

        replacements = transformer_options.get("patches_replace", {}).get("dit", {})
        additions = transformer_options.get("patches", {}).get("double_block", [])
        last = len(self.blocks) - 1
        whole = additions or ("double_block", last) in replacements or transformer_options.get(EVERY_FRAME)
        transformer_options["total_blocks"] = len(self.blocks)
        transformer_options["block_type"] = "double"
        for i, block in enumerate(self.blocks):
            transformer_options["block_index"] = i
            if i == last and not whole:
                lengths = target_only(lengths)
            if ("double_block", i) in replacements:
                def original(args, block=block, lengths=lengths):
                    return {"img": block(args["img"], args["txt"], args["vec"], args["pe"], lengths, attention),
                            "txt": args["txt"]}
                args = {"img": x, "txt": y, "vec": t0, "pe": rope, "transformer_options": transformer_options}
                out = replacements[("double_block", i)](args, {"original_block": original})
                x, y = out["img"], out.get("txt", y)
            else:
                x = block(x, y, t0, rope, lengths, attention, call and partial(call, i))
            for patch in additions:
                out = patch({"img": x, "txt": y, "block_index": i, "transformer_options": transformer_options})
                x, y = out["img"], out["txt"]
        return x


def attention_on(device: torch.device):
    """Core's choice of attention, or PyTorch's kernel on a CPU unless the user chose there.

    Core leaves that kernel to graphics cards. On a CPU, at 4096 tokens, it takes 0.41 of the time in float32, the same in
    bfloat16 and 0.04 in float16 (PyTorch 2.11).
    """
    free = device.type == "cpu" and optimized_attention is attention_sub_quad and not args.use_quad_cross_attention
    return attention_pytorch if free else optimized_attention


class ACE(comfy.model_base.BaseModel):
    """eps prediction on the reference's schedule; condition frames are passed as flat lists."""

    def __init__(self, model_config, device=None):
        super().__init__(model_config, comfy.model_base.ModelType.EPS, device=device, unet_model=ComfyDiT)
        self.model_sampling.set_sigmas(diffusion.sigmas())

    def extra_conds(self, **kwargs):
        """Conditioning → conds of the forward pass. Text is projected here, once per prompt, unless weights may change
        between steps (weight hooks, training)."""
        text, frames = kwargs.get("cross_attn"), kwargs.get(FRAMES)
        config = self.diffusion_model.config
        if text is None or frames is None:
            raise ConditioningError("this conditioning does not come from ACE Image Indicator: connect positive and negative "
                                    "of ACE Image Indicator to the sampler. Other models' text encode nodes do not work with "
                                    "ACE.")
        if text.shape[-1] != config.text_width:
            raise ConditioningError(f"the text encoder's features have width {text.shape[-1]}, but this model needs "
                                    f"{config.text_width}: load the text encoder that belongs to the model (T5 v1.1 XXL has "
                                    "4096).")
        noise, device = kwargs["noise"], kwargs["device"]
        if noise.ndim != 4 or noise.shape[1] != config.latent_channels:
            raise ConditioningError(f"the latent has shape {tuple(noise.shape)}, but ACE samples (batch, "
                                    f"{config.latent_channels}, height / 8, width / 8): connect latent of ACE Image Indicator, "
                                    "or VAE Encode with Stable Diffusion 1.x's VAE.")
        count = sum(key.startswith("image.") for key in frames)
        images = [frames[f"image.{i}"] for i in range(count)]
        masks = [frames[f"mask.{i}"] for i in range(count)]
        texts = [frames[f"text.{i}"] for i in range(count)]
        for latent in kwargs.get("reference_latents") or ():  # core's ReferenceLatent: one more image of this turn
            images.append(latent)
            masks.append(torch.ones_like(latent[:, :1]))
            texts.append(text)
        if len(images) >= frames["indicators"].shape[1]:
            raise ConditioningError(f"there are {len(images)} condition images, but ACE takes at most "
                             f"{frames['indicators'].shape[1] - 1}: remove reference latents or earlier turns.")
        target_mask = frames["target_mask"]
        if target_mask.shape[-2:] != noise.shape[-2:]:
            target_mask = F.interpolate(target_mask, size=noise.shape[-2:], mode="nearest-exact")

        indicators, names = frames["indicators"], None
        if not (kwargs.get("hooks") or torch.is_grad_enabled()):
            dtype = self.get_dtype_inference()
            (text, *texts), names = self.diffusion_model.project_text(
                [t.to(device, dtype) for t in (text, *texts)], indicators.to(device, dtype))
        out = {
            "c_crossattn": comfy.conds.CONDRegular(text),
            "target_mask": comfy.conds.CONDNoiseShape(target_mask),  # cropped with the noise where a cond has an area
            "images": comfy.conds.CONDList([self.process_latent_in(image) for image in images]),
            "masks": comfy.conds.CONDList(masks),
            "texts": comfy.conds.CONDList(texts),
        }
        out |= {"indicators": comfy.conds.CONDRegular(indicators)} if names is None else {
            "names": comfy.conds.CONDRegular(names)}
        return {key: _to(cond, device) for key, cond in out.items()}

    def extra_conds_shapes(self, **kwargs):
        """Condition frames for ComfyUI's memory estimate: [1, 4, cells], and the same as "kept" if context reuse keeps them."""
        latents = [value for key, value in (kwargs.get(FRAMES) or {}).items() if key.startswith("image.")]
        latents += kwargs.get("reference_latents") or ()
        shape = [1, 4, sum(math.prod(x.shape[-2:]) for x in latents)]
        return ({"images": shape} | ({"kept": shape} if kwargs.get(REUSE) else {})) if latents else {}

    def memory_required(self, input_shape, cond_shapes={}):  # noqa: B006 - core's signature
        """Bytes to leave free for one pass over a batch: the planner's with its margin. Texts are too small to count.

        Core asks before it samples, with room for both branches in input_shape and one picture's condition images for each of
        them; and at every step, with each cond as it goes into the batch.
        """
        config, images = self.diffusion_model.config, cond_shapes.get("images", ())
        pictures = 1 if "target_mask" in cond_shapes else input_shape[0] / max(1, len(images))
        cells = input_shape[0] * math.prod(input_shape[2:]) + pictures * sum(math.prod(shape[2:]) for shape in images)
        device = comfy.model_management.get_torch_device()
        fused = (comfy.model_management.pytorch_attention_flash_attention() or comfy.model_management.xformers_enabled()
                 or comfy.model_management.sage_attention_enabled() or comfy.model_management.flash_attention_enabled()
                 or device.type == "cpu" and attention_on(device) is attention_pytorch)
        size = comfy.model_management.dtype_size(self.get_dtype_inference())
        tokens = sum(shape[2] for shape in cond_shapes.get("kept", ())) // config.patch_size**2
        kept = kept_bytes(config.depth, config.hidden_size, tokens, size) * max(1, input_shape[0] // 2)
        return kept + MARGIN * activation_bytes(config, round(cells / config.patch_size**2), 0, size, fused)


def _to(cond, device):
    """Put a condition on the device once instead of at every step."""
    cond.cond = [x.to(device) for x in cond.cond] if isinstance(cond.cond, list) else cond.cond.to(device)
    return cond


class ACEModelConfig(comfy.supported_models_base.BASE):
    """What core's model detection finds for an ACE file."""

    unet_config = {"image_model": "ace_editor"}
    unet_extra_config = {}
    sampling_settings = {"beta_schedule": "sqrt_linear", "linear_start": 1e-4, "linear_end": 0.02, "timesteps": 1000}
    latent_format = comfy.latent_formats.SD15
    supported_inference_dtypes = [torch.bfloat16, torch.float32]  # the reference runs in bf16; fp16 is untried
    vae_key_prefix = ["vae."]
    text_encoder_key_prefix = ["text_encoders."]

    def get_model(self, state_dict, prefix="", device=None):
        return ACE(self, device=device)

    def process_unet_state_dict(self, state_dict):
        state_dict.pop(HEADS, None)
        return state_dict

    def process_unet_state_dict_for_saving(self, state_dict):
        hidden, heads = self.unet_config["hidden_size"], self.unet_config["num_heads"]
        if hidden // heads != HEAD_WIDTH:
            state_dict = {**state_dict, HEADS: torch.tensor([heads])}
        return super().process_unet_state_dict_for_saving(state_dict)

    def clip_target(self, state_dict={}):  # noqa: B006 - core's signature
        prefix = f"{self.text_encoder_key_prefix[0]}t5xxl.transformer."
        t5 = {key[len(prefix):]: value for key, value in state_dict.items() if key.startswith(prefix)}
        if not t5:
            warn("this checkpoint holds no T5 text encoder. Load one with Load ACE Text Encoder.")
            return None
        return t5_target(t5, "the text encoder in this checkpoint")


def t5_target(sd, name: str, metadata: dict | None = None) -> comfy.supported_models_base.ClipTarget:
    """What core makes a CLIP of: its T5, in the size that the weights have. Raises CheckpointError."""
    config = t5_config(sd, name, metadata, QUANT_ALGOS)
    encoder = comfy.text_encoders.pixart_t5.pixart_te(**comfy.text_encoders.sd3_clip.t5_xxl_detect(sd))

    def sized(model_options, **options):
        return encoder(model_options={**model_options, "t5xxl_model_config": config}, **options)
    return comfy.supported_models_base.ClipTarget(comfy.text_encoders.pixart_t5.PixArtTokenizer, sized)
