"""The LoRA for few steps that ships with the demo model."""

import json

import torch
from safetensors import safe_open
from safetensors.torch import load_file

from demo.trainer.model import DIT_FILE, WEIGHTS
from tools.gallery.models import DEMO_FAST

FILE = WEIGHTS / "loras" / DEMO_FAST


def test_it_is_small_and_says_how_it_was_made():
    assert FILE.stat().st_size < 2e6
    with safe_open(FILE, "pt") as opened:
        assert {"steps", "batch", "rate", "seed", "options"} <= set(json.loads(opened.metadata()["training"]))
    tensors = load_file(FILE)
    assert {tensor.dtype for key, tensor in tensors.items() if not key.endswith(".alpha")} == {torch.float16}
    assert all(tensor.isfinite().all() for tensor in tensors.values())


def test_every_pair_fits_a_layer_of_the_demo_model():
    """Under the names that core's LoRA loaders know: `diffusion_model.`, the layer's path, the part."""
    tensors, weights = load_file(FILE), load_file(WEIGHTS / DIT_FILE)
    layers = [key.removesuffix(".lora_A.weight") for key in tensors if key.endswith(".lora_A.weight")]
    parts = "lora_A.weight", "lora_B.weight", "alpha"
    assert len(layers) > 50 and set(tensors) == {f"{layer}.{part}" for layer in layers for part in parts}
    for layer in layers:
        low, high, alpha = (tensors[f"{layer}.{part}"] for part in parts)
        assert (high @ low).shape == weights[f"{layer.removeprefix('diffusion_model.')}.weight"].shape
        assert alpha == len(low) and high.abs().max() > 0
