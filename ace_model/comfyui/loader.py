"""Weight files → ComfyUI models; and what makes core's own loaders recognize ACE files."""

import contextlib
import functools
import logging
from dataclasses import asdict
from pathlib import Path

import comfy.model_detection
import comfy.sd
import comfy.supported_models
import comfy.supported_models_base
import comfy.text_encoders.pixart_t5
import comfy.text_encoders.sd3_clip
import comfy.utils
import folder_paths
import torch
from safetensors import SafetensorError, safe_open

from ..checkpoint import CheckpointError, explain_damage, identify, native_state_dict
from ..config import DEFAULTS, ACEConfig, Defaults, heads_in, kind_of
from .model import HEADS, ACEModelConfig

T5_VOCABULARY = 32128  # embedding rows; its tokenizer uses the first 32100
DEMO_FILES = Path(__file__).resolve().parents[2] / "demo" / "weights"  # its folders are named like those in models/


def register() -> None:
    """Make core's model detection recognize ACE, and list the demo model. Calling it again changes nothing."""
    models = comfy.supported_models.models
    models[:] = [config for config in models if config.unet_config != ACEModelConfig.unet_config] + [ACEModelConfig]
    detect = comfy.model_detection.detect_unet_config
    detect = getattr(detect, "without_ace_editor", detect)

    @functools.wraps(detect)
    def detect_unet_config(state_dict, key_prefix, *args, **kwargs):
        return ace_unet_config(state_dict, key_prefix, *args, **kwargs) or detect(state_dict, key_prefix, *args, **kwargs)

    detect_unet_config.without_ace_editor = detect
    comfy.model_detection.detect_unet_config = detect_unet_config

    for folder in sorted(path for path in DEMO_FILES.glob("*") if path.is_dir()):
        folder_paths.add_model_folder_path(folder.name, str(folder))  # last, so that a user's file of the same name wins


def ace_unet_config(state_dict, prefix: str, metadata=None) -> dict | None:
    """Core's model configuration for ACE keys under `prefix`; None for any other file."""
    patches = state_dict.get(f"{prefix}x_embedder.proj.weight")
    if patches is None or patches.ndim != 4 or patches.shape[1] != 5:
        return None
    if f"{prefix}blocks.0.cross_attn.norm_q.weight" not in state_dict:
        return None
    sd = {key[len(prefix):]: value for key, value in state_dict.items() if key.startswith(prefix)}
    heads = int(sd[HEADS]) if HEADS in sd else heads_in(metadata)
    return {**ACEModelConfig.unet_config, **asdict(ACEConfig.from_state_dict(sd, heads))}


def load_model(path: str, model_options: dict | None = None, disable_dynamic: bool = False):
    """ACE checkpoint in any known layout → MODEL under ComfyUI's management. Raises CheckpointError."""
    model_options = model_options or {}
    with explain_damage(path):
        sd, metadata = comfy.utils.load_torch_file(path, return_metadata=True)
        stated = sd.pop(f"model.diffusion_model.{HEADS}", None)  # raises if the pickle is not a mapping
        heads = heads_in(metadata) if stated is None else int(stated)
    sd, _ = native_state_dict(sd, Path(path).name, heads)
    if heads is not None:
        sd[HEADS] = torch.tensor([heads])  # core's detection hands it on to `ace_unet_config`
    patcher = comfy.sd.load_diffusion_model_state_dict(sd, model_options, metadata, disable_dynamic=disable_dynamic)
    patcher.cached_patcher_init = (load_model, (path, model_options))
    return patcher


def defaults_of(model) -> Defaults:
    """A MODEL's own steps and token budget, according to the file it was loaded from by any loader. None, or a model of
    unknown origin, counts as the 512px model."""
    _, arguments = getattr(model, "cached_patcher_init", None) or (None, ())
    path = next((each for each in arguments if isinstance(each, str)), "")
    metadata = None
    if path.endswith((".safetensors", ".sft")):
        with contextlib.suppress(OSError, SafetensorError), safe_open(path, framework="pt") as file:
            metadata = file.metadata()
    kind = kind_of(Path(path).name, metadata)
    logging.info("ACE Editor: %s counts as the %s model: %d steps, token budget %d (used where these are 0).",
                 Path(path).name or "no model connected", kind, DEFAULTS[kind].steps, DEFAULTS[kind].token_budget)
    return DEFAULTS[kind]


