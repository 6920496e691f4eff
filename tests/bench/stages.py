"""A whole edit by stage, through the pack's nodes as ComfyUI loads them, the first time and once more.

Stages: load (files, and moving weights to the device), text (T5), encode (pictures made ready, VAE), sample, decode. The
network and the VAE have the published sizes. T5-XXL is a stand-in of full width with 2 of its 24 layers unless a file is
given. The second edit has another picture, instruction and seed, and reuses what a running ComfyUI keeps: the models, and the
features of the image names.
"""

import json
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from ace_model.config import ACEConfig
from ace_model.dit import DiT

from .clock import OtherPrograms, Stopwatch, peak_memory
from .host import noise, part, save_random

STAGES = ("load", "text", "encode", "sample", "decode")
T5_LAYERS, T5_WIDTH, T5_INNER, T5_VOCABULARY, T5_HEADS = 2, 4096, 10240, 32128, 64
NODE_WEIGHTS = {"float32": "float32", "bf16": "bfloat16", "fp8": "fp8_e4m3fn"}  # Load ACE Model's names
INSTRUCTIONS = ("{image} turn the sky into a sunset over the sea", "let it snow on the roofs of the houses in {image}")
# Core's VAE for Stable Diffusion 1.x (comfy/sd.py, "default SD1.x/SD2.x VAE parameters")
VAE = {"double_z": True, "z_channels": 4, "resolution": 256, "in_channels": 3, "out_ch": 3, "ch": 128,
       "ch_mult": [1, 2, 4, 4], "num_res_blocks": 2, "attn_resolutions": [], "dropout": 0.0}


@dataclass(frozen=True)
class Edit:
    """A guided edit of `context` (1 or more) square pictures of `pixels` pixels."""

    pixels: int
    context: int
    steps: int
    weights: str = "float32"

    @property
    def key(self) -> str:
        return f"edit {self.weights} {self.pixels} px, {self.context} images, {self.steps} steps"


def plan(device: str, quick: bool) -> list[Edit]:
    """Few steps on the CPU: sampling takes as many times longer as there are more."""
    if device == "cpu":
        return [Edit(256, 1, 2)] if quick else [Edit(512, 1, 4), Edit(512, 3, 4), Edit(512, 1, 4, "fp8")]
    edits = [Edit(512, 1, 20, "bf16"), Edit(1024, 1, 50, "bf16")]
    return edits if quick else [*edits, Edit(512, 3, 20, "bf16"), Edit(1024, 3, 50, "bf16"), Edit(512, 1, 20, "float32"),
                                Edit(512, 1, 20, "fp8")]


def t5_shapes() -> dict[str, tuple]:
    """T5 v1.1 XXL's encoder with fewer layers."""
    shapes = {"shared.weight": (T5_VOCABULARY, T5_WIDTH), "encoder.final_layer_norm.weight": (T5_WIDTH,),
              "encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight": (32, T5_HEADS)}
    for i in range(T5_LAYERS):
        block = f"encoder.block.{i}.layer"
        shapes |= {f"{block}.0.SelfAttention.{name}.weight": (T5_WIDTH, T5_WIDTH) for name in "qkvo"}
        shapes |= {f"{block}.{number}.layer_norm.weight": (T5_WIDTH,) for number in (0, 1)}
        shapes |= {f"{block}.1.DenseReluDense.{name}.weight": (T5_INNER, T5_WIDTH) for name in ("wi_0", "wi_1")}
        shapes[f"{block}.1.DenseReluDense.wo.weight"] = (T5_WIDTH, T5_INNER)
    return shapes


def vae_shapes() -> dict[str, tuple]:
    from comfy.ldm.models.autoencoder import AutoencoderKL

    with torch.device("meta"):
        return shapes_of(AutoencoderKL(ddconfig=VAE, embed_dim=4))


def shapes_of(module: torch.nn.Module) -> dict[str, tuple]:
    return {key: tuple(value.shape) for key, value in module.state_dict().items()}


