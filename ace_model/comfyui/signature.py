"""What a model is: a hash that stays the same after a restart, and differs for other weights, LoRAs and patches."""

import contextlib
import hashlib
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

SAMPLES = 16  # numbers of a tensor that count: enough to tell trained weights apart, and read in milliseconds
DEPTH = 6


def signature(*patchers) -> str:
    """A hash of ModelPatchers (a model's, and `.patcher` of a text encoder or VAE)."""
    return hashlib.sha256("\n".join(line for patcher in patchers for line in _lines(patcher)).encode()).hexdigest()


def _lines(patcher):
    """The weights as they were loaded, then everything that was put on top of them."""
    for key, value in sorted(patcher.model.state_dict().items()):
        saved = patcher.backup.get(key)  # ComfyUI has merged a patch into this weight
        yield f"{key} {described(value if saved is None else saved.weight)}"
    for key, patches in sorted(patcher.patches.items(), key=lambda item: str(item[0])):
        yield f"patch {key} {described(patches)}"
    for key, value in sorted(patcher.object_patches.items()):
        yield f"object {key} {described(value)}"
    yield described({key: value for key, value in patcher.model_options.items() if value})


def described(value: Any, depth: int = DEPTH) -> str:
    """Numbers, names and tensors inside `value`, without anything that another run would name otherwise (addresses, ids)."""
    if value is None or isinstance(value, bool | int | float | str | torch.dtype):
        return repr(value)
    if isinstance(value, Tensor):
        flat = value.detach().flatten()
        where = torch.linspace(0, flat.numel() - 1, min(SAMPLES, flat.numel()), dtype=torch.float64)  # float32 ends at 2²⁴
        chosen = flat[where.long().to(flat.device)]
        return f"{value.dtype} {tuple(value.shape)} {chosen.double().tolist()}"
    kind = f"{type(value).__module__}.{type(value).__qualname__}"
    if depth == 0:
        return kind
    if isinstance(value, Mapping):
        inside = sorted(f"{key}: {described(item, depth - 1)}" for key, item in value.items())
    elif isinstance(value, set | frozenset):
        inside = sorted(described(item, depth - 1) for item in value)
    elif isinstance(value, list | tuple):
        inside = [described(item, depth - 1) for item in value]
    elif isinstance(value, torch.nn.Module):
        inside = [f"{key}: {described(item)}" for key, item in sorted(value.state_dict().items())]
    elif callable(value) and hasattr(value, "__qualname__"):
        held = [getattr(value, "__self__", None), getattr(value, "__defaults__", None)]
        with contextlib.suppress(ValueError):  # a cell that is still empty
            held += [cell.cell_contents for cell in getattr(value, "__closure__", None) or ()]
        inside = [value.__qualname__, *(described(item, depth - 1) for item in held)]
    else:
        inside = [f"{key}: {described(item, depth - 1)}" for key, item in sorted(getattr(value, "__dict__", {}).items())]
    return f"{kind}({', '.join(inside)})"
