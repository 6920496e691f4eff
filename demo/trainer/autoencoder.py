"""A small autoencoder, 8× down to 4 channels, whose file is one of TAESD's, which ComfyUI's VAELoader reads.

Keys and shapes after madebyollin/taesd (MIT) as in ComfyUI 0.30 `comfy/taesd/taesd.py`: 64 channels everywhere and three
blocks per resolution. On a small budget most of that is dead weight, so widths per resolution and the number of live
blocks are settings; `full_state_dict` pads with zeros (a block of zeros after a ReLU is the identity).
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

LATENT = 4
SCALE = 0.18215  # SD 1.5's: the file's latents are 1/SCALE of unit variance, the diffusion model multiplies them back
RESOLUTIONS = (1, 2, 4, 8)  # pixels per cell


@dataclass(frozen=True)
class Widths:
    """Channels and live blocks per resolution, finest first."""

    channels: tuple[int, ...]
    encoder: tuple[int, ...]
    decoder: tuple[int, ...]


FULL = Widths((64,) * 4, (1, 3, 3, 3), (1, 3, 3, 3))  # of the file


class Block(nn.Module):
    """Three convolutions beside the identity; live=False keeps the final ReLU alone."""

    def __init__(self, width: int, live: bool):
        super().__init__()
        conv = [nn.Conv2d(width, width, 3, padding=1) for _ in range(3)] if live else None
        self.conv = nn.Sequential(conv[0], nn.ReLU(), conv[1], nn.ReLU(), conv[2]) if live else None
        if live:
            nn.init.zeros_(conv[2].weight)
            nn.init.zeros_(conv[2].bias)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x if self.conv is None else self.conv(x) + x)


class Clamp(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(x / 3) * 3


def encoder(widths: Widths) -> nn.Sequential:
    layers: list[nn.Module] = [nn.Conv2d(3, widths.channels[0], 3, padding=1)]
    for level, width in enumerate(widths.channels):
        if level:
            layers.append(nn.Conv2d(widths.channels[level - 1], width, 3, stride=2, padding=1, bias=False))
        layers += [Block(width, i < widths.encoder[level]) for i in range(FULL.encoder[level])]
    return nn.Sequential(*layers, nn.Conv2d(widths.channels[-1], LATENT, 3, padding=1))


def decoder(widths: Widths) -> nn.Sequential:
    layers: list[nn.Module] = [Clamp(), nn.Conv2d(LATENT, widths.channels[-1], 3, padding=1), nn.ReLU()]
    for level in reversed(range(len(RESOLUTIONS))):
        width = widths.channels[level]
        layers += [Block(width, i < widths.decoder[level]) for i in range(FULL.decoder[level])]
        if level:
            layers += [nn.Upsample(scale_factor=2), nn.Conv2d(width, widths.channels[level - 1], 3, padding=1, bias=False)]
    return nn.Sequential(*layers, nn.Conv2d(widths.channels[0], 3, 3, padding=1))


class Autoencoder(nn.Module):
    """encode: (B, 3, H, W) in [0, 1] → (B, 4, H/8, W/8) of about unit variance; decode: back, unclamped."""

    def __init__(self, widths: Widths):
        super().__init__()
        self.widths = widths
        self.taesd_encoder, self.taesd_decoder = encoder(widths), decoder(widths)
        start_from_mosaic(self)

    def encode(self, images: Tensor) -> Tensor:
        return self.taesd_encoder(images)

    def decode(self, latents: Tensor) -> Tensor:
        return self.taesd_decoder(latents)

    def full_state_dict(self) -> dict[str, Tensor]:
        """Keys and shapes of the TAESD file: 64 channels, every block present, zeros where nothing was trained."""
        full = {k: torch.zeros_like(v) for k, v in Autoencoder(FULL).state_dict().items()}
        for key, value in self.state_dict().items():
            full[key][tuple(slice(n) for n in value.shape)] = value
        return full | {"vae_scale": torch.tensor(SCALE), "vae_shift": torch.tensor(0.0)}

    def load_full(self, sd: dict[str, Tensor]) -> None:
        """Read a file; what lies outside the widths must be zero. Raises ValueError otherwise."""
        own = self.state_dict()
        for key, value in sd.items():
            rest = value.clone()
            if key in own:
                rest[tuple(slice(n) for n in own[key].shape)] = 0
            if rest.any() and not key.startswith("vae_"):
                raise ValueError(f"{key} has trained values outside the widths {self.widths}")
        self.load_state_dict({k: sd[k][tuple(slice(n) for n in own[k].shape)].float() for k in own})


@torch.no_grad()
def start_from_mosaic(model: Autoencoder) -> None:
    """Initial weights: three latent channels hold the mean color of their 8 × 8 pixels and the decoder shows it.

    Training from there learns the detail only, in a tenth of the steps that random weights need to find colors.
    """
    for half in (model.taesd_encoder, model.taesd_decoder):
        convs = [m for m in half if isinstance(m, nn.Conv2d)]
        for conv in half.modules():
            if isinstance(conv, nn.Conv2d) and conv.weight.abs().sum() > 0:  # a block's last stays zero
                nn.init.kaiming_normal_(conv.weight, nonlinearity="relu")
        for conv in convs:
            conv.weight[:3] = 0
            if conv.bias is not None:
                conv.bias[:] = 0
            for c in range(3):
                if conv.stride == (2, 2):
                    conv.weight[c, c, 1:, 1:] = 0.25
                else:
                    conv.weight[c, c, 1, 1] = 1
        ends = (convs[-1], 4.0, -2.0) if half is model.taesd_encoder else (convs[0], 0.25, 0.5)
        ends[0].weight[:3] *= ends[1]
        ends[0].bias[:3] = ends[2]
        convs[-1].weight[3:] *= 0.3


def loss(model: Autoencoder, images: Tensor, noise: Tensor) -> Tensor:
    """Absolute error of values and of steps between neighbours, and latents of zero mean and unit spread.

    images (B, 3, H, W) in [0, 1] · noise (B, 4, H/8, W/8): added to the latents, so that the decoder forgives the
    diffusion model small errors and similar pictures get similar latents.
    """
    latents = model.encode(images).float()
    decoded = model.decode(latents + noise).float()
    pixels = (decoded - images).abs().mean()
    steps = sum((decoded.diff(dim=d) - images.diff(dim=d)).abs().mean() for d in (2, 3))
    spread = latents.transpose(0, 1).flatten(1)
    shape = (spread.mean(1) ** 2).mean() + ((spread.std(1) - 1) ** 2).mean()
    return pixels + 0.5 * steps + 0.02 * shape
