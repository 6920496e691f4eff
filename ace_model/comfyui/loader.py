"""Weight files → ComfyUI models; and what makes core's own loaders recognize ACE files."""

import contextlib
import functools
import logging
import re
from dataclasses import asdict
from pathlib import Path

import comfy.model_detection
import comfy.sd
import comfy.supported_models
import comfy.utils
import folder_paths
from comfy.quant_ops import QUANT_ALGOS
from safetensors import SafetensorError, safe_open

from ..checkpoint import PREFIXES, T5_PREFIXES, CheckpointError, check, explain_damage, identify, native_keys, unwrap
from ..config import DEFAULTS, ACEConfig, Defaults, heads_in, kind_of
from ..published import VAE
from .model import ACEModelConfig, t5_target

DEMO_FILES = Path(__file__).resolve().parents[2] / "demo" / "weights"  # its folders are named like those in models/
DEMO_T5 = DEMO_FILES / "text_encoders"


class Checked(dict):
    """Metadata of weights that `load_model` has checked, so that they aren't read through twice."""


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

    for folder in sorted(path for path in DEMO_FILES.glob("*") if path.is_dir() and path != DEMO_T5):
        folder_paths.add_model_folder_path(folder.name, str(folder))  # last, so that a user's file of the same name wins


def ace_unet_config(state_dict, prefix: str, metadata=None) -> dict | None:
    """Core's model configuration for ACE keys under `prefix`; None for any other file. Raises CheckpointError for an ACE file
    that is damaged."""
    patches = state_dict.get(f"{prefix}x_embedder.proj.weight")
    if patches is None or patches.ndim != 4 or patches.shape[1] != 5:
        return None
    if f"{prefix}blocks.0.cross_attn.norm_q.weight" not in state_dict:
        return None
    sd = {key[len(prefix):]: value for key, value in state_dict.items() if key.startswith(prefix)}
    if isinstance(metadata, Checked):
        config = ACEConfig.from_state_dict(sd, heads_in(metadata))
    else:  # where its metadata names layers with a prefix, core has marked them as quantized with and without it
        config = check({key: value for key, value in sd.items() if not key.startswith(PREFIXES)}, "this file", metadata,
                       QUANT_ALGOS)
    return {**ACEModelConfig.unet_config, **asdict(config)}


def load_model(path: str, model_options: dict | None = None, disable_dynamic: bool = False):
    """ACE checkpoint in any known layout → MODEL under ComfyUI's management. Raises CheckpointError."""
    model_options, name = model_options or {}, Path(path).name
    with explain_damage(path):
        sd, metadata = comfy.utils.load_torch_file(path, return_metadata=True)
    sd = with_quantization(native_keys(sd, name), metadata, path)
    known = Checked(check(sd, name, metadata, QUANT_ALGOS).metadata())
    patcher = comfy.sd.load_diffusion_model_state_dict(sd, model_options, known, disable_dynamic=disable_dynamic)
    patcher.cached_patcher_init = (load_model, (path, model_options))
    return patcher


def with_quantization(sd: dict, metadata: dict | None, path: str) -> dict:
    """The scales of older files, and what metadata says of quantized layers, under the keys that core writes today."""
    with explain_damage(path):
        text = (metadata or {}).get("_quantization_metadata")
        stated = {"_quantization_metadata": re.sub(r'"(model\.)?diffusion_model\.', '"', text)} if text else {}
        return comfy.utils.convert_old_quants(sd, metadata=stated)[0]


def defaults_of(model) -> Defaults:
    """A MODEL's own steps and token budget, according to the file it was loaded from by any loader. None, or a model of
    unknown origin, counts as the 512px model."""
    path, metadata = file_of(model), None
    if path.endswith((".safetensors", ".sft")):
        with contextlib.suppress(OSError, SafetensorError), safe_open(path, framework="pt") as file:
            metadata = file.metadata()
    kind = kind_of(Path(path).name, metadata)
    logging.info("ACE Editor: %s counts as the %s model: %d steps, token budget %d (used where these are 0).",
                 Path(path).name or "no model connected", kind, DEFAULTS[kind].steps, DEFAULTS[kind].token_budget)
    return DEFAULTS[kind]


