"""A user's picture → one that the demo model can take: upright, RGB, square, 256 pixels."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from ..world.scenes import PHOTO_SIZE

MEGAPIXELS = 100  # more is refused: decoding would take gigabytes


class PictureError(Exception):
    """What is wrong with a file and the way out."""


def load(path: Path) -> Image.Image:
    """RGB of PHOTO_SIZE × PHOTO_SIZE: EXIF rotation applied, 16 bits reduced to 8, transparency on white, the middle square.

    Raises PictureError if it is missing, not a picture, damaged or over MEGAPIXELS.
    """
    path = Path(path)
    if not path.is_file():
        raise PictureError(f"--image {path}: no such file.")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(path) as opened:
                if opened.width * opened.height > MEGAPIXELS * 1e6:
                    raise PictureError(f"--image {path}: {opened.width}×{opened.height} pixels are over {MEGAPIXELS} "
                                       "megapixels; save a smaller copy.")
                return ImageOps.fit(flat(ImageOps.exif_transpose(opened)), (PHOTO_SIZE, PHOTO_SIZE), Image.Resampling.LANCZOS)
    except UnidentifiedImageError:
        raise PictureError(f"--image {path}: this is not a picture; use a PNG, JPEG or WebP file.") from None
    except Image.DecompressionBombError:
        raise PictureError(f"--image {path}: over {MEGAPIXELS} megapixels; save a smaller copy.") from None
    except (OSError, SyntaxError, ValueError) as error:
        raise PictureError(f"--image {path}: the file is damaged ({error}); save it again from the original.") from None


def flat(image: Image.Image) -> Image.Image:
    """8 bits, RGB, transparency on white."""
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        values = np.asarray(image, dtype=np.float64)
        full = 65535 if values.max(initial=0) > 255 else 255
        image = Image.fromarray((values / full * 255).clip(0, 255).round().astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    return image.convert("RGB")
