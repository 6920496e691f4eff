"""Toy-world requests as API-format graphs for ComfyUI with the demo model."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from ace_model.comfyui.graph import condition_unit, decode, encode, loaders, node, remember, sample
from tools.files import replace_file
from tools.gallery.models import DEMO_DIT, DEMO_T5, DEMO_VAE

from .world.scenes import SIZE, Picture, render_each, to_image
from .world.tasks import Region, Turn
from .world.tasks.batch import mask_of


@dataclass(frozen=True)
class Sampling:
    """What the demo model works best with: its tasks have one right answer each, so guidance has little to add."""

    steps: int = 10
    guidance: float = 1.5
    rescale: float = 0.0
    seed: int = 0


def demo_loaders() -> dict[str, dict]:
    return loaders(DEMO_DIT, DEMO_T5, DEMO_VAE)


def request(key: str, turns: Sequence[Turn], files: InputFiles, sampling: Sampling) -> dict[str, dict]:
    """The nodes of one conversation, all named after `key`; `<key> image` gives the answer, `<key>` shows it."""
    graph: dict[str, dict] = {}
    for number, turn in enumerate(turns):
        images, masks = [], {}
        for i, picture in enumerate(turn.pictures):
            name = files.names[picture]
            graph[f"picture {name}"] = node("LoadImage", image=name)
            images.append([f"picture {name}", 0])
            if region := turn.region(i):
                mask = files.masks[region]
                graph[f"mask {mask}"] = node("LoadImageMask", image=mask, channel="red")
                masks[i] = [f"mask {mask}", 0]
        graph[f"{key} unit {number}"] = condition_unit(turn.instruction, images, masks, turn.blank)
        graph |= remember(f"{key} {number}", [f"{key} unit {number}", 0], [f"{key} {number - 1} lcu", 0] if number else None)
    side = 0 if turns[-1].pictures else SIZE
    encoding = {"width": side, "height": side, "target_image": turns[-1].edited}
    return graph | encode(key, [f"{key} {len(turns) - 1} lcu", 0], **encoding) | sample(
        key, **asdict(sampling)) | decode(key) | {key: node("PreviewImage", images=[f"{key} image", 0])}


class InputFiles:
    """Pictures and masks as PNG files in ComfyUI's input folder. names: {picture: file}, masks: {region: file}."""

    def __init__(self, folder: Path):
        self.folder = Path(folder)
        self.names: dict[Picture, str] = {}
        self.masks: dict[Region, str] = {}

    def add(self, conversations: Iterable[Sequence[Turn]]) -> None:
        turns = [turn for turns in conversations for turn in turns]
        new = list(dict.fromkeys(p for turn in turns for p in turn.pictures if p not in self.names))
        for start in range(0, len(new), 64):
            part = new[start:start + 64]
            for picture, pixels in zip(part, render_each(part), strict=True):
                self.names[picture] = self.save(to_image(pixels))
        for region in {turn.region(i) for turn in turns for i in range(len(turn.pictures))} - {None, *self.masks}:
            self.masks[region] = self.save(Image.fromarray((mask_of(region)[0] * 255).byte().numpy()))

    def save(self, image: Image.Image) -> str:
        name = f"toy-{hashlib.sha256(image.mode.encode() + image.tobytes()).hexdigest()[:16]}.png"
        if not (self.folder / name).exists():
            replace_file(self.folder / name, lambda path: image.save(path, "PNG"))
        return name


def to_tensor(image: Image.Image) -> torch.Tensor:
    """RGB picture → (3, H, W) float32 in [0, 1]."""
    return torch.from_numpy(np.asarray(image.convert("RGB"), dtype=np.float32) / 255).permute(2, 0, 1)
