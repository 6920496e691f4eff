"""Weight files of every kind that loads, tiny, and ways to damage them: `damaged(seed, number, folder)`."""

import json
import os
import pickle
import random
import re
import struct
from dataclasses import dataclass

import safetensors.torch
import torch

from ace_model.config import HEADS, ACEConfig
from ace_model.dit import DiT

ACE = ACEConfig(hidden_size=72, depth=2, num_heads=2, text_width=16, mlp_ratio=0.5)
MODEL_PREFIX = "model.diffusion_model."
LAST_BLOCK = re.compile(r"(^|\.)blocks?\.1\.")


@dataclass
class Base:
    """An undamaged file: what it holds, and as what it is read."""

    name: str
    tensors: dict
    metadata: dict | None = None
    plain: bool = True  # its tensors are the model's, so that an independent reader can say what a damaged one holds

    @property
    def t5(self):
        return self.name.startswith("t5")

    @property
    def pickled(self):
        return self.name.endswith(".pth")


def random_weights(shapes, draw, dtype=torch.float32):
    """Numbers that every floating-point type holds exactly, so that a change of type changes none."""
    generator = torch.Generator().manual_seed(draw)
    return {key: (torch.randint(-7, 8, shape, generator=generator) / 4).to(dtype) for key, shape in shapes.items()}


def t5_shapes(width=8, hidden=16):
    shapes = {"shared.weight": (32128, width), "encoder.final_layer_norm.weight": (width,),
              "encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight": (32, 2)}
    for i in range(2):
        block = f"encoder.block.{i}.layer"
        shapes |= {f"{block}.0.SelfAttention.{part}.weight": (width, width) for part in "qkvo"}
        shapes |= {f"{block}.{part}.layer_norm.weight": (width,) for part in (0, 1)}
        shapes |= {f"{block}.1.DenseReluDense.{part}.weight": (hidden, width) for part in ("wi_0", "wi_1")}
        shapes[f"{block}.1.DenseReluDense.wo.weight"] = (width, hidden)
    return shapes


def scaled(weights, old, form="float8_e4m3fn", dtype=torch.float8_e4m3fn):
    """Linear layers in fewer bits with a scale, stored as older files do or as ComfyUI does today."""
    out = {"scaled_fp8": torch.zeros(2, dtype=dtype)} if old else {}
    for key, weight in weights.items():
        layer = key.removesuffix(".weight")
        if weight.ndim == 2 and layer != key and "shared" not in key and "bias" not in layer:
            out |= {key: (weight * 4).to(dtype), f"{layer}.{'scale_weight' if old else 'weight_scale'}": torch.tensor(0.25)}
            if not old:
                out[f"{layer}.comfy_quant"] = torch.tensor(list(json.dumps({"format": form}).encode()), dtype=torch.uint8)
        else:
            out[key] = weight
    return out


def as_pixart(weights):
    out = {key.replace("y_embedder.fc", "y_embedder.y_proj.fc"): value for key, value in weights.items()}
    for i in range(ACE.depth):
        for layer, fused, parts in (("attn", "qkv", "qkv"), ("cross_attn", "kv_linear", "kv"), ("attn", "proj", "o")):
            for kind in ("weight", "bias"):
                block = f"blocks.{i}.{layer}"
                out[f"{block}.{fused}.{kind}"] = torch.cat([out.pop(f"{block}.{part}.{kind}") for part in parts])
    out["x_embedder.proj.weight"] = out["x_embedder.proj.weight"][:, :4].contiguous()
    return out


def bases():
    ace = random_weights({key: value.shape for key, value in DiT(ACE, device="meta").state_dict().items()}, 0)
    t5 = random_weights(t5_shapes(), 1, torch.float16)
    depth = {"config": '{"DEPTH": 2}'}
    marked = {key: value for key, value in scaled(ace, False).items() if not key.endswith("comfy_quant")}
    layers = {key.removesuffix(".weight_scale"): {"format": "float8_e4m3fn"} for key in marked if key.endswith("weight_scale")}
    return [
        Base("native.safetensors", ace, ACE.metadata()),
        Base("nested.pth", {key: value.half() for key, value in ace.items()}),
        Base("saved.safetensors", {MODEL_PREFIX + key: value for key, value in (ace | {HEADS: torch.tensor([2])}).items()}, {}),
        Base("pixart.pth", as_pixart(ace), plain=False),
        Base("scaled.safetensors", scaled(ace, True), ACE.metadata(), plain=False),
        Base("int8.safetensors", scaled(ace, False, "int8_tensorwise", torch.int8), ACE.metadata(), plain=False),
        Base("marked.safetensors", marked, {"_quantization_metadata": json.dumps({"layers": layers}), **ACE.metadata()}, False),
        Base("t5.safetensors", t5, depth),
        Base("t5.pth", t5),
        Base("t5_scaled.safetensors", scaled(t5, True), depth, plain=False),
    ]


