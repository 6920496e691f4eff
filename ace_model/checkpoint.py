"""Read ACE weight files safely, convert every known layout to the native keys, and say what any other file is.

Layouts (spec: ACE-0.6B, section 2): bare or under `state_dict`; native keys; ComfyUI's `model.diffusion_model.` prefix;
PixArt's names of the same layers. What is wrong with a file's tensors, `soundness.py` says.
"""

import contextlib
import pickle
import re
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor

from .config import DEPTHS, HEADS, ACEConfig, count_blocks, heads_in, shown, stated
from .dit import DiT
from .soundness import CheckpointError, check_depth, fit, stored, warn

PREFIXES = ("model.diffusion_model.", "diffusion_model.")
T5_PREFIXES = ("text_encoders.t5xxl.transformer.", "t5xxl.transformer.")  # in a checkpoint that ComfyUI saved
NORM = "blocks.0.cross_attn.norm_q.weight"  # PixArt lacks it
NATIVE = ("x_embedder.proj.weight", NORM, "t_block.1.weight", "y_embedder.fc1.weight", "final_layer.linear.bias",
          "blocks.0.mlp.fc1.bias")

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

BEGINNINGS = (  # of files that are no weights
    ((b"<!doctype", b"<html", b"<?xml"),
     "a web page, not weights: the link led to a log-in or an error. Open it in a browser and download the file itself"),
    ((b"version https://git-lfs",),
     "a Git LFS pointer, not the weights: fetch them with git lfs pull, or download the file from its page"),
)

T5_VOCABULARY = 32128  # embedding rows; its tokenizer uses the first 32100
T5_SIZES = {4096: (24, 64), 2048: (24, 64), 1024: (24, 64), 768: (12, 64),
            96: (2, 24)}  # {width: (blocks, width of a head)} of T5 v1.1, and of the demo's encoder
T5_BLOCK, T5_BIAS = "encoder.block.{}.layer.", "encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight"
T5_DIMENSIONS = {"shared.weight": 2, "encoder.block.0.layer.0.SelfAttention.q.weight": 2, T5_BIAS: 2,
                 "encoder.final_layer_norm.weight": 1, "encoder.block.0.layer.1.DenseReluDense.wo.weight": 2}
T5_BUCKETS = 32  # of relative positions


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
    return native_state_dict(sd, path.name, metadata)


@contextlib.contextmanager
def explain_damage(path: str | Path):
    """Turns what the file readers raise into a CheckpointError that names the file. FileNotFoundError passes."""
    name = Path(path).name
    try:
        with open(path, "rb") as file:
            start = file.read(256)
        if not start:
            raise CheckpointError(f"{name} is empty (0 bytes): its download failed. Download it again.")
        for beginnings, what in BEGINNINGS:
            if start.lstrip().lower().startswith(beginnings):
                raise CheckpointError(f"{name} is {what}.")
        yield
    except (CheckpointError, FileNotFoundError, MemoryError):
        raise
    except PermissionError as error:
        raise CheckpointError(f"{name} cannot be read: ComfyUI has no permission to. Change the file's permissions.") from error
    except pickle.UnpicklingError as error:
        raise CheckpointError(f"{name} was not opened: it is damaged, or it holds more than weights and could run code. Get "
                              "the .safetensors version, or download the original file again.") from error
    except Exception as error:  # a damaged file makes the readers raise nearly anything
        reason = next(iter(str(error).splitlines()), "") or type(error).__name__
        raise CheckpointError(f"{name} cannot be read: it is incomplete or not a model file. Download it again and compare its "
                              f"size with the one on the download page. ({shown(reason, 200)})") from error


def native_state_dict(sd: Mapping, name: str = "the file", metadata: Mapping[str, str] | None = None
                      ) -> tuple[dict[str, Tensor], ACEConfig]:
    """Any accepted layout → native keys, complete, sound and in the right shapes, and the configuration they imply.

    metadata: the file's. Raises CheckpointError, which says what the file looks like and what does not fit.
    """
    sd = native_keys(sd, name)
    config = check(sd, name, metadata)
    return {key: value for key, value in sd.items() if key != HEADS}, config


