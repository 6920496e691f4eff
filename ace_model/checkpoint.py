"""Read ACE weight files safely, convert every known layout to the native keys, and say what any other file is.

Layouts (spec: ACE-0.6B, section 2): bare or under `state_dict`; native keys; ComfyUI's `model.diffusion_model.` prefix;
PixArt's names of the same layers.
"""

import pickle
import re
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from .config import ACEConfig, heads_in
from .dit import DiT

PREFIXES = ("model.diffusion_model.", "diffusion_model.")
QUANTISATION = re.compile(r"(\.(comfy_quant|weight_scale(_2)?|input_scale|scale_weight|scale_input)|^scaled_fp8)$")
NATIVE = ("x_embedder.proj.weight", "blocks.0.cross_attn.norm_q.weight", "t_block.1.weight", "y_embedder.fc1.weight",
          "final_layer.linear.bias", "blocks.0.mlp.fc1.bias")

FINGERPRINTS = (  # (what a file with such a key is, pattern), the most specific first
    ("a LoRA (load an ACE model here, then add the LoRA with a LoRA loader)", r"lora_(up|down|A|B)|\.alpha$|^lora_"),
    ("the music model ACE-Step, an unrelated project", r"genre_embedder|lyric_"),
    ("a Stable Diffusion checkpoint", r"(^|\.)input_blocks\.\d+\.|cond_stage_model|first_stage_model"),
    ("a FLUX model", r"(^|\.)(double|single)_blocks\.\d+\."),
    ("a T5 text encoder (put it in models/text_encoders)", r"^encoder\.block\.\d+\.layer|^shared\.weight"),
    ("a VAE (put it in models/vae)", r"^(encoder|decoder)\.(conv_in|mid|down|up)"),
    ("a PixArt model (related to ACE, but without its query normalization)",
     r"(ar|csize)_embedder|y_embedder\.(y_proj|y_embedding)|cross_attn\.kv_linear|adaln_single"),
)

UNREADABLE = (SafetensorError, RuntimeError, EOFError, OSError, ValueError, TypeError, AttributeError)  # of the readers


class CheckpointError(ValueError):
    """The file is not an ACE checkpoint, or it is damaged."""


def read(path: str | Path) -> tuple[dict[str, Tensor], ACEConfig]:
    """State dict in native keys and the configuration, from a .safetensors or a pickled (.pth, .pt, .ckpt, .bin) file.

    Pickles are read with weights-only unpickling. Raises CheckpointError.
    """
    path = Path(path)
    with explain_damage(path):
        if path.suffix.lower() in (".safetensors", ".sft"):
            with safe_open(path, framework="pt") as file:
                sd, metadata = {key: file.get_tensor(key) for key in file.keys()}, file.metadata()  # noqa: SIM118
        else:
            sd, metadata = torch.load(path, map_location="cpu", weights_only=True), None
        heads = heads_in(metadata)
    return native_state_dict(sd, path.name, heads)


class explain_damage:
    """Context manager: turns what the file readers raise into a CheckpointError that names the file."""

    def __init__(self, path: str | Path):
        self.name = Path(path).name

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        if isinstance(error, pickle.UnpicklingError):
            raise CheckpointError(f"{self.name} was not opened: it is damaged, or it holds more than weights and could run "
                                  "code. Get the .safetensors version, or download the original file again.") from error
        if isinstance(error, UNREADABLE) and not isinstance(error, CheckpointError | FileNotFoundError):
            raise CheckpointError(f"{self.name} cannot be read: it is incomplete or not a model file. Download it again and "
                                  "compare its size with the one on the download page. "
                                  f"({str(error).splitlines()[0]})") from error


def native_state_dict(sd: Mapping, name: str = "the file", num_heads: int | None = None
                      ) -> tuple[dict[str, Tensor], ACEConfig]:
    """Any accepted layout → native keys, complete and in the right shapes, and the configuration they imply.

    Raises CheckpointError, which says what the file looks like and which keys do not fit.
    """
    sd = rename(unwrap(sd, name))
    missing = [key for key in NATIVE if key not in sd]
    if missing:
        raise CheckpointError(f"{name} is not an ACE checkpoint: it looks like {identify(sd)}. It lacks "
                              f"{', '.join(missing[:3])}. Download ACE-0.6B from "
                              "https://huggingface.co/scepter-studio/ACE-0.6B-512px.")
    try:
        config = ACEConfig.from_state_dict(sd, num_heads)
    except ValueError as error:
        raise CheckpointError(f"{name}: {error}") from error
    expected = {key: value.shape for key, value in DiT(config, device="meta").state_dict().items()}
    given = {key for key in sd if not QUANTISATION.search(key)}
    problems = [f"missing {key}" for key in expected if key not in given]
    problems += [f"unexpected {key}" for key in sorted(given - expected.keys())]
    problems += [f"{key} is {tuple(sd[key].shape)}, not {tuple(shape)}" for key, shape in expected.items()
                 if key in given and sd[key].shape != shape]
    if problems:
        raise CheckpointError(f"{name} does not fit ACE ({config.depth} blocks of width {config.hidden_size}): "
                              f"{'; '.join(problems[:4])}{f'; {len(problems) - 4} more' if len(problems) > 4 else ''}. "
                              "The file is incomplete, or it belongs to another model: download it again, or choose "
                              "another file.")
    return sd, config


def unwrap(sd: Mapping, name: str) -> dict[str, Tensor]:
    """The flat mapping of tensors inside `state_dict`, if there is one, without ComfyUI's prefix."""
    for key in ("state_dict", "model", "module"):
        if isinstance(sd, Mapping) and isinstance(sd.get(key), Mapping):
            sd = sd[key]
    tensors = {key: value for key, value in sd.items() if isinstance(value, Tensor)} if isinstance(sd, Mapping) else {}
    if not tensors:
        raise CheckpointError(f"{name} holds no tensors, so it is not a weights file: choose another file.")
    for prefix in PREFIXES:
        inner = {key[len(prefix):]: value for key, value in tensors.items() if key.startswith(prefix)}
        if inner:
            return inner
    return tensors


def rename(sd: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """PixArt's names → native names. Splits fused projections and adds a zero mask channel to a 4-channel patch embedding.
    Native keys pass through."""
    out = {}
    for key, value in sd.items():
        key = key.replace("y_embedder.y_proj.", "y_embedder.")
        if match := re.fullmatch(r"(blocks\.\d+\.(?:attn|cross_attn))\.(qkv|kv_linear|q_linear|proj)\.(weight|bias)", key):
            block, layer, kind = match.groups()
            names = {"qkv": "qkv", "kv_linear": "kv", "q_linear": "q", "proj": "o"}[layer]
            for part, chunk in zip(names, value.chunk(len(names)), strict=True):
                out[f"{block}.{part}.{kind}"] = chunk.contiguous()
        elif key == "x_embedder.proj.weight" and value.ndim == 4 and value.shape[1] == 4:
            out[key] = torch.cat([value, torch.zeros_like(value[:, :1])], dim=1)
        else:
            out[key] = value
    return out


def identify(sd: Mapping[str, Tensor]) -> str:
    """What a state dict seems to be, in words."""
    for what, pattern in FINGERPRINTS:
        if any(re.search(pattern, key) for key in sd):
            return what
    return f"an unknown model (first keys: {', '.join(list(sd)[:3])})"
