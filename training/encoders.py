"""ComfyUI's text encoder and VAE for encode.Encoder. Needs ComfyUI: ace_model.comfyui.headless.start, or to run inside it."""

from pathlib import Path

import torch
from torch import Tensor

from .encode import Encoders

if "." in __package__:
    from ..ace_model.comfyui import conditioning, loader, signature
    from ..ace_model.comfyui import text as t5
else:
    from ace_model.comfyui import conditioning, loader, signature
    from ace_model.comfyui import text as t5


def load(text_encoder: str, vae: str) -> Encoders:
    """Files by path, or by name in ComfyUI's models folders or among the demo's. Raises CheckpointError, FileNotFoundError,
    and what `of` raises."""
    texts = text_encoder if Path(text_encoder).is_file() else loader.text_encoder_path(text_encoder)
    pictures = vae if Path(vae).is_file() else loader.vae_path(vae)
    return of(loader.load_text_encoder(texts), loader.load_vae(pictures))


def of(clip, vae) -> Encoders:
    """Of a CLIP and a VAE. Raises TextEncoderError, VAEError."""
    _, tokenizer = t5.t5_of(clip)
    conditioning.check_vae(vae)

    @torch.no_grad()
    def encode_text(words: str) -> Tensor:
        return t5.encode(clip, [words])[0][0]

    @torch.no_grad()
    def encode_picture(pixels: Tensor) -> Tensor:
        return conditioning.latent(vae, pixels)[0]
    return Encoders(encode_text, encode_picture, signature.signature(clip.patcher), signature.signature(vae.patcher),
                    lambda words: tokenizer(words)["input_ids"])
