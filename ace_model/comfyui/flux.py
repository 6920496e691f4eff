"""Core's Flux as a module of plain PyTorch layers, which can be trained. Written against ComfyUI 0.30: comfy/ldm/flux/model.py.
"""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import comfy.latent_formats
import comfy.ldm.flux.model
import comfy.ldm.modules.attention
import comfy.model_detection
import comfy.model_management
import comfy.sd
import comfy.utils
import torch
from safetensors import safe_open
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ..checkpoint import explain_damage
from ..plus import PlusError
from .plus import FFT, FILL

LATENTS = comfy.latent_formats.Flux()  # .process_in: what its VAE makes → what the network reads
FLOATS = (torch.float32, torch.bfloat16, torch.float16)


def read(path: str) -> tuple[dict[str, Tensor], dict]:
    """(weights, arguments of `build`) of FLUX.1-Fill, or of ACE++'s full fine-tune. Raises CheckpointError, PlusError."""
    name = Path(path).name
    with explain_damage(path):
        weights = comfy.utils.load_torch_file(path, safe_load=True)
        prefix = comfy.model_detection.unet_prefix_from_state_dict(weights)
        weights = comfy.utils.state_dict_prefix_replace(dict(weights), {prefix: ""}, filter_keys=True) or weights
    if strange := next((key for key, value in weights.items() if value.dtype not in FLOATS), None):
        raise PlusError(f"{name} is quantized ({strange}): train on the full file, and set model.base to fp8 to keep it small.")
    try:
        found = comfy.model_detection.model_config_from_unet(weights, "")
    except Exception:  # core's detection takes for granted what other files lack
        found = None
    arguments = dict(found.unet_config) if found else {}
    if arguments.get("image_model") != "flux" or arguments["in_channels"] not in (FILL, FFT) or not arguments["guidance_embed"]:
        raise PlusError(f"{name} is not FLUX.1-Fill: train.objective plus needs flux1-fill-dev.safetensors (384 inputs) or "
                        "ace_plus_fft.safetensors (448 inputs).")
    weights = found.process_unet_state_dict(weights)
    shapes = {key: value.shape for key, value in build(arguments).state_dict().items()}
    if wrong := sorted(key for key in shapes.keys() | weights.keys()
                       if key not in shapes or key not in weights or weights[key].shape != shapes[key]):
        raise PlusError(f"{name} does not fit FLUX.1 in {len(wrong)} tensors, for example {wrong[0]}: download it again.")
    return weights, arguments


def build(arguments: Mapping, again: bool = False) -> nn.Module:
    """Core's network on the device "meta", without weights. again: its blocks forget what they computed, and compute it a
    second time for their gradients."""
    arguments = {key: value for key, value in arguments.items() if key not in ("dtype", "device", "operations")}
    network = comfy.ldm.flux.model.Flux(**arguments, device="meta", operations=nn)
    for module in network.modules():
        if isinstance(module, nn.LayerNorm):
            # A block adds to its input in place, and the norm before that has to remember the input for its gradient.
            module.register_forward_pre_hook(lambda _, given: (given[0].clone(),))
    for block in blocks(network) if again else ():
        block.forward = partial(recomputed, block.forward)
    return network


def blocks(network: nn.Module) -> list[nn.Module]:
    return [*network.double_blocks, *network.single_blocks]


def recomputed(forward: Callable, *given: Tensor, **named):
    """A block's forward under PyTorch's checkpoint. It gets copies of the streams, since it writes into them."""
    def compute():
        copies = {name: value.clone() if name in ("img", "txt") else value for name, value in named.items()}
        return forward(*(value.clone() for value in given), **copies)
    return checkpoint(compute, use_reentrant=False, preserve_rng_state=False) if torch.is_grad_enabled() else compute()


def velocity(network: nn.Module, x: Tensor, sigma: Tensor, text: Tensor, pooled: Tensor, guidance: float) -> Tensor:
    """(B, 16, h, w). x (B, 96 or 112, h, w) · sigma (B,) in [0, 1] · text (B, L, width) · pooled (B, width)."""
    comfy.model_management.in_training = True  # core's other rotation has no gradient
    strength = torch.full((len(x),), guidance, dtype=x.dtype, device=x.device)
    return network(x, sigma.float(), text, pooled, strength, transformer_options={"optimized_attention_override": attention})


def attention(function, *arguments, **options) -> Tensor:
    """PyTorch's own in place of whatever core chose, which may have no gradient."""
    return comfy.ldm.modules.attention.attention_pytorch(*arguments, **options)


def load_text_encoder(t5: str, clip_l: str) -> comfy.sd.CLIP:
    """As core's DualCLIPLoader with the type flux, which would go on with numbers of chance if a file is another. Raises
    CheckpointError, PlusError."""
    for path, key, what in ((t5, "encoder.block.0.layer.0.SelfAttention.k.weight", "T5 v1.1"),
                            (clip_l, "text_model.encoder.layers.0.mlp.fc1.weight", "CLIP-L")):
        with explain_damage(path), safe_open(path, "pt") as file:
            known = list(file.keys())
        if not any(name.endswith(key) for name in known):
            raise PlusError(f"{Path(path).name} is not {what}: ACE++ reads t5xxl_fp16.safetensors and clip_l.safetensors.")
    return comfy.sd.load_clip(ckpt_paths=[clip_l, t5], clip_type=comfy.sd.CLIPType.FLUX)