def write_files(models: Path, config: ACEConfig | None = None, text_encoder: Path | None = None) -> dict[str, Path]:
    """Random weights in models/, and where ComfyUI finds them: {"diffusion_models", "text_encoders", "vae": file}."""
    import folder_paths

    network = shapes_of(DiT(config or ACEConfig(), device="meta"))
    encoder = text_encoder or save_random(t5_shapes(), models / "text_encoders" / "t5_stand_in.safetensors", torch.float16,
                                          {"config": json.dumps({"DEPTH": T5_LAYERS})})
    files = {"diffusion_models": save_random(network, models / "diffusion_models" / "ace_0.6b_512px.safetensors"),
             "text_encoders": encoder, "vae": save_random(vae_shapes(), models / "vae" / "vae.safetensors")}
    for kind, file in files.items():
        folder_paths.add_model_folder_path(kind, str(file.parent), is_default=True)
    return files


class Models:
    """What the loaders give, called in the order of `graph.loaders`."""

    def __init__(self, files: Mapping[str, Path], weights: str):
        load, core = part("nodes.load"), sys.modules["nodes"]  # the second is ComfyUI's own file
        self.model = load.LoadModelNode.execute(files["diffusion_models"].name, NODE_WEIGHTS[weights]).args[0]
        self.clip = load.LoadTextEncoderNode.execute(files["text_encoders"].name, "default").args[0]
        self.vae = core.VAELoader().load_vae(files["vae"].name)[0]


def edit(models: Models, case: Edit, number: int, watch: Stopwatch) -> torch.Tensor:
    """The chain of `graph.turn`; number: which edit. → IMAGE (1, H, W, 3)."""
    turn, encode, sampling, core = part("nodes.turn"), part("nodes.encode"), part("nodes.sample"), sys.modules["nodes"]
    pictures = [(noise((1, case.pixels, case.pixels, 3)) * 0.1 * (1 + number + i) + 0.5).clamp(0, 1)
                for i in range(case.context)]
    with watch.stage("encode"):
        slots = {f"image{i or ''}": picture for i, picture in enumerate(pictures)}
        unit = turn.ConditionUnitNode.execute(INSTRUCTIONS[number], False, True, **slots).args[0]
        lcu = turn.LongContextUnitNode.execute(unit=unit, max_rounds=5).args[0]
        tokens = encode.ConditionTokenizerNode.execute(
            lcu=lcu, clip=models.clip, vae=models.vae, negative_instruction="", width=0, height=0, target_image=0,
            token_budget=(case.pixels // 16) ** 2).args[0]
    with watch.stage("sample"):
        positive, negative, latent = encode.ImageIndicatorNode.execute(tokens=tokens, batch_size=1).args
        latent = sampling.SamplerNode.execute(model=models.model, positive=positive, negative=negative, latent=latent,
                                              seed=number, steps=case.steps, guidance=4.5, rescale=0.5, denoise=1.0).args[0]
    with watch.stage("decode"):
        return core.VAEDecode().decode(models.vae, latent)[0]


@torch.inference_mode()
def measure(case: Edit, files: Mapping[str, Path], device: torch.device) -> dict:
    """Two edits with models that are loaded for the first."""
    import comfy.model_management

    comfy.model_management.unload_all_models()
    text, others, runs = part("ace_model.comfyui.text"), OtherPrograms(), []
    with peak_memory(device) as memory:
        for number in (0, 1):
            watch = Stopwatch(device)
            with watch.watching((comfy.model_management, "load_models_gpu", "load"), (text, "encode_with_names", "text")):
                if number == 0:
                    with watch.stage("load"):
                        models = Models(files, case.weights)
                image = edit(models, case, number, watch)
            runs.append({stage: watch.seconds.get(stage, 0.0) for stage in STAGES})
    if image.shape != (1, case.pixels, case.pixels, 3):
        raise RuntimeError(f"the edit gave {tuple(image.shape)} instead of {case.pixels}×{case.pixels} pixels.")
    compute = models.model.model.get_dtype_inference()
    del models
    comfy.model_management.unload_all_models()
    return {"case": asdict(case), "compute": str(compute).removeprefix("torch."), "first": runs[0], "second": runs[1],
            "peak_mib": round(memory["peak"]), "other_cores": round(others.cores(), 2),
            "text_encoder": f"T5 of XXL's width, {T5_LAYERS} of 24 layers" if "stand_in" in files["text_encoders"].name else
                            "T5 from a file"}
