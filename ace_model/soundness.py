"""Whether a model's tensors are what they should be: names, shapes, types, scales of quantized layers, finite numbers.

Everything is known before anything is built. Quantized layers are as ComfyUI 0.30 stores them: beside a weight its
`comfy_quant` (JSON as bytes, with the format's name) and `weight_scale`.
"""

import json
import logging
import re
from collections.abc import Collection, Mapping

import torch
from torch import Tensor

from .config import shown
from .errors import InputError

FLOATS = (torch.float32, torch.float16, torch.bfloat16, torch.float64, torch.float8_e4m3fn, torch.float8_e5m2)
SCALES = (torch.float32, torch.float16, torch.bfloat16)
NOT_FINITE = {torch.float8_e4m3fn: 0x7F, torch.float8_e5m2: 0x7C}  # from this pattern of bits on, without the sign
PIECE = 1 << 20  # numbers looked at together
QUANTIZATION = re.compile(
    r"(.+)\.(comfy_quant|weight_scale(?:_2)?|input_scale|pre_quant_scale|scale_weight|scale_input)")
IN_SHAPE = {"float8_e4m3fn": FLOATS, "float8_e5m2": FLOATS, "int8_tensorwise": (torch.int8,)}  # {format: types}; all others
# pack numbers, so that a weight's shape is another
EMBEDDINGS = re.compile(r"(^|\.)(shared|relative_attention_bias)\.weight$")


class CheckpointError(InputError):
    """The file is not what it should be, or it is damaged."""


def fit(sd: Mapping[str, Tensor], shapes: Mapping[str, tuple], name: str, what: str, formats: Collection[str] | None = None,
        extra: Collection[str] | None = None) -> None:
    """Raises CheckpointError unless `sd` holds these tensors and they hold numbers.

    what: the model, in words. formats: of quantized layers, that the host knows; None: any. extra: keys allowed besides;
    None: any.
    """
    layers, problems = quantized(sd, shapes, formats)
    missing = [f"missing {key}" for key in shapes if key not in sd]
    unexpected = [] if extra is None else [f"unexpected {shown(key)}" for key in sorted(sd)
                                           if key not in shapes and key not in extra and not belongs(key, shapes)]
    present = [(key, sd[key], shapes[key]) for key in shapes
               if key in sd and layers.get(key.removesuffix(".weight"), "float8_e4m3fn") in IN_SHAPE]
    misshapen = [f"{key} is {tuple(value.shape)}, not {shape}" for key, value, shape in present if tuple(value.shape) != shape]
    if missing or unexpected or misshapen:
        raise CheckpointError(f"{name} does not fit {what}: {listed(missing + unexpected + misshapen)}. The file is "
                              "incomplete, or it belongs to another model: download it again, or choose another file.")
    for key, value, _ in present:
        types = IN_SHAPE[layers[layer]] if (layer := key.removesuffix(".weight")) in layers else FLOATS
        if value.dtype not in types or not stored(value):
            problems.append(f"{key} is {str(value.dtype).removeprefix('torch.')}")
    if problems:
        raise CheckpointError(f"{name} is stored in a way that cannot be used: {listed(problems)}. Weights must be float32, "
                              "float16, bfloat16 or fp8, or quantized with a scale for every layer: convert the original "
                              "again, or choose another file.")
    bad = [key for key, value in sd.items() if (key in shapes or belongs(key, shapes)) and not finite(key, value)]
    if bad:
        raise CheckpointError(f"{name} holds NaN or infinity in {listed(bad)}: it is damaged, or it was converted to a type "
                              "that cannot hold its numbers. Download it again, or convert the original again.")


def quantized(sd: Mapping[str, Tensor], shapes: Mapping[str, tuple], formats: Collection[str] | None
              ) -> tuple[dict[str, str], list[str]]:
    """({layer: format} of the quantized layers, what is wrong with them)."""
    found: dict[str, str] = {}
    if "scaled_fp8" in sd:  # an older way of storing, which ComfyUI converts before it loads
        return found, []
    marked = {match[1] for key in sd if (match := QUANTIZATION.fullmatch(key))}
    problems = []
    for key, shape in shapes.items():
        layer = key.removesuffix(".weight")
        if layer not in marked or not key.endswith(".weight"):
            continue
        found[layer] = format_of(sd.get(f"{layer}.comfy_quant"))
        scale = sd.get(f"{layer}.weight_scale")
        if not found[layer] or formats is not None and found[layer] not in formats:
            problems.append(f"{layer}.comfy_quant names no known format")
        elif len(shape) != 2:
            problems.append(f"{layer} cannot be quantized")
        elif scale is None:
            problems.append(f"{layer} has no weight_scale")
        elif found[layer] in IN_SHAPE and (scale.numel() not in (1, shape[0]) or scale.dtype not in SCALES):
            problems.append(f"{layer}.weight_scale is {tuple(scale.shape)} {str(scale.dtype).removeprefix('torch.')}")
    if found:
        problems += [f"{key} has no weight_scale" for key, shape in shapes.items()
                     if len(shape) == 2 and key.endswith(".weight") and key.removesuffix(".weight") not in found
                     and key in sd and sd[key].dtype in NOT_FINITE and not EMBEDDINGS.search(key)]
    return found, problems


def format_of(mark: Tensor | None) -> str:
    """The format that a layer's `comfy_quant` names; empty if it names none."""
    if mark is None or mark.dtype != torch.uint8:
        return ""
    try:
        return str(json.loads(bytes(mark.flatten()[:4096].tolist()))["format"])
    except (ValueError, TypeError, KeyError, RecursionError):
        return ""


def belongs(key: str, shapes: Mapping[str, tuple]) -> bool:
    """Whether a key describes the quantization of one of the layers, or of all."""
    match = QUANTIZATION.fullmatch(key)
    return key == "scaled_fp8" or bool(match) and f"{match[1]}.weight" in shapes


def stored(value: Tensor) -> bool:
    """Whether every number is in memory: not sparse, not without data, not one number shown a million times."""
    return (value.layout == torch.strided and not value.is_meta
            and value.numel() * value.element_size() <= value.untyped_storage().nbytes())


def finite(key: str, value: Tensor) -> bool:
    """Whether there is no NaN and no infinity. One pass over the numbers (about 10 GB a second), without a copy of them."""
    if value.dtype in NOT_FINITE:
        if EMBEDDINGS.search(key):  # large words of T5 are beyond fp8; ComfyUI reads them as 0
            return True
        bits = value.contiguous().view(torch.uint8).flatten()
        return all((piece & 0x7F).max() < NOT_FINITE[value.dtype] for piece in bits.split(PIECE))
    if value.dtype not in FLOATS or not value.numel():
        return True
    return all(bool(torch.isfinite(each)) for each in torch.aminmax(value.detach()))


def check_depth(depth: int, width: int, right: int | None, name: str) -> None:
    """A file whose last blocks are missing looks like a shallower model. right: the number of blocks; None: unknown."""
    how = f"the safetensors metadata (config: {{\"DEPTH\": {depth}}})"
    if right is None:
        warn(f"{name} has {depth} blocks of width {width}, as no published model has: nothing tells whether its last blocks "
             f"are missing. If it is complete, state its depth in {how}.")
    elif depth != right:
        raise CheckpointError(f"{name} has {depth} blocks, but a model of width {width} has {right}. Download it again, or, if "
                              f"it is meant to be so, state its depth in {how}.")


def warn(message: str) -> None:
    logging.warning("ACE Editor: %s", message)


def listed(items: list[str]) -> str:
    return "; ".join(items[:4]) + (f"; {len(items) - 4} more" if len(items) > 4 else "")
