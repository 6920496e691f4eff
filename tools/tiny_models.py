"""Random weights in the published layouts and under the published names, small enough to write and run in seconds.

`write(models_folder)` writes what the workflows load, so that a real ComfyUI runs them without 12 GB of downloads. Core's
loaders expect larger text encoders for FLUX; tests/server/tiny_flux_pack tells core their sizes.
"""

from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from ace_model.config import ACEConfig
from ace_model.dit import DiT
from tools import tiny_flux
from tools.gallery.models import CLIP_L, DIT, DIT_1024, FLUX, FLUX_VAE, T5, UPSCALER, VAE
from tools.tiny_flux import randoms, t5

TEXT_WIDTH = tiny_flux.TEXT_WIDTH  # one text encoder file serves both models, like the published one
FLUX_INPUTS = 64  # of img_in: FLUX.1-dev
ACE = ACEConfig(hidden_size=72, depth=2, num_heads=1, text_width=TEXT_WIDTH, mlp_ratio=2.0)


def write(models: Path) -> None:
    """models/…: every file that any workflow of the pack names but SAM 3, whose size core fixes."""
    for model, tensors in ((DIT, ace()), (DIT_1024, ace()), (T5, t5()), (VAE, tiny_vae()), (CLIP_L, tiny_flux.clip_l()),
                           (FLUX, tiny_flux.flux(FLUX_INPUTS)), (FLUX_VAE, tiny_vae(16)),
                           (UPSCALER, upscaler())):
        save(tensors, models / model.directory / model.name)
    for inputs, name in tiny_flux.NAMES.items():
        save(tiny_flux.flux(inputs), models / "diffusion_models" / name)
    for name, rank in tiny_flux.LORAS.items():
        save(tiny_flux.lora(rank), models / "loras" / name)
    save(tiny_flux.redux(), models / "style_models/flux1-redux-dev.safetensors")
    save(tiny_flux.siglip(), models / "clip_vision/sigclip_vision_patch14_384.safetensors")


def save(tensors: dict[str, Tensor], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".pth":
        torch.save(tensors, path)
    else:
        save_file(tensors, path)


def ace(seed: int = 0) -> dict[str, Tensor]:
    """An ACE of two blocks. Its heads are 72 wide, like the published ones, so it needs no metadata."""
    shapes = {key: value.shape for key, value in DiT(ACE, device="meta").state_dict().items()}
    return randoms(shapes, seed)


def tiny_vae(latent_channels: int = 4, seed: int = 2) -> dict[str, Tensor]:
    """An autoencoder in the TAESD layout, 8×8 pixels to a cell, which core's Load VAE reads."""
    shapes: dict[str, tuple] = {}

    def conv(name: str, into: int, out: int, bias: bool = True) -> None:
        shapes[f"{name}.weight"] = (out, into, 3, 3)
        if bias:
            shapes[f"{name}.bias"] = (out,)

    def blocks(name: str, *numbers: int) -> None:
        for number in numbers:
            for layer in (0, 2, 4):
                conv(f"{name}.{number}.conv.{layer}", 64, 64)

    conv("taesd_encoder.0", 3, 64)
    conv("taesd_encoder.14", 64, latent_channels)
    blocks("taesd_encoder", 1, 3, 4, 5, 7, 8, 9, 11, 12, 13)
    for number in (2, 6, 10):
        conv(f"taesd_encoder.{number}", 64, 64, bias=False)
    conv("taesd_decoder.1", latent_channels, 64)
    conv("taesd_decoder.19", 64, 3)
    blocks("taesd_decoder", 3, 4, 5, 8, 9, 10, 13, 14, 15, 18)
    for number in (7, 12, 17):
        conv(f"taesd_decoder.{number}", 64, 64, bias=False)
    return randoms(shapes, seed)


def upscaler(seed: int = 6) -> dict[str, Tensor]:
    """A Real-ESRGAN of one block, which makes a picture four times as large."""
    features, grown, shapes = 8, 32, {}  # core's reader of such files takes 32 for granted

    def conv(name: str, into: int, out: int) -> None:
        shapes[f"{name}.weight"], shapes[f"{name}.bias"] = (out, into, 3, 3), (out,)

    conv("conv_first", 3, features)
    for part in (1, 2, 3):
        for number in range(5):
            conv(f"body.0.rdb{part}.conv{number + 1}", features + number * grown, features if number == 4 else grown)
    for name in ("conv_body", "conv_up1", "conv_up2", "conv_hr"):
        conv(name, features, features)
    conv("conv_last", features, 3)
    return randoms(shapes, seed)
