"""Every layout of spec/ace.md section 2 loads; every other file is refused for what it is."""

import json
import os
import pickle
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from ace_model.checkpoint import check, native_state_dict, read, t5_config
from ace_model.config import DEPTHS, HEADS, ACEConfig
from ace_model.dit import DiT
from ace_model.soundness import CheckpointError, finite

CONFIG = ACEConfig(hidden_size=144, depth=2, num_heads=2, text_width=32)


@pytest.fixture(scope="module")
def weights():
    generator = torch.Generator().manual_seed(0)
    return {key: torch.randn(value.shape, generator=generator) for key, value in DiT(CONFIG).state_dict().items()}


def same(given, expected):
    return given.keys() == expected.keys() and all(torch.equal(given[key], expected[key]) for key in expected)


def test_published_architecture_by_count():
    model = DiT(ACEConfig(), device="meta")
    assert len(model.state_dict()) == 715
    assert sum(p.numel() for p in model.parameters()) == 610_989_728


def as_pixart(weights):
    """The same layers under PixArt's names, projections fused, mask channel gone."""
    out = {key.replace("y_embedder.fc", "y_embedder.y_proj.fc"): value for key, value in weights.items()}
    for i in range(CONFIG.depth):
        for kind in ("weight", "bias"):
            cross, self_ = f"blocks.{i}.cross_attn.", f"blocks.{i}.attn."
            out[f"{cross}q_linear.{kind}"] = out.pop(f"{cross}q.{kind}")
            out[f"{cross}kv_linear.{kind}"] = torch.cat([out.pop(f"{cross}{p}.{kind}") for p in "kv"])
            out[f"{self_}qkv.{kind}"] = torch.cat([out.pop(f"{self_}{p}.{kind}") for p in "qkv"])
            out[f"{cross}proj.{kind}"], out[f"{self_}proj.{kind}"] = out.pop(f"{cross}o.{kind}"), out.pop(f"{self_}o.{kind}")
    out["x_embedder.proj.weight"] = out["x_embedder.proj.weight"][:, :4]
    return out


def test_layouts(weights, tmp_path):
    layouts = {
        "bare.pth": weights,
        "nested.pth": {"state_dict": weights, "epoch": 3},
        "comfyui.safetensors": {f"model.diffusion_model.{key}": value for key, value in weights.items()},
        "native.safetensors": weights,
    }
    for name, sd in layouts.items():
        (save_file if name.endswith("safetensors") else torch.save)(sd, tmp_path / name)
        given, config = read(tmp_path / name)
        assert same(given, weights) and config == CONFIG, name


def test_pixart_names(weights):
    expected = {**weights, "x_embedder.proj.weight": weights["x_embedder.proj.weight"].clone()}
    expected["x_embedder.proj.weight"][:, 4] = 0
    assert same(native_state_dict(as_pixart(weights))[0], expected)


def test_heads_from_metadata(weights, tmp_path):
    save_file(weights, tmp_path / "four.safetensors", metadata={"config": '{"NUM_HEADS": 4}'})
    assert read(tmp_path / "four.safetensors")[1].num_heads == 4
    save_file(weights, tmp_path / "five.safetensors", metadata={"config": '{"NUM_HEADS": 5}'})
    with pytest.raises(CheckpointError, match="5 heads do not divide the hidden width 144"):
        read(tmp_path / "five.safetensors")
    save_file(weights, tmp_path / "back.safetensors", metadata=replace(CONFIG, num_heads=6).metadata())
    assert read(tmp_path / "back.safetensors")[1].num_heads == 6
    save_file({**weights, HEADS: torch.tensor([6])}, tmp_path / "kept.safetensors")
    given, config = read(tmp_path / "kept.safetensors")
    assert config.num_heads == 6 and same(given, weights)


def small(*keys):
    return {key: torch.zeros(2, 2) for key in keys}


