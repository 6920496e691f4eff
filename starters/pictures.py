"""Bundled pictures, each with a mask of something to edit. Sources and licenses: js/pictures/README.md."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

FOLDER = Path(__file__).resolve().parent.parent / "js" / "pictures"  # in js/, so that ComfyUI's page can show them too
MASK_ENDING = " mask.png"


class ExampleError(FileNotFoundError):
    """A bundled picture that does not exist."""


def names() -> list[str]:
    """All pictures' file names, sorted."""
    return sorted(path.name for kind in ("*.jpg", "*.png") for path in FOLDER.glob(kind)
                  if not path.name.endswith(MASK_ENDING))


def load(name: str) -> tuple[Tensor, Tensor]:
    """image (1, H, W, 3) and mask (1, H, W), both in [0, 1]; the mask is black if the picture has none.

    Raises ExampleError, which names the picture and the way out.
    """
    if name not in names():
        known = f"choose one of {', '.join(names())}" if names() else f"{FOLDER.name} is empty, so install the pack again"
        raise ExampleError(f"there is no example picture “{name}”: {known}. For your own picture use Load Image.")
    path = FOLDER / name
    with Image.open(path) as file:
        image = torch.from_numpy(np.array(file.convert("RGB"))).float() / 255
    mask_path = path.with_name(path.stem + MASK_ENDING)
    if not mask_path.is_file():
        return image[None], torch.zeros(1, *image.shape[:2])
    with Image.open(mask_path) as file:
        return image[None], torch.from_numpy(np.array(file.convert("L")))[None].float() / 255
