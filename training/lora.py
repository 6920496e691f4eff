"""LoRA on the pack's own network, by peft, and its file, which core's LoRA loaders read (arXiv 2106.09685)."""

import contextlib
import json
import math
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from peft import LoraConfig, inject_adapter_in_model
from peft.tuners.lora import LoraLayer
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor, nn

from ace_model.checkpoint import explain_damage
from ace_model.dit import DiT
from ace_model.errors import InputError

from .checkpoints import write
from .settings import LAYERS

NAME = "default"  # of the only adapter, as peft has it
PREFIX = "diffusion_model."  # in front of a layer's path, as core's loader expects
TYPES = {"float32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


class LoRAError(InputError):
    """A LoRA that does not fit the network."""


def add(dit: DiT, rank: int = 16, alpha: float = 16, targets: str | Sequence[str] = LAYERS, seed: int = 0
        ) -> dict[str, nn.Parameter]:
    """Put a LoRA in front of every targeted linear layer; what is trained, in float32, as {core's key: parameter}. At first it
    changes nothing.

    targets: a regular expression for a layer's whole path, or the ends of paths. Raises LoRAError if one is no linear layer.
    """
    linear = [name for name, module in dit.named_modules() if isinstance(module, nn.Linear)]
    patterns = {targets: targets} if isinstance(targets, str) else {end: rf"(.*\.)?{re.escape(end)}" for end in targets}
    chosen: set[str] = set()
    for target, pattern in patterns.items():
        found = {name for name in linear if re.fullmatch(pattern, name)}
        if not found:
            raise LoRAError(f"lora.targets names {target!r}, but no linear layer of this model is called so: its layers are "
                            f"{kinds(linear)}.")
        chosen |= found
    config = LoraConfig(r=rank, lora_alpha=alpha, target_modules=sorted(chosen))
    inject_adapter_in_model(config, dit, NAME, low_cpu_mem_usage=True)  # without numbers: peft would give them the base's type
    trained, generator = {}, torch.Generator().manual_seed(seed)
    for path, layer in layers(dit).items():
        device = layer.get_base_layer().weight.device
        layer.cast_input_dtype_enabled = False
        for name, parts in (("lora_A", layer.lora_A), ("lora_B", layer.lora_B)):
            values = torch.zeros(parts[NAME].weight.shape)
            if name == "lora_A":
                nn.init.kaiming_uniform_(values, math.sqrt(5), generator=generator)  # as every linear layer begins
            parts[NAME] = Half(nn.Parameter(values.to(device)))
            trained[f"{PREFIX}{path}.{name}.weight"] = parts[NAME].weight
    return trained


class Half(nn.Module):
    """One of the two matrices of a LoRA: kept in float32, which small steps need, and used in the type of what comes in."""

    def __init__(self, weight: nn.Parameter):
        super().__init__()
        self.weight = weight

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight.to(x.dtype))


def kinds(names: Sequence[str]) -> str:
    """Names of layers with their numbers left out, each once."""
    return ", ".join(dict.fromkeys(re.sub(r"(^|\.)\d+\.", r"\1*.", name) for name in names))


def layers(dit: DiT) -> dict[str, LoraLayer]:
    """{path: the layer} of all that have a LoRA."""
    return {name: module for name, module in dit.named_modules() if isinstance(module, LoraLayer)}


@contextlib.contextmanager
def without(dit: DiT) -> Iterator[None]:
    """The network as it was before it had a LoRA."""
    for layer in layers(dit).values():
        layer.enable_adapters(False)
    try:
        yield
    finally:
        for layer in layers(dit).values():
            layer.enable_adapters(True)


@contextlib.contextmanager
def holding(live: dict[str, Tensor], other: dict[str, Tensor]) -> Iterator[None]:
    """The network with other weights, such as the averaged ones, in place of the live ones."""
    before = {name: tensor.detach().clone() for name, tensor in live.items()}
    with torch.no_grad():
        for name, tensor in live.items():
            tensor.copy_(other[name])
    try:
        yield
    finally:
        with torch.no_grad():
            for name, tensor in live.items():
                tensor.copy_(before[name])


def save_file(path: Path, weights: dict[str, Tensor], alpha: float, about: dict, kind: str = "float32") -> Path:
    """Write {key: tensor} of `add` as core's loaders read it. about: kept in the metadata. Raises CheckpointError."""
    tensors = {name: tensor.detach().to("cpu", TYPES[kind]).contiguous() for name, tensor in weights.items()}
    tensors |= {name.replace("lora_A.weight", "alpha"): torch.tensor(float(alpha)) for name in weights if "lora_A" in name}
    data = save(tensors, {"training": json.dumps(about)})
    write(path, lambda file: file.write(data))
    return path


def load_file(path: Path, live: dict[str, Tensor], alpha: float) -> None:
    """Put a file of `save_file` into the parameters of `add`. Raises LoRAError for one of another rank, alpha or layers, and
    CheckpointError for a damaged one."""
    with explain_damage(path), safe_open(path, "pt") as file:
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    weights = {key: value for key, value in tensors.items() if not key.endswith(".alpha")}
    if weights.keys() != live.keys():
        raise LoRAError(f"{path.name} and lora.targets are about other layers, such as {min(weights.keys() ^ live.keys())}.")
    for key, value in weights.items():
        if value.shape != live[key].shape:
            rank, given = live[key].shape["lora_B" in key], value.shape["lora_B" in key]
            raise LoRAError(f"lora.rank is {rank}, but {path.name} has the rank {given}: set lora.rank to {given}.")
    stored = {float(value) for key, value in tensors.items() if key.endswith(".alpha")}
    if stored != {float(alpha)}:
        raise LoRAError(f"lora.alpha is {alpha:g}, but {path.name} has {min(stored, default=0):g}: set lora.alpha to that.")
    with torch.no_grad():
        for key, value in weights.items():
            live[key].copy_(value)
