"""Random FLUX.1-Fill and ACE++ files in the published layouts, small enough to write and run in seconds.

`write(models_folder)` writes what the ACE++ workflows load, under the published names. Text and vision encoders
are smaller than core's loaders expect; tests/server/tiny_flux_pack tells core their sizes.
"""

import math
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

HIDDEN, TEXT_WIDTH, POOLED_WIDTH, VISION_WIDTH = 128, 64, 32, 32
T5 = {"num_layers": 2, "d_model": TEXT_WIDTH, "d_kv": 16, "num_heads": 4, "d_ff": 96}
CLIP_L = {"num_hidden_layers": 2, "hidden_size": POOLED_WIDTH, "num_attention_heads": 2, "intermediate_size": 48}
SIGLIP = {"num_channels": 3, "hidden_act": "gelu_pytorch_tanh", "hidden_size": VISION_WIDTH, "image_size": 28,
          "intermediate_size": 48, "model_type": "siglip_vision_model", "num_attention_heads": 2,
          "num_hidden_layers": 2, "patch_size": 14, "image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5]}
FILL, FFT = 384, 448
NAMES = {FILL: "flux1-fill-dev.safetensors", FFT: "ace_plus_fft.safetensors"}
LORAS = {"comfyui_portrait_lora64.safetensors": 64, "comfyui_subject_lora16.safetensors": 16,
         "comfyui_local_lora16.safetensors": 16}


def flux(inputs: int, blocks: int = 1, seed: int = 0) -> dict[str, Tensor]:
    """FLUX.1's keys as published, with one head; `inputs` of img_in: 64 dev, 384 Fill, 448 ACE++'s full fine-tune."""
    shapes: dict[str, tuple] = {}

    def linear(name: str, into: int, out: int) -> None:
        shapes[f"{name}.weight"], shapes[f"{name}.bias"] = (out, into), (out,)

    def norms(name: str) -> None:
        shapes[f"{name}.query_norm.scale"] = shapes[f"{name}.key_norm.scale"] = (128,)

    linear("img_in", inputs, HIDDEN)
    linear("txt_in", TEXT_WIDTH, HIDDEN)
    for name, into in (("time_in", 256), ("guidance_in", 256), ("vector_in", POOLED_WIDTH)):
        linear(f"{name}.in_layer", into, HIDDEN)
        linear(f"{name}.out_layer", HIDDEN, HIDDEN)
    for i in range(blocks):
        for side in ("img", "txt"):
            block = f"double_blocks.{i}.{side}"
            linear(f"{block}_mod.lin", HIDDEN, 6 * HIDDEN)
            linear(f"{block}_attn.qkv", HIDDEN, 3 * HIDDEN)
            norms(f"{block}_attn.norm")
            linear(f"{block}_attn.proj", HIDDEN, HIDDEN)
            linear(f"{block}_mlp.0", HIDDEN, 4 * HIDDEN)
            linear(f"{block}_mlp.2", 4 * HIDDEN, HIDDEN)
        block = f"single_blocks.{i}"
        linear(f"{block}.modulation.lin", HIDDEN, 3 * HIDDEN)
        linear(f"{block}.linear1", HIDDEN, 7 * HIDDEN)
        linear(f"{block}.linear2", 5 * HIDDEN, HIDDEN)
        norms(f"{block}.norm")
    linear("final_layer.linear", HIDDEN, 64)
    linear("final_layer.adaLN_modulation.1", HIDDEN, 2 * HIDDEN)
    return randoms(shapes, seed)


def lora(rank: int, seed: int = 10) -> dict[str, Tensor]:
    """A LoRA with kohya's keys, like the published ones, and an alpha for every pair."""
    shapes = {}
    for name, out in (("double_blocks_0_img_attn_qkv", 3 * HIDDEN), ("double_blocks_0_img_attn_proj", HIDDEN),
                      ("double_blocks_0_img_mod_lin", 6 * HIDDEN), ("single_blocks_0_linear1", 7 * HIDDEN)):
        shapes[f"lora_unet_{name}.lora_down.weight"] = (rank, HIDDEN)
        shapes[f"lora_unet_{name}.lora_up.weight"] = (out, rank)
    tensors = randoms(shapes, seed)
    alphas = {key.replace("lora_up.weight", "alpha"): torch.tensor(float(rank)) for key in tensors if "lora_up" in key}
    return tensors | alphas


def t5(seed: int = 1) -> dict[str, Tensor]:
    """A T5 v1.1 encoder with the full vocabulary."""
    width, hidden = T5["d_model"], T5["d_ff"]
    shapes = {"shared.weight": (32128, width), "encoder.final_layer_norm.weight": (width,),
              "encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight": (32, T5["num_heads"])}
    for i in range(T5["num_layers"]):
        block = f"encoder.block.{i}.layer"
        shapes |= {f"{block}.0.SelfAttention.{part}.weight": (width, width) for part in "qkvo"}
        shapes |= {f"{block}.{part}.layer_norm.weight": (width,) for part in (0, 1)}
        shapes |= {f"{block}.1.DenseReluDense.{part}.weight": (hidden, width) for part in ("wi_0", "wi_1")}
        shapes[f"{block}.1.DenseReluDense.wo.weight"] = (width, hidden)
    return randoms(shapes, seed)


def clip_l(seed: int = 2) -> dict[str, Tensor]:
    """CLIP-L's text encoder."""
    width = CLIP_L["hidden_size"]
    shapes = {"text_model.embeddings.token_embedding.weight": (49408, width),
              "text_model.embeddings.position_embedding.weight": (77, width)}
    shapes |= {f"text_model.final_layer_norm.{part}": (width,) for part in ("weight", "bias")}
    return randoms(shapes | clip_layers("text_model", CLIP_L), seed)


def siglip(seed: int = 5) -> dict[str, Tensor]:
    """SigLIP's vision encoder: 4 patches of 14×14 pixels."""
    width = SIGLIP["hidden_size"]
    shapes = {"vision_model.embeddings.patch_embedding.weight": (width, 3, 14, 14),
              "vision_model.embeddings.patch_embedding.bias": (width,),
              "vision_model.embeddings.position_embedding.weight": (4, width)}
    shapes |= {f"vision_model.post_layernorm.{part}": (width,) for part in ("weight", "bias")}
    return randoms(shapes | clip_layers("vision_model", SIGLIP), seed)


def clip_layers(prefix: str, config: dict) -> dict[str, tuple]:
    width, hidden, shapes = config["hidden_size"], config["intermediate_size"], {}
    for i in range(config["num_hidden_layers"]):
        layer = f"{prefix}.encoder.layers.{i}"
        for part in ("q_proj", "k_proj", "v_proj", "out_proj"):
            shapes[f"{layer}.self_attn.{part}.weight"] = (width, width)
            shapes[f"{layer}.self_attn.{part}.bias"] = (width,)
        shapes |= {f"{layer}.mlp.fc1.weight": (hidden, width), f"{layer}.mlp.fc1.bias": (hidden,),
                   f"{layer}.mlp.fc2.weight": (width, hidden), f"{layer}.mlp.fc2.bias": (width,)}
        shapes |= {f"{layer}.layer_norm{n}.{part}": (width,) for n in (1, 2) for part in ("weight", "bias")}
    return shapes


def redux(seed: int = 3) -> dict[str, Tensor]:
    """FLUX.1 Redux: vision features → text features."""
    middle = 3 * TEXT_WIDTH
    return randoms({"redux_up.weight": (middle, VISION_WIDTH), "redux_up.bias": (middle,),
                    "redux_down.weight": (TEXT_WIDTH, middle), "redux_down.bias": (TEXT_WIDTH,)}, seed)


def randoms(shapes: dict[str, tuple], seed: int) -> dict[str, Tensor]:
    """Gaussian weights of 1/√(inputs), norms near 1, small biases, so that activations keep their size."""
    generator, out = torch.Generator().manual_seed(seed), {}
    for key, shape in shapes.items():
        noise = torch.randn(*shape, generator=generator)
        norm = len(shape) == 1 and "norm" in key and "bias" not in key
        out[key] = 1 + 0.1 * noise if norm else noise * (0.1 if len(shape) < 2 else math.prod(shape[1:]) ** -0.5)
    return out


def save(tensors: dict[str, Tensor], path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(tensors, path)
    return path


def write(models: Path) -> None:
    """models/…: both models, the LoRAs, text encoders, Redux and its vision encoder; the VAE is tiny_models' own."""
    for inputs, name in NAMES.items():
        save(flux(inputs), models / "diffusion_models" / name)
    for i, (name, rank) in enumerate(LORAS.items()):
        save(lora(rank, seed=10 + i), models / "loras" / name)
    save(t5(), models / "text_encoders/t5xxl_fp16.safetensors")
    save(clip_l(), models / "text_encoders/clip_l.safetensors")
    save(redux(), models / "style_models/flux1-redux-dev.safetensors")
    save(siglip(), models / "clip_vision/sigclip_vision_patch14_384.safetensors")