def native_keys(sd: Mapping, name: str) -> dict[str, Tensor]:
    """Any accepted layout → native keys. Raises CheckpointError for a file that is no ACE model."""
    sd = rename(unwrap(sd, name), name)
    missing = [key for key in NATIVE if key not in sd]
    if missing and NORM in sd and len(missing) < len(NATIVE) - 1:
        raise CheckpointError(f"{name} is an incomplete ACE checkpoint: it lacks {', '.join(missing)}. Download it again.")
    if missing:
        raise CheckpointError(f"{name} is not an ACE checkpoint: it looks like {identify(sd)}. It lacks "
                              f"{', '.join(missing[:3])}. Download ACE-0.6B from "
                              "https://huggingface.co/scepter-studio/ACE-0.6B-512px.")
    return sd


def check(sd: Mapping[str, Tensor], name: str, metadata: Mapping[str, str] | None = None, formats=None) -> ACEConfig:
    """The configuration of weights under native keys. formats: of quantized layers, that the host knows; None: any.

    Raises CheckpointError unless every tensor is there, has the right shape and holds numbers.
    """
    try:
        heads, depth = heads_in(metadata), stated(metadata, "DEPTH")
        config = ACEConfig.from_state_dict(sd, heads)
    except ValueError as error:
        raise CheckpointError(f"{name}: {error}") from error
    shapes = {key: tuple(value.shape) for key, value in DiT(config, device="meta").state_dict().items()}
    fit(sd, shapes, name, f"ACE ({config.depth} blocks of width {config.hidden_size})", formats, extra=(HEADS,))
    check_depth(config.depth, config.hidden_size, depth or DEPTHS.get(config.hidden_size), name)
    if heads is None and HEADS not in sd and config.hidden_size not in DEPTHS:
        warn(f"{name} does not say how many attention heads it has: {config.num_heads} is a guess. State it in the safetensors "
             "metadata (config: {\"NUM_HEADS\": …}).")
    return config


def unwrap(sd: Mapping, name: str, prefixes: tuple[str, ...] = PREFIXES) -> dict[str, Tensor]:
    """The flat mapping of tensors inside `state_dict`, if there is one, without the first of `prefixes` that occurs."""
    for key in ("state_dict", "model", "module"):
        if isinstance(sd, Mapping) and isinstance(sd.get(key), Mapping):
            sd = sd[key]
    tensors = {key: value for key, value in sd.items() if isinstance(key, str) and isinstance(value, Tensor)} \
        if isinstance(sd, Mapping) else {}
    if not tensors:
        raise CheckpointError(f"{name} holds no tensors with names, so it is not a weights file: choose another file.")
    for key, value in tensors.items():
        if not stored(value):
            raise CheckpointError(f"{name} does not hold the numbers of {shown(key)}: it is damaged. Download it again.")
    for prefix in prefixes:
        inner = {key[len(prefix):]: value for key, value in tensors.items() if key.startswith(prefix)}
        if inner:
            return inner
    return tensors


def rename(sd: Mapping[str, Tensor], name: str) -> dict[str, Tensor]:
    """PixArt's names → native names. Splits fused projections and adds a zero mask channel to a 4-channel patch embedding.
    Native keys pass through."""
    out = {}
    for key, value in sd.items():
        new = {key.replace("y_embedder.y_proj.", "y_embedder."): value}
        if match := re.fullmatch(r"(blocks\.\d+\.(?:attn|cross_attn))\.(qkv|kv_linear|q_linear|proj)\.(weight|bias)", key):
            block, layer, kind = match.groups()
            names = {"qkv": "qkv", "kv_linear": "kv", "q_linear": "q", "proj": "o"}[layer]
            if not value.ndim or value.shape[0] % len(names) or not value.shape[0]:
                raise CheckpointError(f"{name}: {key} has the shape {tuple(value.shape)}, which cannot be cut into "
                                      f"{len(names)} projections. It is damaged, or belongs to another model: download it "
                                      "again, or choose another file.")
            new = {f"{block}.{part}.{kind}": chunk.contiguous()
                   for part, chunk in zip(names, value.chunk(len(names)), strict=True)}
        elif key == "x_embedder.proj.weight" and value.ndim == 4 and value.shape[1] == 4:
            new = {key: torch.cat([value, torch.zeros_like(value[:, :1])], dim=1)}
            warn(f"{name} has no channel for the mask, so masks have no effect until it is trained with them.")
        if twice := next((each for each in new if each in out), None):
            raise CheckpointError(f"{name} holds {twice} twice, under its own name and under PixArt's: it is damaged. "
                                  "Download it again.")
        out |= new
    return out


