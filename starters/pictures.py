"""Bundled pictures with a mask of what is worth editing in them. Sources and licences: js/pictures/README.md."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

FOLDER = Path(__file__).resolve().parent.parent / "js" / "pictures"  # there, so that the page can show them too
MASK_ENDING = " mask.png"


class ExampleError(FileNotFoundError):
    """A bundled picture that is not there."""


def names() -> list[str]:
    """All pictures' file names, sorted."""
    return sorted(path.name for kind in ("*.jpg", "*.png") for path in FOLDER.glob(kind)
                  if not path.name.endswith(MASK_ENDING))


def load(name: str) -> tuple[Tensor, Tensor]:
    """image (1, H, W, 3) and mask (1, H, W), both in [0, 1]; the mask is black if the picture has none.

    Raises ExampleError naming the picture and the way out.
    """
    if name not in names():
        known = ", ".join(names()) or f"none: {FOLDER.name} is empty, install the pack again"
        raise ExampleError(f"there is no example picture “{name}”; there are {known}. For a picture of your own use Load "
                           "Image.")
    path = FOLDER / name
    with Image.open(path) as file:
        image = torch.from_numpy(np.array(file.convert("RGB"))).float() / 255
    mask_path = path.with_name(path.stem + MASK_ENDING)
    if not mask_path.is_file():
        return image[None], torch.zeros(1, *image.shape[:2])
    with Image.open(mask_path) as file:
        return image[None], torch.from_numpy(np.array(file.convert("L")))[None].float() / 255
