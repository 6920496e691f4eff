"""A LoRA file in the demo model: its product is added to the weights, as core's LoRA loader does (arXiv 2106.09685)."""

from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from ace_model.dit import DiT
from ace_model.errors import InputError

NAMES = (("lora_A.weight", "lora_B.weight"), ("lora_down.weight", "lora_up.weight"))  # of the trainer, and of Train LoRA
WHOLE = {"diff": "weight", "diff_b": "bias"}  # Train LoRA adds whole vectors, too
PREFIX = "diffusion_model."


class LoRAError(InputError):
    """A LoRA that does not fit the demo model."""


@torch.no_grad()
def merge(dit: DiT, path: Path) -> None:
    """Add the LoRA in a file to the network's weights. Raises LoRAError."""
    tensors, parameters = load_file(path), dict(dit.named_parameters())
    for name, change in changes(tensors, Path(path).name).items():
        parameter = parameters.get(name.removeprefix(PREFIX))
        if parameter is None or parameter.numel() != change.numel():
            raise LoRAError(f"{Path(path).name} changes {name}, which the demo model has not, or of another size: use a LoRA "
                            "that was trained on the demo model.")
        parameter += change.reshape(parameter.shape)


def changes(tensors: dict[str, Tensor], file: str) -> dict[str, Tensor]:
    """{name of a parameter: what is added to it}."""
    out, rest = {}, dict(tensors)
    for key in tensors:
        layer, _, kind = key.rpartition(".")
        pair = next((pair for pair in NAMES if key.endswith(pair[0])), None)
        if pair:
            layer = key.removesuffix(f".{pair[0]}")
            low, high = rest.pop(key).float().flatten(1), rest.pop(f"{layer}.{pair[1]}").float().flatten(1)
            out[f"{layer}.weight"] = float(rest.pop(f"{layer}.alpha", len(low))) / len(low) * high @ low
        elif kind in WHOLE:
            out[f"{layer}.{WHOLE[kind]}"] = rest.pop(key).float()
    if rest:
        raise LoRAError(f"{file} holds {min(rest)}, which is no part of a LoRA: use another file.")
    return out