WRONG = {
    "LoRA": small("lora_unet_blocks_0_attn_q.lora_up.weight", "lora_unet_blocks_0_attn_q.alpha"),
    "ACE-Step": small("genre_embedder.weight", "transformer_blocks.0.attn.to_q.weight"),
    "Stable Diffusion": small("model.diffusion_model.input_blocks.0.0.weight", "model.diffusion_model.out.2.weight"),
    "FLUX": small("double_blocks.0.img_attn.qkv.weight", "img_in.weight"),
    "T5 text encoder": small("shared.weight", "encoder.block.0.layer.0.SelfAttention.q.weight"),
    "a VAE": small("decoder.conv_in.weight", "encoder.conv_in.weight"),
    "an unknown model": small("something.else"),
}


@pytest.mark.parametrize("what", WRONG)
def test_wrong_files_are_named(what, tmp_path):
    save_file(WRONG[what], tmp_path / "file.safetensors")
    with pytest.raises(CheckpointError, match=f"file.safetensors is not an ACE checkpoint: it looks like .*{what}"):
        read(tmp_path / "file.safetensors")


def test_pixart_without_its_query_norm(weights):
    pixart = {key: value for key, value in as_pixart(weights).items() if "norm_" not in key}
    pixart |= small("csize_embedder.mlp.0.weight", "ar_embedder.mlp.0.weight")
    with pytest.raises(CheckpointError, match="looks like a PixArt model.*It lacks blocks.0.cross_attn.norm_q"):
        native_state_dict(pixart)


def test_missing_unexpected_and_misshapen_keys_are_named(weights):
    broken = {**weights, "extra.weight": torch.zeros(1)}
    del broken["blocks.1.attn.q.bias"]
    broken["blocks.1.mlp.fc2.bias"] = torch.zeros(7)
    with pytest.raises(CheckpointError, match=r"missing blocks.1.attn.q.bias; unexpected extra.weight; "
                                              r"blocks.1.mlp.fc2.bias is \(7,\), not \(144,\)"):
        native_state_dict(broken)


@pytest.mark.parametrize("name", ["cut.safetensors", "cut.pth"])
def test_truncated_file(weights, tmp_path, name):
    path = tmp_path / name
    (save_file if name.endswith("safetensors") else torch.save)(weights, path)
    path.write_bytes(path.read_bytes()[:20000])
    with pytest.raises(CheckpointError, match=f"{name} (cannot be read: it is incomplete|was not opened)"):
        read(path)


class Code:
    def __reduce__(self):
        return os.mkdir, (self.path,)


def test_pickle_with_code_does_not_run(tmp_path):
    Code.path = str(tmp_path / "ran")
    (tmp_path / "evil.pth").write_bytes(pickle.dumps({"state_dict": Code()}))
    with pytest.raises(CheckpointError, match="evil.pth was not opened: it is damaged, or it holds more than weights"):
        read(tmp_path / "evil.pth")
    assert not (tmp_path / "ran").exists()


def test_file_without_tensors(tmp_path):
    torch.save({"state_dict": {"epoch": 3}}, tmp_path / "empty.pth")
    with pytest.raises(CheckpointError, match="holds no tensors"):
        read(tmp_path / "empty.pth")


NO_WEIGHTS = {"empty": (b"", "is empty \\(0 bytes\\)"), "page": (b"\n<!DOCTYPE html><html>", "is a web page, not weights"),
              "pointer": (b"version https://git-lfs.github.com/spec/v1\noid", "is a Git LFS pointer")}


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("what", NO_WEIGHTS)
def test_downloads_that_are_no_weights(what, suffix, tmp_path):
    content, match = NO_WEIGHTS[what]
    path = tmp_path / f"{what}{suffix}"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=f"{path.name} {match}"):
        read(path)