def load_text_encoder(path: str, model_options: dict | None = None, disable_dynamic: bool = False) -> comfy.sd.CLIP:
    """T5 v1.1 encoder of any size, fp8 files included → CLIP. Raises CheckpointError for any other text encoder."""
    with explain_damage(path):
        sd, metadata = comfy.utils.load_torch_file(path, safe_load=True, return_metadata=True)
    sd, _ = comfy.utils.convert_old_quants(sd, model_prefix="", metadata=metadata)
    if "encoder.embed_tokens.weight" in sd:  # another name of the same table
        sd.setdefault("shared.weight", sd.pop("encoder.embed_tokens.weight"))
    config = t5_config(sd, name=Path(path).name)
    target = comfy.supported_models_base.ClipTarget(
        comfy.text_encoders.pixart_t5.PixArtTokenizer,
        comfy.text_encoders.pixart_t5.pixart_te(**comfy.text_encoders.sd3_clip.t5_xxl_detect(sd)))
    options = {**(model_options or {}), "t5xxl_model_config": config}
    clip = comfy.sd.CLIP(target, embedding_directory=folder_paths.get_folder_paths("embeddings"), state_dict=[sd],
                         parameters=comfy.utils.calculate_parameters(sd), model_options=options,
                         disable_dynamic=disable_dynamic)
    clip.patcher.cached_patcher_init = (_load_text_encoder_patcher, (path, model_options))
    return clip


def _load_text_encoder_patcher(path, model_options=None, disable_dynamic=False):
    return load_text_encoder(path, model_options, disable_dynamic).patcher


def t5_config(sd, name: str = "the file") -> dict:
    """Sizes of a T5 v1.1 encoder, read from its state dict, under the names of its published config. Raises
    CheckpointError."""
    block, attention = "encoder.block.{}.layer.", "encoder.block.0.layer.0.SelfAttention."
    needed = ["shared.weight", f"{attention}q.weight", f"{attention}relative_attention_bias.weight",
              "encoder.final_layer_norm.weight", "encoder.block.0.layer.1.DenseReluDense.wo.weight"]
    missing = [key for key in needed if key not in sd]
    if missing:
        raise CheckpointError(f"{name} is not a T5 text encoder: it looks like {identify(sd)}. It lacks {missing[0]}. Use "
                              "T5 v1.1 XXL, for instance t5xxl_fp16.safetensors or t5xxl_fp8_e4m3fn.safetensors.")
    vocabulary, width = sd["shared.weight"].shape
    second = f"{block.format(1)}0.SelfAttention.relative_attention_bias.weight"
    if vocabulary != T5_VOCABULARY or second in sd:
        kind = "UMT5" if vocabulary > 200000 or second in sd else "a T5 with another vocabulary"
        raise CheckpointError(f"{name} is {kind} ({vocabulary} words), but ACE needs T5 v1.1 ({T5_VOCABULARY} words): use "
                              "t5xxl_fp16.safetensors or t5xxl_fp8_e4m3fn.safetensors.")
    layers = 1 + max(int(key.split(".")[2]) for key in sd if key.startswith("encoder.block."))
    gated = "encoder.block.0.layer.1.DenseReluDense.wi_1.weight" in sd
    parts = ["0.SelfAttention.q", "0.SelfAttention.k", "0.SelfAttention.v", "0.SelfAttention.o", "0.layer_norm",
             "1.layer_norm", "1.DenseReluDense.wo", *(["1.DenseReluDense.wi_0", "1.DenseReluDense.wi_1"] if gated else
                                                      ["1.DenseReluDense.wi"])]
    missing = [key for i in range(layers) for part in parts if (key := f"{block.format(i)}{part}.weight") not in sd]
    if missing:
        raise CheckpointError(f"{name} is an incomplete T5 encoder: tensors are missing ({len(missing)}, for example "
                              f"{missing[0]}). Download it again.")
    heads = sd[f"{attention}relative_attention_bias.weight"].shape[1]
    return {"model_type": "t5", "vocab_size": vocabulary, "d_model": width, "num_layers": layers, "num_heads": heads,
            "d_kv": sd[f"{attention}q.weight"].shape[0] // heads,
            "d_ff": sd[f"encoder.block.0.layer.1.DenseReluDense.{'wi_0' if gated else 'wi'}.weight"].shape[0],
            "is_gated_act": gated, "dense_act_fn": "gelu_pytorch_tanh" if gated else "relu"}
