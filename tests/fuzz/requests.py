"""Random requests: as data, as a graph for a real ComfyUI, and computed directly by ace_model, without ComfyUI's sampling.

The direct call uses transformers' T5, the reference's DDIM and core's autoencoder. Models are tools/tiny_models.
"""

import re
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ace_model.comfyui import graph as g
from ace_model.diffusion import ddim, guide
from ace_model.dit import DiT
from ace_model.images import preprocess
from ace_model.masks import latent_mask
from tools import tiny_flux, tiny_models
from tools.gallery.models import DIT, T5, VAE

SIZES = {"a.png": (64, 48), "b.png": (32, 80), "c.png": (48, 48), "long.png": (160, 32), "large.png": (200, 152),
         "least.png": (16, 16)}  # width, height
VERBS = ("make it blue", "add a bird", "night", "remove the tree", "like {}", "in the style of {}", "put {} beside {}")
SCALE = 0.18215  # Stable Diffusion 1.x: latents to unit variance


@dataclass(frozen=True)
class Turn:
    instruction: str
    pictures: tuple[str, ...] = ()
    masked: tuple[int, ...] = ()  # which pictures have their mask connected
    blank: bool = False


@dataclass(frozen=True)
class Request:
    """One edit. sampler: of the three in SAMPLERS; width, height 0: the target image's."""

    turns: tuple[Turn, ...]
    seed: int = 7
    steps: int = 4
    guidance: float = 4.5
    rescale: float = 0.5
    negative: str = ""
    width: int = 0
    height: int = 0
    target_image: int = 0
    budget: int = 1024
    batch: int = 1
    sampler: str = "ACE Sampler"
    nodes: dict = field(default_factory=dict)  # further nodes, or other ones

    @property
    def last(self) -> Turn:
        return self.turns[-1]


def request(rng: Random) -> Request:
    """A valid one."""
    turns = tuple(turn(rng, number) for number in range(rng.choice((1, 1, 2, 3))))
    if rng.random() < 0.12:
        turns = (Turn("a red barn"),)
    sized = not turns[-1].pictures or rng.random() < 0.15
    width, height = (16 * rng.randint(1, 6) if sized else 0 for _ in range(2))
    budget = rng.choice((1024, 1024, 36))
    return Request(turns, rng.randrange(1 << 32), rng.choice((2, 4, 5)), rng.choice((4.5, 4.5, 1.0, 7.0, 0.0)),
                   rng.choice((0.5, 0.5, 0.0, 1.0)), rng.choice(("", "ugly")), width, height,
                   rng.randrange(max(1, len(turns[-1].pictures))), budget, rng.choice((1, 1, 1, 2)), rng.choice(list(SAMPLERS)))


def turn(rng: Random, earlier: int) -> Turn:
    pictures = tuple(rng.sample(list(SIZES), rng.choice((1, 1, 2, 3))))
    masked = tuple(i for i in range(len(pictures)) if rng.random() < 0.35)
    names = [name(i) for i in range(len(pictures))] + ["{previous.image}"] * bool(earlier)
    verb = rng.choice(VERBS)
    text = f"{rng.choice(names)} " + verb.format(*(rng.choice(names) for _ in range(verb.count("{}"))))
    return Turn(text, pictures, masked, bool(masked) and rng.random() < 0.3)


def name(number: int) -> str:
    return f"{{image{number or ''}}}"


def ace_sampler(asked: Request) -> dict:
    return g.sample("", seed=asked.seed, steps=asked.steps, guidance=asked.guidance, rescale=asked.rescale)


def ksampler(asked: Request) -> dict:
    return {"guidance": g.node("ACEEditorGuidance", model=["model", 0], rescale=asked.rescale),
            "latent": g.node("KSampler", model=["guidance", 0], positive=["indicator", 0], negative=["indicator", 1],
                             latent_image=["indicator", 2], seed=asked.seed, steps=asked.steps, cfg=asked.guidance,
                             sampler_name="euler", scheduler="simple", denoise=1.0)}


def custom_advanced(asked: Request) -> dict:
    return {"guidance": g.node("ACEEditorGuidance", model=["model", 0], rescale=asked.rescale),
            "guider": g.node("CFGGuider", model=["guidance", 0], positive=["indicator", 0], negative=["indicator", 1],
                             cfg=asked.guidance),
            "sigmas": g.node("ACEEditorScheduler", model=["model", 0], steps=asked.steps, denoise=1.0),
            "noise": g.node("RandomNoise", noise_seed=asked.seed), "euler": g.node("KSamplerSelect", sampler_name="euler"),
            "latent": g.node("SamplerCustomAdvanced", noise=["noise", 0], guider=["guider", 0], sampler=["euler", 0],
                             sigmas=["sigmas", 0], latent_image=["indicator", 2])}


SAMPLERS = {"ACE Sampler": ace_sampler, "KSampler": ksampler, "SamplerCustomAdvanced": custom_advanced}