FLOATS = [torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.float8_e4m3fn, torch.float8_e5m2]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_weights_that_are_not_finite(dtype, value, weights, tmp_path):
    sd = {key: weight.to(dtype, copy=True) for key, weight in weights.items()}
    torch.save(sd, tmp_path / "sound.pth")
    assert same(read(tmp_path / "sound.pth")[0], sd) if "float8" not in str(dtype) else read(tmp_path / "sound.pth")
    sd["blocks.1.mlp.fc2.weight"].view(-1)[-1] = value  # fp8_e4m3fn has no infinity: it becomes NaN or the largest number
    torch.save(sd, tmp_path / "broken.pth")
    if torch.isfinite(sd["blocks.1.mlp.fc2.weight"].float()).all():
        return read(tmp_path / "broken.pth")  # it holds no such number: nothing is broken
    with pytest.raises(CheckpointError, match="broken.pth holds NaN or infinity in blocks.1.mlp.fc2.weight: it is damaged"):
        read(tmp_path / "broken.pth")


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_every_pattern_of_bits_is_told_finite_or_not(dtype):
    bits = torch.arange(-2 ** 15, 2 ** 15, dtype=torch.int32).to(torch.int16)
    wide = {8: bits.to(torch.float64), 4: (bits.int() << 16).view(torch.float32)}.get(dtype.itemsize)
    numbers = wide if wide is not None else (bits.view(dtype) if dtype.itemsize == 2 else bits.to(torch.uint8).view(dtype))
    expected = torch.isfinite(numbers.float())
    assert finite("a", numbers[expected])
    for number in numbers[~expected][::29]:
        assert not finite("a", torch.stack([torch.ones((), dtype=dtype), number]))


@pytest.mark.parametrize("dtype", [torch.int8, torch.uint8, torch.int64, torch.bool, torch.complex64], ids=str)
def test_weights_of_no_floating_type(dtype, weights, tmp_path):
    name = str(dtype).removeprefix("torch.")
    torch.save({key: weight.to(dtype) for key, weight in weights.items()}, tmp_path / "all.pth")
    with pytest.raises(CheckpointError, match=f"all.pth is stored in a way .*: x_embedder.proj.weight is {name}; .* more"):
        read(tmp_path / "all.pth")
    torch.save({**weights, "blocks.1.attn.k.bias": weights["blocks.1.attn.k.bias"].to(dtype)}, tmp_path / "one.pth")
    with pytest.raises(CheckpointError, match=f"one.pth is stored in a way .*: blocks.1.attn.k.bias is {name}"):
        read(tmp_path / "one.pth")


def without_last_block(sd, prefix="blocks."):
    last = max(int(key[len(prefix):].split(".")[0]) for key in sd if key.startswith(prefix))
    return {key: value for key, value in sd.items() if not key.startswith(f"{prefix}{last}.")}


DEMO = Path(__file__).resolve().parents[2] / "demo" / "weights"


def test_a_file_whose_last_block_is_missing(weights, tmp_path, caplog):
    assert DEPTHS[1152] == 28
    save_file(without_last_block(weights), tmp_path / "cut.safetensors", metadata=CONFIG.metadata())
    with pytest.raises(CheckpointError, match="cut.safetensors has 1 blocks, but a model of width 144 has 2. Download it"):
        read(tmp_path / "cut.safetensors")
    demo = load_file(DEMO / "diffusion_models" / "ace_demo_dit.safetensors") | {HEADS: torch.tensor([8])}
    assert native_state_dict(demo)[1].depth == 6 and not caplog.records
    with pytest.raises(CheckpointError, match="ace has 5 blocks, but a model of width 256 has 6"):
        native_state_dict(without_last_block(demo), "ace")
    check(without_last_block(demo), "ace", {"config": '{"DEPTH": 5}'})
    assert not caplog.records
    native_state_dict(without_last_block(weights), "ace")
    assert "ace has 1 blocks of width 144, as no published model has" in caplog.text
    assert "ace does not say how many attention heads it has: 2 is a guess" in caplog.text


def test_a_block_of_any_number_is_refused_at_once(weights):
    begin = time.process_time()
    for number in ("2", "99999", "2000000000", "9" * 5000, "-1", "x", "", "01", "\u0663"):
        sd = {**weights, f"blocks.{number}.attn.q.bias": weights["blocks.1.attn.q.bias"]}
        with pytest.raises(CheckpointError, match="ace: it holds blocks|ace does not fit ACE .*missing blocks.2") as error:
            native_state_dict(sd, "ace")
        assert len(str(error.value)) < 500
    many = weights | {f"blocks.{i}.attn.q.bias": weights["blocks.1.attn.q.bias"] for i in range(2, 20000)}
    with pytest.raises(CheckpointError, match="it holds 20000 blocks .*at most 128 are possible"):
        native_state_dict(many, "ace")
    assert time.process_time() - begin < 5


