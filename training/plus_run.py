"""A run of ACE++: what differs from one of ACE."""

from collections.abc import Callable
from pathlib import Path

import torch

from ace_model.plus import TOKEN_BUDGET
from ace_model.plus_text import T5_LENGTH

from . import data, lora, memory, plus
from .formats import DataError
from .network import BASES, Batch, holding
from .run import Run, RunError


class PlusRun(Run):
    """Of FLUX.1-Fill, or of ACE++'s full fine-tune."""

    def read_model(self) -> None:
        if not self.settings.model.clip_l:
            raise RunError("model.clip_l is missing, and ACE++ has two text encoders: set it to clip_l.safetensors, and "
                           "model.text_encoder to t5xxl_fp16.safetensors.")
        from ace_model.comfyui import flux  # needs ComfyUI
        self.flux, self.files["clip_l"] = flux, self.path("clip_l", self.loader.text_encoder_path)
        self.weights, self.arguments = flux.read(self.files["diffusion"])
        self.split, self.budget = self.arguments["in_channels"] == flux.FFT, self.settings.train.token_budget or TOKEN_BUDGET
        width, double, single = (self.arguments[name] for name in ("hidden_size", "depth", "depth_single_blocks"))
        self.say(f"{Path(self.files['diffusion']).name}: width {width}, {double} double and {single} single blocks")

    def read_examples(self, path: Path, controls: tuple[Path, ...]) -> list[data.Example]:
        examples = data.read(path, controls, self.settings.data.folder, budget=self.budget)
        problems, self.largest = plus.check(examples, self.settings.plus, self.budget, self.tokens)
        if problems:
            raise DataError(path, *(f"{where}: {what}" for where, what in problems))
        return examples

    def predict(self) -> memory.Prediction:
        model, batch = self.settings.model, self.settings.train.batch
        flux = self.flux.build(self.arguments, model.checkpointing)
        holding(flux.state_dict(), flux, self.flux.blocks(flux), model.base, "meta")
        live = lora.add(flux, self.settings.lora.rank, self.settings.lora.alpha, self.settings.lora.targets)
        sizes = memory.prediction(flux, live, self.settings, 0)

        def prepare() -> tuple[plus.Network, Batch]:
            text = {"text": torch.empty(T5_LENGTH, self.arguments["context_in_dim"]),
                    "pooled": torch.empty(self.arguments["vec_in_dim"])}
            height, width = self.largest
            shape = batch, self.arguments["out_channels"], height // 8, width // 8
            latents = [torch.empty(shape) for _ in range(2 + self.split)]
            mask = torch.empty(batch, 1, height, width, dtype=torch.bool)
            return self.wrapped(flux, lambda words: text), Batch(latents, [mask], [[""] * batch])
        return memory.replace(sizes, step=memory.peak_of(flux, self.settings, prepare, self.device))

    def encoders(self) -> tuple[plus.Encoder, Callable[[list], plus.Requests]]:
        clip = self.flux.load_text_encoder(self.files["text_encoder"], self.files["clip_l"])
        vae = self.loader.load_vae(self.files["vae"])
        encoder = plus.Encoder(encoders_of(clip, vae), self.cache, self.settings.plus, self.budget, self.split)
        found = encoder.features("")
        for name, key, own in (("text", "text_encoder", "context_in_dim"), ("pooled", "clip_l", "vec_in_dim")):
            if found[name].shape[-1] != self.arguments[own]:
                raise RunError(f"model.{key} has features of width {found[name].shape[-1]}, but "
                               f"{Path(self.files['diffusion']).name} reads {self.arguments[own]}: give the text encoder that "
                               "belongs to it.")
        return encoder, lambda asked: plus.Requests(asked, encoder, lambda latent: vae.decode(
            self.flux.LATENTS.process_out(latent)))

    def network(self, encoder: plus.Encoder) -> plus.Network:
        model = self.settings.model
        flux = self.flux.build(self.arguments, model.checkpointing)
        return self.wrapped(holding(self.weights, flux, self.flux.blocks(flux), model.base, self.device), encoder.features)

    def wrapped(self, flux: torch.nn.Module, features: Callable) -> plus.Network:
        return plus.Network(flux, self.flux.velocity, features, BASES[self.settings.model.base], self.settings.plus.guidance)


def encoders_of(clip, vae) -> plus.Encoders:
    """Of ComfyUI's CLIP and VAE. Raises PlusError, VAEError."""
    from ace_model.comfyui import flux, signature  # needs ComfyUI
    from ace_model.comfyui.plus import check_flux_vae, encode_text, tokenizers_of
    tokenizers_of(clip)
    check_flux_vae(vae)

    @torch.no_grad()
    def features(words: str) -> dict[str, torch.Tensor]:
        text, more = encode_text(clip, words, 0.0)[0]
        return {"text": text[0], "pooled": more["pooled_output"][0]}

    @torch.no_grad()
    def latent(pixels: torch.Tensor) -> torch.Tensor:
        return flux.LATENTS.process_in(vae.encode(pixels[None]).float())[0]
    return plus.Encoders(features, latent, signature.signature(clip.patcher, vae.patcher))