def graph(asked: Request) -> dict:
    """Nodes model, clip, vae, `load <picture>`, `mask <picture>`, unit0 …, `<i> lcu`, tokens, indicator, latent, save."""
    out, history = g.loaders(DIT.name, T5.name, VAE.name), None
    for i, one in enumerate(asked.turns):
        for picture in one.pictures:
            out[f"load {picture}"] = g.node("LoadImage", image=picture)
            out[f"mask {picture}"] = g.node("LoadImageMask", image=f"mask {picture}", channel="red")
        out[f"unit{i}"] = g.condition_unit(one.instruction, [[f"load {p}", 0] for p in one.pictures],
                                           {slot: [f"mask {one.pictures[slot]}", 0] for slot in one.masked}, one.blank)
        out |= g.remember(str(i), [f"unit{i}", 0], history)
        history = [f"{i} lcu", 0]
    out |= g.encode("", history, width=asked.width, height=asked.height, target_image=asked.target_image,
                    token_budget=asked.budget, negative=asked.negative, batch_size=asked.batch)
    out |= SAMPLERS[asked.sampler](asked)
    return out | {"save": g.node("SaveLatent", samples=["latent", 0], filename_prefix="soak")} | asked.nodes


class Direct:
    """Computes requests without ComfyUI's nodes and samplers."""

    def __init__(self, pictures: Path, comfyui: Path):
        from comfy.taesd.taesd import TAESD
        from transformers import T5Config, T5EncoderModel, T5TokenizerFast
        self.pictures = pictures
        self.dit = DiT(tiny_models.ACE).eval()
        self.dit.load_state_dict(tiny_models.ace())
        self.t5 = T5EncoderModel(T5Config(vocab_size=32128, feed_forward_proj="gated-gelu", **tiny_flux.T5)).eval()
        self.t5.load_state_dict(tiny_flux.t5(), strict=False)
        self.vae = TAESD().eval()
        self.vae.load_state_dict(tiny_models.tiny_vae(), strict=False)
        self.tokenizer = T5TokenizerFast.from_pretrained(str(comfyui / "comfy/text_encoders/t5_tokenizer"))

    def features(self, text: str) -> Tensor:
        return self.t5(torch.tensor([self.tokenizer(" ".join(text.split()))["input_ids"]])).last_hidden_state

    def picture(self, file: str, mode: str) -> Tensor:
        return torch.from_numpy(np.array(Image.open(self.pictures / file).convert(mode))) / 255

    @torch.inference_mode()
    def __call__(self, asked: Request) -> Tensor:
        """The latent, (batch, 4, h, w)."""
        texts, images, selected, offset, before = [], [], [], 0, 0
        for one in asked.turns:
            text = re.sub(r"\{(previous\.)?image([0-9]*)\}", lambda m, own=offset, earlier=before:
                          name(int(m[2] or 0) + (earlier if m[1] else own)), one.instruction)
            for slot, file in enumerate(one.pictures):
                mask = self.picture(f"mask {file}", "L") if slot in one.masked else None
                pixels, chosen = preprocess(self.picture(file, "RGB"), mask, asked.budget, one.blank)
                images.append(self.vae.encode(pixels.movedim(-1, 0)[None] * 2 - 1) * SCALE)
                selected.append(chosen)
                texts.append(text)
            before, offset = offset, offset + len(one.pictures)
        target = selected[before + asked.target_image] if asked.last.pictures else torch.ones(8, 8)
        cells = (asked.height // 8, asked.width // 8) if asked.width else None
        target, *masks = [latent_mask(target, cells)[None], *(latent_mask(each)[None] for each in selected)]
        positive = [self.features(each) for each in (text if asked.last.pictures else asked.last.instruction, *texts)]
        negative = [self.features(asked.negative), *positive[1:]]
        if asked.last.pictures:
            negative[-1] = negative[0]
        names = torch.stack([self.features(name(i))[:, 0] for i in range(10)], dim=1)
        noise = torch.randn(asked.batch, 4, *target.shape[-2:], generator=torch.Generator().manual_seed(asked.seed))

        def eps(x, t, which):
            projected = self.dit.project_text(which, names)
            return torch.cat([self.dit(x[i:i + 1], t[i:i + 1], target, images, masks, *projected) for i in range(len(x))])
        return ddim(lambda x, t: guide(eps(x, t, positive), eps(x, t, negative), asked.guidance, asked.rescale), noise,
                    asked.steps) / SCALE


def write_pictures(folder: Path, seed: int = 3) -> None:
    """Blocks of color, and for each picture a mask of a part of it."""
    generator = torch.Generator().manual_seed(seed)
    for file, (width, height) in SIZES.items():
        blocks = torch.randint(0, 256, (height // 8, width // 8, 3), generator=generator, dtype=torch.uint8)
        Image.fromarray(blocks.repeat_interleave(8, 0).repeat_interleave(8, 1).numpy()).save(folder / file)
        mask = Image.new("RGB", (width, height))
        mask.paste((255, 255, 255), (width // 4, height // 4, 3 * width // 4, 3 * height // 4))
        mask.save(folder / f"mask {file}")