FUSED = "blocks.0.attn.qkv.weight"
ODD = {
    "0-d": ({"x_embedder.proj.weight": torch.tensor(1.0)}, r"x_embedder.proj.weight has the shape \(\), but ACE's has 4 dim"),
    "0-d bias": ({"blocks.0.mlp.fc1.bias": torch.tensor(1.0)}, r"blocks.0.mlp.fc1.bias has the shape \(\)"),
    "0-d inside": ({"blocks.1.attn.q.weight": torch.tensor(1.0)}, r"blocks.1.attn.q.weight is \(\), not \(144, 144\)"),
    "3 channels": ({"x_embedder.proj.weight": torch.zeros(144, 3, 2, 2)}, "number of input channels is 3, but ACE takes 5"),
    "7 channels": ({"x_embedder.proj.weight": torch.zeros(144, 7, 2, 2)}, "number of input channels is 7, but ACE takes 5"),
    "no width": ({"x_embedder.proj.weight": torch.zeros(0, 5, 2, 2)}, "width is 0, but ACE takes 2 to"),
    "no patch": ({"x_embedder.proj.weight": torch.zeros(144, 5, 0, 0)}, "patch size is 0, but ACE takes 1 to 16"),
    "patch not square": ({"x_embedder.proj.weight": torch.zeros(144, 5, 2, 3)}, r"proj.weight is \(144, 5, 2, 3\), not"),
    "no output": ({"final_layer.linear.bias": torch.zeros(3)}, "number of output channels is 0, but ACE takes 4 to 64"),
    "no number": ({"blocks.1.attn.q.bias": torch.zeros(144, device="meta")}, "does not hold the numbers of blocks.1"),
    "one number": ({"blocks.1.attn.q.bias": torch.zeros(1).expand(144)}, "does not hold the numbers of blocks.1.attn.q.bias"),
    "two heads": ({HEADS: torch.tensor([2, 2])}, r"its num_heads is \(2,\) numbers, but it must be one whole number"),
    "no head": ({HEADS: torch.tensor(0)}, "its num_heads is 0, but it must be one whole number"),
    "half a head": ({HEADS: torch.tensor([1.5])}, "its num_heads is 1.5, but"),
    "heads NaN": ({HEADS: torch.tensor(float("nan"))}, "its num_heads is nan, but"),
    "heads true": ({HEADS: torch.tensor(True)}, "its num_heads is True, but"),
    "fused 0-d": ({FUSED: torch.tensor(1.0)}, rf"{FUSED} has the shape \(\), which cannot be cut into 3"),
    "fused, uneven": ({FUSED: torch.zeros(433, 144)}, rf"{FUSED} has the shape \(433, 144\), which cannot be cut into 3"),
    "fused, empty": ({FUSED: torch.zeros(0, 144)}, rf"{FUSED} has the shape \(0, 144\), which cannot be cut into 3"),
    "fused and not": ({FUSED: torch.zeros(432, 144)}, "holds blocks.0.attn.q.weight twice"),
}


@pytest.mark.parametrize("what", ODD)
def test_odd_tensors(what, weights):
    changed, match = ODD[what]
    with pytest.raises(CheckpointError, match=f"^ace.*{match}"):
        native_state_dict({**weights, **changed}, "ace")


@pytest.mark.parametrize(("config", "match"), [
    ("[16]", r"the config in its metadata is \[16\], but it must be a JSON object"), ("16", "must be a JSON object"),
    ("NUM_HEADS: 16", "the config in its metadata is NUM_HEADS: 16, but"), ("[" * 100000, "must be a JSON object"),
    ('{"NUM_HEADS": [2]}', r"its NUM_HEADS is \[2\], but it must be one whole"), ('{"num_heads": "2"}', "its num_heads is 2"),
    ('{"NUM_HEADS": 0}', "its NUM_HEADS is 0"), ('{"NUM_HEADS": null}', "its NUM_HEADS is None"),
    ('{"NUM_HEADS": true}', "its NUM_HEADS is True"), ('{"NUM_HEADS": 1e400}', "its NUM_HEADS is inf"),
    ('{"DEPTH": {}}', "its DEPTH is {}"),
])
def test_metadata_of_other_shapes(config, match, weights, tmp_path):
    save_file(weights, tmp_path / "ace.safetensors", metadata={"config": config})
    with pytest.raises(CheckpointError, match=f"ace.safetensors: .*{match}"):
        read(tmp_path / "ace.safetensors")