def identify(sd: Mapping[str, Tensor]) -> str:
    """What a state dict seems to be, in words."""
    for what, pattern in FINGERPRINTS:
        if any(re.search(pattern, key) for key in sd):
            return what
    return f"an unknown model (first keys: {', '.join(map(shown, list(sd)[:3]))})"


def t5_config(sd: Mapping[str, Tensor], name: str, metadata: Mapping[str, str] | None = None, formats=None) -> dict:
    """Sizes of a T5 v1.1 encoder, read from its state dict, under the names of its published config. Raises
    CheckpointError unless it is complete and sound."""
    missing = [key for key in T5_DIMENSIONS if key not in sd]
    if missing and identify(sd).startswith("a T5"):
        raise CheckpointError(f"{name} is an incomplete T5 encoder: it lacks {missing[0]}. Download it again.")
    if missing:
        raise CheckpointError(f"{name} is not a T5 text encoder: it looks like {identify(sd)}. It lacks {missing[0]}. Use "
                              "T5 v1.1 XXL, for instance t5xxl_fp16.safetensors or t5xxl_fp8_e4m3fn.safetensors.")
    for key, dimensions in T5_DIMENSIONS.items():
        if sd[key].ndim != dimensions or not sd[key].numel():
            raise CheckpointError(f"{name}: {key} has the shape {tuple(sd[key].shape)}, but a T5 encoder's has {dimensions} "
                                  "dimensions, none of them empty. It is damaged: download it again.")
    vocabulary, width = sd["shared.weight"].shape
    second = T5_BIAS.replace(".0.", ".1.", 1)
    if vocabulary != T5_VOCABULARY or second in sd:
        kind = "UMT5" if vocabulary > 200000 or second in sd else "a T5 with another vocabulary"
        raise CheckpointError(f"{name} is {kind} ({vocabulary} words), but ACE needs T5 v1.1 ({T5_VOCABULARY} words): use "
                              "t5xxl_fp16.safetensors or t5xxl_fp8_e4m3fn.safetensors.")
    try:
        layers, depth = count_blocks(sd, "encoder.block."), stated(metadata, "DEPTH")
    except ValueError as error:
        raise CheckpointError(f"{name}: {error}") from error
    heads, inner = sd[T5_BIAS].shape[1], sd["encoder.block.0.layer.0.SelfAttention.q.weight"].shape[0]
    hidden = sd["encoder.block.0.layer.1.DenseReluDense.wo.weight"].shape[1]
    right_depth, head = T5_SIZES.get(width, (None, inner // heads))
    if inner != heads * head:
        raise CheckpointError(f"{name}: its attention of width {inner} cannot have {heads} heads. It is damaged: download it "
                              "again.")
    gated = "encoder.block.0.layer.1.DenseReluDense.wi_1.weight" in sd
    parts = {"0.SelfAttention.q": (inner, width), "0.SelfAttention.k": (inner, width), "0.SelfAttention.v": (inner, width),
             "0.SelfAttention.o": (width, inner), "0.layer_norm": (width,), "1.layer_norm": (width,),
             "1.DenseReluDense.wo": (width, hidden),
             **{f"1.DenseReluDense.{wi}": (hidden, width) for wi in (("wi_0", "wi_1") if gated else ("wi",))}}
    shapes = {f"{T5_BLOCK.format(i)}{part}.weight": shape for i in range(layers) for part, shape in parts.items()}
    missing = [key for key in shapes if key not in sd]
    if missing:
        raise CheckpointError(f"{name} is an incomplete T5 encoder: tensors are missing ({len(missing)}, for example "
                              f"{missing[0]}). Download it again.")
    shapes |= {"shared.weight": (vocabulary, width), T5_BIAS: (T5_BUCKETS, heads), "encoder.final_layer_norm.weight": (width,)}
    fit(sd, shapes, name, f"T5 ({layers} blocks of width {width})", formats)
    check_depth(layers, width, depth or right_depth, name)
    return {"model_type": "t5", "vocab_size": vocabulary, "d_model": width, "num_layers": layers, "num_heads": heads,
            "d_kv": head, "d_ff": hidden, "is_gated_act": gated,
            "dense_act_fn": "gelu_pytorch_tanh" if gated else "relu"}
