"""One real ComfyUI server for all tests here, with tiny random models in the published layouts."""

from types import SimpleNamespace

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from ace_model.config import ACEConfig
from ace_model.dit import DiT
from tools.comfy_server import ComfyServer
from tools.tiny_models import tiny_vae

CONFIG = ACEConfig(hidden_size=144, depth=2, num_heads=2, text_width=48)
T5 = {"vocab_size": 32128, "d_model": 48, "d_kv": 16, "d_ff": 96, "num_layers": 2, "num_heads": 3,
      "feed_forward_proj": "gated-gelu"}
SIZES = {"a.png": (64, 48), "b.png": (32, 80), "c.png": (48, 48)}  # width, height


@pytest.fixture(scope="session")
def tiny():
    """The tiny models as plain PyTorch: `dit` (DiT), `t5` (transformers' T5EncoderModel), `vae_sd`."""
    from transformers import T5Config, T5EncoderModel
    generator = torch.Generator().manual_seed(0)
    dit = DiT(CONFIG).eval()
    dit.load_state_dict({key: torch.randn(value.shape, generator=generator) / value.shape[-1] ** 0.5
                         for key, value in dit.state_dict().items()})
    torch.manual_seed(0)
    t5 = T5EncoderModel(T5Config(**T5)).eval()
    return SimpleNamespace(dit=dit, t5=t5, vae_sd=tiny_vae())


@pytest.fixture(scope="session")
def base(tmp_path_factory, tiny):
    """Base directory with models and pictures."""
    base = tmp_path_factory.mktemp("comfyui")
    for folder in ("diffusion_models", "text_encoders", "vae", "loras"):
        (base / "models" / folder).mkdir(parents=True)
    (base / "input").mkdir()
    models = base / "models"
    save_file(tiny.dit.state_dict(), models / "diffusion_models/ace_tiny.safetensors")
    torch.save({"state_dict": tiny.dit.state_dict()}, models / "diffusion_models/ace_tiny.pth")
    save_file({k: v.clone() for k, v in tiny.t5.state_dict().items() if "embed_tokens" not in k},
              models / "text_encoders/t5_tiny.safetensors")
    save_file(tiny.vae_sd, models / "vae/taesd_tiny.safetensors")
    generator = torch.Generator().manual_seed(3)
    for name, (width, height) in SIZES.items():
        blocks = torch.randint(0, 256, (height // 8, width // 8, 3), generator=generator, dtype=torch.uint8)
        Image.fromarray(blocks.repeat_interleave(8, 0).repeat_interleave(8, 1).numpy()).save(base / "input" / name)
    mask = torch.zeros(48, 64, dtype=torch.uint8)
    mask[16:32, 24:56] = 255
    Image.fromarray(mask.numpy()).convert("RGB").save(base / "input/mask.png")
    Image.new("RGB", (64, 48)).save(base / "input/black.png")
    return base


@pytest.fixture(scope="session")
def server(base):
    with ComfyServer(base, extra_args=["--preview-method", "latent2rgb"]) as server:
        yield server


@pytest.fixture(scope="session")
def run(server, base):
    """run(graph) → the latent (B, 4, h, w) that its SaveLatent node wrote."""
    def run(graph, node="save"):
        info = server.run(graph, timeout=240)[node]["latents"][0]
        return load_file(base / "output" / info["subfolder"] / info["filename"])["latent_tensor"]
    return run
