"""A LoRA file in the demo model: its product is added to the weights, as core's LoRA loader does (arXiv 2106.09685)."""

from pathlib import Path

import torch
from safetensors.torch import load_file

from ace_model.dit import DiT
from ace_model.errors import InputError

NAMES = (("lora_A.weight", "lora_B.weight"), ("lora_down.weight", "lora_up.weight"))  # of the trainer, and of Train LoRA
PREFIX = "diffusion_model."


class LoRAError(InputError):
    """A LoRA that does not fit the demo model."""


@torch.no_grad()
def merge(dit: DiT, path: Path) -> None:
    """Add the LoRA in a file to the network's weights. Raises LoRAError."""
    tensors, weights = load_file(path), dict(dit.named_parameters())
    for key in [key for key in tensors if key.endswith((NAMES[0][0], NAMES[1][0]))]:
        down, up = next(pair for pair in NAMES if key.endswith(pair[0]))
        layer = key.removesuffix(f".{down}")
        weight = weights.get(f"{layer.removeprefix(PREFIX)}.weight")
        low, high = tensors.pop(key).float(), tensors.pop(f"{layer}.{up}").float()
        alpha = float(tensors.pop(f"{layer}.alpha", len(low)))
        if weight is None or weight.shape != (high.shape[0], low.shape[1]):
            raise LoRAError(f"{Path(path).name} changes {layer}, which the demo model has not, or of another size: use a LoRA "
                            "that was trained on the demo model.")
        weight += alpha / len(low) * high @ low
    if tensors:
        raise LoRAError(f"{Path(path).name} holds {min(tensors)}, which is no part of a LoRA: use another file.")
