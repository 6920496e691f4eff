"""What the weights themselves tell: fp8 numbers whose scales were lost, and numbers that were too small for fp8."""

from collections.abc import Mapping

import torch
from torch import Tensor

LARGEST = (448.0, 240.0, 57344.0)  # of fp8: e4m3fn, e4m3fnuz, e5m2
MOST = 24  # matrices looked at, spread over the model


def suspicion(sd: Mapping[str, Tensor]) -> str:
    """In words what is odd about a model's matrices, in whatever type they are stored; empty if nothing is.

    A trained matrix's largest number is a few units at most. A converter to fp8 stretches every matrix to fp8's range and
    writes a scale beside it. If the scale is lost, the largest number of most matrices is exactly fp8's largest.
    """
    names = [key for key, value in sd.items() if plain(key, value, sd)]
    names = names[::max(1, len(names) // MOST)]
    full = emptied = 0
    for name in names:
        value = sd[name].detach().float().abs()
        full += float(value.max()) in LARGEST
        emptied += bool((value == 0).float().mean() > 0.5)
    if 2 * full > len(names):
        return (f"in {full} of {len(names)} matrices the largest number is exactly fp8's largest: they were stretched to fp8's "
                "range, and the scales to undo it are lost")
    if 2 * emptied > len(names):
        return (f"in {emptied} of {len(names)} matrices most numbers are exactly zero: they were too small for the type that "
                "they were converted to")
    return ""


def plain(key: str, value: Tensor, sd: Mapping[str, Tensor]) -> bool:
    """Whether it is a matrix that stands for itself, without a scale beside it."""
    layer = key.removesuffix(".weight")
    return (key.endswith(".weight") and type(value) in (Tensor, torch.nn.Parameter) and value.ndim == 2
            and value.is_floating_point() and not {f"{layer}.weight_scale", f"{layer}.scale_weight"} & set(sd))