BASES = bases()


def blob(base, tensors, metadata, path):
    """The bytes of a file with this content."""
    if base.pickled:
        torch.save({"state_dict": tensors, "epoch": 3} if base.name.startswith("nested") else tensors, path)
        return path.read_bytes()
    return safetensors.torch.save({key: value.contiguous().clone() for key, value in tensors.items()}, metadata)


class Code:
    def __reduce__(self):
        return os.mkdir, ("code-of-a-weight-file-ran",)


FLOATS = [torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.float8_e4m3fn, torch.float8_e5m2]
OTHERS = [torch.int8, torch.uint8, torch.int64, torch.bool, torch.complex64]
NUMBERS = ["2", "7", "99999", "2000000000", "9" * 5000, "-1", "x", ""]
FREE = ("y_embedder.fc1.weight", "relative_attention_bias.weight")  # their columns alone tell text width and T5's heads
SHAPES = [lambda v: v.flatten(), lambda v: v.flatten()[:1].reshape(()), lambda v: v[None], lambda v: v[:0], lambda v: v[:-1],
          lambda v: v[:, :3], lambda v: v[:, :4], lambda v: v.transpose(0, -1), lambda v: torch.cat([v, v]),
          lambda v: v[..., :1], lambda v: torch.cat([v, v[:, :2]], 1)]
IN_ANY_FILE = ["drop", "drop some", "drop last block", "rename", "rename", "far block", "junk", "reshape", "reshape", "retype",
               "poison", "poison"]
IN_A_PICKLE = [*IN_ANY_FILE, "expand", "odd value", "odd key", "odd key"]


def change_tensors(draw, base):
    """(what was done, tensors): keys dropped, renamed, added, or a tensor of another shape, type or value. Raises if that
    cannot be done."""
    what, sd = draw.choice(IN_A_PICKLE if base.pickled else IN_ANY_FILE), dict(base.tensors)
    key = draw.choice(sorted(sd))
    value = sd[key]
    if what in ("drop", "rename", "odd key"):
        del sd[key]
    if what == "drop some":
        sd = {each: sd[each] for each in draw.sample(sorted(sd), draw.randint(1, len(sd) - 1))}
    elif what == "drop last block":
        sd = {each: sd[each] for each in sd if not LAST_BLOCK.search(each)}
    elif what == "rename":
        sd[draw.choice([f"{key}x", f"{MODEL_PREFIX}{key}", f"net.{key}", key.upper(), key.replace("0", "00", 1), key[1:], "é",
                        key.replace(".0.", f".{draw.choice(NUMBERS)[:20]}."), key.replace("q", "qkv", 1)])] = value
    elif what == "far block":
        block = f"encoder.block.{draw.choice(NUMBERS)}.layer.0.layer_norm.weight" if base.t5 else \
            f"blocks.{draw.choice(NUMBERS)}.attn.q.bias"
        sd[(MODEL_PREFIX if base.name.startswith("saved") else "") + block] = torch.zeros(8 if base.t5 else 72)
    elif what == "junk":
        sd[draw.choice(["epoch", "optimizer.state", "model.junk", "net.a", "lora_up.weight",
                        f"{key.removesuffix('.weight')}.weight_scale"])] = value
    elif what == "reshape":
        sd[key] = draw.choice(SHAPES)(value)
        if sd[key].shape == value.shape or key.endswith(FREE) and sd[key].ndim == 2 and len(sd[key]) == len(value):
            raise ValueError("a square on its side is a square, and a free size may be any")
    elif what == "retype":
        sd[key] = value.to(draw.choice(FLOATS + OTHERS))
    elif what == "poison":
        sd[key] = value.clone()
        sd[key].view(-1)[draw.randrange(value.numel())] = draw.choice([float("nan"), float("inf"), -float("inf")])
    elif what == "expand":
        sd[key] = torch.zeros(1).expand(draw.choice([value.shape, (10 ** 9,), (10 ** 6, 10 ** 6)]))
    elif what == "odd value":
        sd[key] = draw.choice([None, 3, "text", [1, 2], {"a": value}, value.to_sparse(), torch.nn.Parameter(value),
                               torch.zeros(value.shape, device="meta")])
    elif what == "odd key":
        sd[draw.choice([7, 10 ** 30, None, ("a",), b"x", True, 1.5])] = value
    return f"{what} {key}"[:90], sd