def file_of(patcher) -> str:
    """The path that a MODEL, or `.patcher` of a CLIP or VAE, was loaded from by any loader; empty if nobody knows."""
    _, arguments, *_ = getattr(patcher, "cached_patcher_init", None) or (None, ())
    return next((each for each in arguments if isinstance(each, str)), "")


def text_encoder_names() -> list[str]:
    """What Load ACE Text Encoder offers: core's list, then the demo's encoder. Core's own loaders know the published sizes of
    T5 alone and fail on it, so it isn't in their lists."""
    names = folder_paths.get_filename_list("text_encoders")
    return names + [name for name in demo_text_encoders() if name not in names]


def text_encoder_path(name: str) -> str:
    """A user's file of the demo's name wins. Raises FileNotFoundError."""
    if name in demo_text_encoders() and folder_paths.get_full_path("text_encoders", name) is None:
        return demo_text_encoders()[name]
    return folder_paths.get_full_path_or_raise("text_encoders", name)


def diffusion_model_path(name: str) -> str:
    """Raises FileNotFoundError."""
    return folder_paths.get_full_path_or_raise("diffusion_models", name)


def vae_path(name: str) -> str:
    """Raises FileNotFoundError."""
    return folder_paths.get_full_path_or_raise("vae", name)


def path_in(folder: str, name: str) -> str:
    """Of a file in one of models/'s folders, or among the demo's. Raises FileNotFoundError."""
    return text_encoder_path(name) if folder == "text_encoders" else folder_paths.get_full_path_or_raise(folder, name)


def demo_text_encoders() -> dict[str, str]:
    return {path.name: str(path) for path in sorted(DEMO_T5.glob("*.safetensors"))}


def load_text_encoder(path: str, model_options: dict | None = None, disable_dynamic: bool = False) -> comfy.sd.CLIP:
    """T5 v1.1 encoder of any size, fp8 files included → CLIP. Raises CheckpointError for any other text encoder."""
    name = Path(path).name
    with explain_damage(path):
        sd, metadata = comfy.utils.load_torch_file(path, safe_load=True, return_metadata=True)
    sd = with_quantization(unwrap(sd, name, T5_PREFIXES), metadata, path)
    if "encoder.embed_tokens.weight" in sd:  # another name of the same table
        sd.setdefault("shared.weight", sd.pop("encoder.embed_tokens.weight"))
    clip = comfy.sd.CLIP(t5_target(sd, name, metadata), embedding_directory=folder_paths.get_folder_paths("embeddings"),
                         state_dict=[sd], parameters=comfy.utils.calculate_parameters(sd), model_options=model_options or {},
                         disable_dynamic=disable_dynamic)
    clip.patcher.cached_patcher_init = (_load_text_encoder_patcher, (path, model_options))
    return clip


def load_vae(path: str) -> comfy.sd.VAE:
    """As core's Load VAE does. Raises CheckpointError for a file that is damaged or no VAE; core would go on with numbers of
    chance where tensors are missing."""
    name = Path(path).name
    with explain_damage(path):
        sd, metadata = comfy.utils.load_torch_file(path, safe_load=True, return_metadata=True)
        given = set(unwrap(sd, name, ("first_stage_model.",)))
        vae = comfy.sd.VAE(sd=sd, metadata=metadata)
    if vae.first_stage_model is None:
        raise CheckpointError(f"{name} is not a VAE: it looks like {identify(sd)}. Download {VAE.name} from {VAE.page}.")
    expected = {key for key in vae.first_stage_model.state_dict() if key.endswith((".weight", ".bias"))}  # others have defaults
    missing = sorted(expected - given) if given & expected else []  # other layouts are converted inside, and not looked at
    if missing:
        raise CheckpointError(f"{name} is an incomplete VAE: it lacks {len(missing)} tensors, for example {missing[0]}. "
                              "Download it again.")
    return vae


def _load_text_encoder_patcher(path, model_options=None, disable_dynamic=False):
    return load_text_encoder(path, model_options, disable_dynamic).patcher


def with_lora(model, path: str, strength: float):
    """MODEL with a LoRA file on top, as core's Load LoRA (Model) puts it there. Raises CheckpointError for a damaged file."""
    with explain_damage(path):
        sd, metadata = comfy.utils.load_torch_file(path, safe_load=True, return_metadata=True)
    return comfy.sd.load_lora_for_models(model, None, sd, strength, 0, lora_metadata=metadata)[0]