def test_keys_that_are_no_names(weights, tmp_path):
    torch.save({0: torch.zeros(2), 1: torch.zeros(2)}, tmp_path / "numbers.pth")
    with pytest.raises(CheckpointError, match="numbers.pth holds no tensors with names"):
        read(tmp_path / "numbers.pth")
    torch.save({**weights, 7: torch.zeros(2)}, tmp_path / "besides.pth")
    assert same(read(tmp_path / "besides.pth")[0], weights)


def test_an_ace_model_that_lacks_a_part_is_told_so(weights):
    part = {key: weight for key, weight in weights.items() if key != "t_block.1.weight"}
    with pytest.raises(CheckpointError, match="ace is an incomplete ACE checkpoint: it lacks t_block.1.weight. Download"):
        native_state_dict(part, "ace")


def mark(form):
    return torch.tensor(list(json.dumps({"format": form}).encode()), dtype=torch.uint8)


def quantized(weights, form="int8_tensorwise", dtype=torch.int8):
    """Every linear layer in fewer bits, as ComfyUI stores it."""
    out = dict(weights)
    for key, weight in weights.items():
        if weight.ndim == 2 and key.endswith(".weight"):
            layer, scale = key.removesuffix(".weight"), weight.abs().max() / 127
            out |= {key: (weight / scale).round().to(dtype), f"{layer}.weight_scale": scale, f"{layer}.comfy_quant": mark(form)}
    return out


QUERY = "blocks.1.attn.q"
ODD_QUANTIZED = {
    "no mark": ({f"{QUERY}.comfy_quant": None}, f"{QUERY}.comfy_quant names no known format"),
    "mark of another type": ({f"{QUERY}.comfy_quant": mark("int8_tensorwise").long()}, "comfy_quant names no known format"),
    "no JSON": ({f"{QUERY}.comfy_quant": torch.zeros(3, dtype=torch.uint8)}, f"{QUERY}.comfy_quant names no known format"),
    "no scale": ({f"{QUERY}.weight_scale": None}, f"{QUERY} has no weight_scale"),
    "odd scale": ({f"{QUERY}.weight_scale": torch.zeros(7)}, rf"{QUERY}.weight_scale is \(7,\) float32"),
    "float64": ({f"{QUERY}.weight_scale": torch.ones(1, dtype=torch.float64)}, rf"{QUERY}.weight_scale is \(1,\) float64"),
    "NaN": ({f"{QUERY}.weight_scale": torch.tensor(float("nan"))}, f"NaN or infinity in {QUERY}.weight_scale"),
    "neither": ({f"{QUERY}.weight_scale": None, f"{QUERY}.comfy_quant": None}, rf"{QUERY}.weight (is int8|has no)"),
    "int64": ({f"{QUERY}.weight": torch.zeros(144, 144, dtype=torch.int64)}, f"{QUERY}.weight is int64"),
    "fused": ({"blocks.1.attn.qkv.weight_scale": torch.ones(1)}, "unexpected blocks.1.attn.qkv.weight_scale"),
    "a bias": ({"blocks.1.attn.q.bias": torch.zeros(144, dtype=torch.int8)}, "blocks.1.attn.q.bias is int8"),
}


@pytest.mark.parametrize(("form", "dtype"), [("int8_tensorwise", torch.int8), ("float8_e4m3fn", torch.float8_e4m3fn)])
def test_quantized_files(form, dtype, weights):
    sound = quantized(weights, form, dtype)
    given, config = native_state_dict(sound, "ace")
    assert config == CONFIG and given.keys() == sound.keys() and all(given[key] is sound[key] for key in sound)
    with pytest.raises(CheckpointError, match="comfy_quant names no known format"):
        check(sound, "ace", formats=["nvfp4"])
    for what, (changed, match) in ODD_QUANTIZED.items():
        with pytest.raises(CheckpointError, match=f"^ace.*{match}"):
            native_state_dict({k: v for k, v in {**sound, **changed}.items() if v is not None}, "ace")
            pytest.fail(what)