def change_metadata(draw, base):
    metadata = dict(base.metadata or {})
    metadata["config"] = draw.choice(["", "[2]", "2", "null", "NUM_HEADS: 2", "{", "[" * 50000, '"', '{"NUM_HEADS": 3}', *(
        f'{{"{name}": {value}}}' for name in ("NUM_HEADS", "num_heads", "DEPTH")
        for value in ("[2]", '"2"', "0", "-2", "2.0", "2.5", "1e999", "NaN", "null", "true", "{}", "9" * 4000, "5"))])
    if "_quantization_metadata" in metadata:
        metadata["_quantization_metadata"] = draw.choice(["", "{}", "[]", "{", '{"layers": []}', '{"layers": {"a": 3}}',
                                                          metadata["_quantization_metadata"].replace("float8", "flout8", 1)])
    return f"metadata {metadata}"[:90], metadata


def change_bytes(draw, data, header):
    """(what was done, bytes). header: how many bytes come before the numbers."""
    what, at = draw.choice(["cut", "cut", "flip", "flip", "flip header", "flip header", "flip header", "zero", "insert"]), 0
    out = bytearray(data)
    if what == "cut":
        out = out[:draw.choice([0, 1, 7, 8, 9, header, draw.randrange(len(out)), draw.randrange(min(header, len(out)))])]
    elif what.startswith("flip"):
        for _ in range(draw.choice([1, 1, 3, 20])):
            at = draw.randrange(header if "header" in what else len(out))
            out[at] ^= 1 << draw.randrange(8)
    else:
        at, size = draw.randrange(len(out)), draw.choice([1, 8, 100])
        out[at:at + (size if what == "zero" else 0)] = bytes(size)
    return f"{what} at {at} of {len(data)}", bytes(out)


def change_header(draw, data):
    """A safetensors header that says something else about one tensor, or about none."""
    size = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8:8 + size])
    key = draw.choice(sorted(header))
    entry, what = header[key], draw.choice(["dtype", "shape", "data_offsets", "name", "metadata", "size"])
    if what in ("dtype", "shape", "data_offsets") and what in entry:
        other = header[draw.choice([each for each in header if each != "__metadata__"])]
        entry[what] = draw.choice([other[what], None, [], [-1, 5], [0, 2 ** 62], ["a"], "F32", "I8", "F16", "BF16", "F64", 3])
    elif what == "name":
        header[draw.choice(["", "x" * 100000, "__metadata__", key + "\u0000"])] = header.pop(key)
    elif what == "metadata":
        header["__metadata__"] = draw.choice([[], 3, {"a": 3}, {"a": None}, {"config": []}, "x"])
    text = json.dumps(header).encode()
    length = draw.choice([0, 1, 2 ** 63, 2 ** 40, len(text) - 1]) if what == "size" else len(text)
    return f"header {what} of {key}"[:90], struct.pack("<Q", length) + text + data[8 + size:]


OTHER_FILES = {
    "empty": b"", "page": b"<!DOCTYPE html><html><body>Log in</body></html>", "text": b"hello " * 50, "zeros": bytes(5000),
    "pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n", "zip": b"PK\x03\x04" + bytes(200),
    **{f"pickle {i}": pickle.dumps(each, protocol) for protocol in (2, 4) for i, each in enumerate([
        [], {}, 3, "text", None, {"state_dict": Code()}, Code(), {"state_dict": {"state_dict": {}}}, {1: 2}, [[[[]]]] * 9])},
}


def damaged(seed, number, folder):
    """(base, what was done to it, path, whether only bytes changed) of file `number` of a seed."""
    draw = random.Random(f"{seed} {number}")
    base = draw.choice(BASES)
    path = folder / f"{number}-{base.name}"
    kinds = ["tensors"] * 5 + ["other file"] + ["metadata"] * 2 * (not base.pickled) + ["bytes"] * 3 * base.plain
    kind = draw.choice(kinds + ["header"] * 2 * (base.plain and not base.pickled))
    if kind == "tensors":
        what, data = written(draw, base, path)
    elif kind == "metadata":
        what, metadata = change_metadata(draw, base)
        data = blob(base, base.tensors, metadata, path)
    elif kind == "other file":
        what = draw.choice([*OTHER_FILES, "random bytes", "the other type"])
        data = OTHER_FILES.get(what) if what in OTHER_FILES else draw.randbytes(draw.randint(1, 5000))
        if what == "the other type":
            path = path.with_suffix(".safetensors" if base.pickled else ".pth")
            data = blob(base, base.tensors, base.metadata, folder / "scratch")
    else:
        data = blob(base, base.tensors, base.metadata, path)
        header = 1000 if base.pickled else 8 + struct.unpack("<Q", data[:8])[0]
        what, data = change_header(draw, data) if kind == "header" else change_bytes(draw, data, header)
    path.write_bytes(data)
    return base, what, path, kind in ("bytes", "header")


def written(draw, base, path):
    """(what was done, bytes) after a change of tensors that such a file can hold."""
    while True:
        try:
            what, tensors = change_tensors(draw, base)
            return what, blob(base, tensors, base.metadata, path)
        except Exception:  # noqa: BLE001, S112 - no such tensor or file can be made: draw again
            continue
