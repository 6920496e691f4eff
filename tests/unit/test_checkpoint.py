"""Every layout of spec/ace.md section 2 loads; every other file is refused for what it is."""

import os
import pickle

import pytest
import torch
from safetensors.torch import save_file

from ace_model.checkpoint import CheckpointError, native_state_dict, read
from ace_model.config import ACEConfig
from ace_model.dit import DiT

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
    save_file(weights, tmp_path / "back.safetensors", metadata=ACEConfig(hidden_size=144, num_heads=6).metadata())
    assert read(tmp_path / "back.safetensors")[1].num_heads == 6


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
