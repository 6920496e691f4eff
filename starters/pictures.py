"""Bundled pictures that the workflows open with, put into ComfyUI's input folder. Sources and licenses: pictures/README.md.

A file `<name> mask.png` is the mask of `<name>`, white over something worth editing. Such a picture comes twice: plain, and
with the mask as its alpha, as ComfyUI's mask editor writes masks, so that Load Image reads both.
"""

import os
from pathlib import Path

from PIL import Image

FOLDER = Path(__file__).with_name("pictures")
MASK_ENDING = " mask"


def names() -> list[str]:
    """All pictures, sorted: "cat", "coffee", …"""
    return sorted(path.stem for path in FOLDER.glob("*.[jp][pn]g") if not path.stem.endswith(MASK_ENDING))


def file_of(name: str, masked: bool = False) -> str:
    """The file in ComfyUI's input folder. Not in a folder of its own: the page marks what lies deeper as missing.

    Raises FileNotFoundError for a picture, or a mask, that there is not.
    """
    if name not in names() or masked and not mask_of(name).is_file():
        known = ", ".join(names())
        raise FileNotFoundError(f"there is no bundled picture {name!r}{' with a mask' * masked}: there are {known}.")
    return f"ACE {name}{', masked' * masked}.png"


def mask_of(name: str) -> Path:
    return FOLDER / f"{name}{MASK_ENDING}.png"


def load(name: str, masked: bool = False) -> Image.Image:
    """RGB, or RGBA whose transparent part is the mask."""
    with Image.open(next(FOLDER.glob(f"{name}.[jp][pn]g"))) as file:
        image = file.convert("RGB")
    if masked:
        with Image.open(mask_of(name)) as file:
            image.putalpha(file.convert("L").point(lambda value: 255 - value))
    return image


def install(folder: Path) -> list[str]:
    """Write the pictures that `folder` lacks; returns their names. Files that are there stay as they are."""
    written = []
    wanted = [(name, False) for name in names()] + [(name, True) for name in names() if mask_of(name).is_file()]
    for name, masked in wanted:
        path = Path(folder) / file_of(name, masked)
        if os.path.lexists(path):  # a link to a disk that is away is the user's, too
            continue
        part = path.with_name(f".{path.name}.{os.getpid()}.part")
        try:
            load(name, masked).save(part, "PNG")
            os.replace(part, path)
        finally:
            part.unlink(missing_ok=True)
        written.append(path.name)
    return written