def t5(width=8, inner=8, hidden=16, heads=2, layers=2):
    shapes = {"shared.weight": (32128, width), "encoder.final_layer_norm.weight": (width,),
              "encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight": (32, heads)}
    for i in range(layers):
        block = f"encoder.block.{i}.layer"
        shapes |= {f"{block}.0.SelfAttention.{part}.weight": (inner, width) for part in "qkv"}
        shapes |= {f"{block}.0.SelfAttention.o.weight": (width, inner), f"{block}.1.DenseReluDense.wo.weight": (width, hidden)}
        shapes |= {f"{block}.{part}.layer_norm.weight": (width,) for part in (0, 1)}
        shapes |= {f"{block}.1.DenseReluDense.{part}.weight": (hidden, width) for part in ("wi_0", "wi_1")}
    return {key: torch.ones(shape) for key, shape in shapes.items()}


def test_sizes_of_t5(caplog):
    config = t5_config(t5(width=96, inner=96, heads=4), "t5")
    assert [config[key] for key in ("d_model", "num_layers", "num_heads", "d_kv", "d_ff")] == [96, 2, 4, 24, 16]
    assert not caplog.records
    with pytest.raises(CheckpointError, match="t5: its attention of width 96 cannot have 2 heads"):
        t5_config(t5(width=96, inner=96), "t5")
    with pytest.raises(CheckpointError, match="t5 has 1 blocks, but a model of width 96 has 2"):
        t5_config(without_last_block(t5(width=96, inner=96, heads=4), "encoder.block."), "t5")
    t5_config(t5(), "t5")
    assert "t5 has 2 blocks of width 8, as no published model has" in caplog.text
    large = t5()
    large["shared.weight"] = large["shared.weight"].to(torch.float8_e4m3fn)
    large["shared.weight"][5, 5] = float("nan")  # a word too large for fp8, which ComfyUI reads as 0
    t5_config(large, "t5")


Q, BIAS = (f"encoder.block.0.layer.0.SelfAttention.{part}.weight" for part in ("q", "relative_attention_bias"))
ODD_T5 = {
    "0-d": ({"shared.weight": torch.tensor(1.0)}, r"shared.weight has the shape \(\), but a T5 encoder's has 2 dimensions"),
    "1-d": ({"shared.weight": torch.ones(32128)}, r"shared.weight has the shape \(32128,\)"),
    "no words": ({"shared.weight": torch.ones(0, 8)}, r"shared.weight has the shape \(0, 8\)"),
    "no rows": ({Q: torch.ones(0, 8)}, r"q.weight has the shape \(0, 8\)"),
    "no heads": ({BIAS: torch.ones(32, 0)}, r"relative_attention_bias.weight has the shape \(32, 0\)"),
    "uneven heads": ({BIAS: torch.ones(32, 3)}, "its attention of width 8 cannot have 3 heads"),
    "buckets": ({BIAS: torch.ones(16, 2)}, r"does not fit T5 .*relative_attention_bias.weight is \(16, 2\), not \(32, 2\)"),
    "inside": ({"encoder.block.1.layer.0.SelfAttention.k.weight": torch.ones(8, 9)}, r"k.weight is \(8, 9\), not \(8, 8\)"),
    "int8": ({Q: torch.ones(8, 8, dtype=torch.int8)}, "SelfAttention.q.weight is int8"),
    "NaN": ({"encoder.final_layer_norm.weight": torch.full((8,), float("nan"))}, "NaN or infinity in encoder.final_layer_norm"),
    "far block": ({"encoder.block.2000000000.layer.0.layer_norm.weight": torch.ones(8)}, "it holds encoder.block.2000000000"),
    "one block": ({"encoder.block.2.layer.0.layer_norm.weight": torch.ones(8)}, r"incomplete T5 encoder: tensors are missing"),
    "lacks words": ({"shared.weight": None}, "is an incomplete T5 encoder: it lacks shared.weight. Download it again"),
}


@pytest.mark.parametrize("what", ODD_T5)
def test_odd_t5(what):
    changed, match = ODD_T5[what]
    begin = time.process_time()
    with pytest.raises(CheckpointError, match=f"^t5.*{match}"):
        t5_config({key: value for key, value in {**t5(), **changed}.items() if value is not None}, "t5")
    assert time.process_time() - begin < 2
