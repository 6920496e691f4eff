"""The pixels of a picture file, as the whole pack reads them."""

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor


def pixels_of(image: Image.Image, mode: str) -> Tensor:
    """The first picture of an opened file, turned upright: (H, W, 3) for mode "RGB", (H, W) for "L", 8-bit levels in [0, 1].

    Of 16 bits the upper 8 count; transparency is left out, and the color behind it stays. Raises what Pillow raises for damaged
    files and for modes that it cannot convert.
    """
    upright = ImageOps.exif_transpose(image)
    deep = upright.mode.startswith("I")  # I;16, I;16B, …: Pillow divides only some of them
    levels = np.array((upright.convert("I").point(lambda x: x / 256) if deep else upright).convert(mode))
    return torch.from_numpy(levels.astype(np.float32) / 255)
