"""Pictures of a record in ComfyUI's own folders: opened, told apart by content, saved."""

import hashlib
import json
import os
import re
import uuid
from pathlib import Path

import comfy.model_management
import folder_paths
import numpy as np
import torch
from comfy.cli_args import args
from PIL import Image, PngImagePlugin
from torch import Tensor

from ..errors import InputError
from ..opening import pixels_of
from ..record import Answer, Picture
from ..record_json import KEY, relative

KEYWORD = re.compile(r"[!-~\xa1-\xff](?:[ -~\xa1-\xff]{0,77}[!-~\xa1-\xff])?")  # of a text in a PNG file
FOLDER = "ACE conversation"  # in the output folder, for answers


class PictureError(InputError):
    """A picture of a record that cannot be opened."""


def path_of(picture: Picture) -> Path:
    """Raises PictureError or RecordError for a picture outside the input and output folders, and for what is no file."""
    folders = {"input": folder_paths.get_input_directory, "output": folder_paths.get_output_directory}
    if picture.place not in folders:
        raise PictureError(f"{picture.file} has no folder: add \"in\": \"input\" or \"output\". Only data sets leave it out.")
    path = Path(folders[picture.place](), relative(picture.file, "file"))
    if os.path.exists(path) and not os.path.isfile(path):  # who opens a pipe may wait for ever
        raise PictureError(f"{picture.file} in ComfyUI's {picture.place} folder is no file: choose a picture.")
    return path


def open_picture(picture: Picture, mode: str = "RGB") -> Tensor:
    """(H, W, 3) for "RGB", (H, W) for "L", in [0, 1], turned upright. Raises PictureError."""
    path = path_of(picture)
    try:
        with Image.open(path) as image:
            return pixels_of(image, mode)
    except FileNotFoundError:
        raise PictureError(f"{picture.file} is not in ComfyUI's {picture.place} folder any more: put it back, or choose "
                           "another picture.") from None
    except Exception as error:  # whatever a damaged file leads Pillow to: of AVIF it is RuntimeError
        why = getattr(error, "strerror", None) or "it is damaged, too large, or of a format that Pillow does not know"
        raise PictureError(f"{picture.file} cannot be opened as a picture ({why}): choose another.") from None


def gray(image: Tensor) -> Tensor:
    """(1, H, W, 3) of 8-bit levels → (1, H, W), with open_picture's arithmetic."""
    levels = (image[0].cpu() * 255).round().byte().numpy()
    return torch.from_numpy(np.array(Image.fromarray(levels).convert("L")).astype(np.float32) / 255)[None]


def digest(picture: Picture) -> str:
    """A hash of the file's content. Raises PictureError."""
    found = hashlib.sha256()
    try:
        with path_of(picture).open("rb") as file:
            while piece := file.read(2**24):
                comfy.model_management.throw_exception_if_processing_interrupted()
                found.update(piece)
        return found.hexdigest()
    except OSError as error:
        raise PictureError(f"{picture.file} cannot be read from ComfyUI's {picture.place} folder ({error.strerror}): put it "
                           "back, or choose another picture.") from None


def is_whole(answer: Answer) -> bool:
    """Whether a saved answer is there and no byte of it is damaged."""
    try:
        with Image.open(path_of(Picture(answer.file, answer.place))) as image:
            image.verify()
    except Exception:  # noqa: BLE001 - Pillow raises what a damaged file leads it to
        return False
    return True


def answer_for(key: str) -> Answer:
    """Where the answer of this key is, or will be."""
    return Answer(f"{FOLDER}/{key}.png", "output", key)


def save(image: Tensor, answer: Answer, prompt: dict | None, workflow) -> None:
    """Write (H, W, 3) in [0, 1] as 8-bit PNG with the workflow in it, unless ComfyUI runs with --disable-metadata, as Save
    Image does. Whole, or not at all, and only to the file that the answer's key names: a workflow may hold the node that calls
    this with any other. Raises PictureError."""
    if not KEY.fullmatch(answer.key) or answer != answer_for(answer.key):
        raise PictureError(f"{answer.file} is not where an answer with the key {answer.key} is saved: leave it to ACE "
                           "Conversation to make this node.")
    path = path_of(Picture(answer.file, answer.place))
    path.parent.mkdir(parents=True, exist_ok=True)
    levels = (255 * image.cpu().float()).clamp(0, 255).numpy().astype(np.uint8)
    notes = PngImagePlugin.PngInfo()
    more = workflow.items() if isinstance(workflow, dict) else ()  # over the API it may be anything
    for name, value in (("prompt", prompt), *more):
        if value is not None and KEYWORD.fullmatch(name) and not args.disable_metadata:
            notes.add_text(name, json.dumps(value))
    new = path.with_suffix(f".{uuid.uuid4().hex}.new")  # another ComfyUI may save the same answer now
    try:
        Image.fromarray(levels).save(new, "PNG", pnginfo=notes, compress_level=4)
        new.replace(path)
    finally:
        new.unlink(missing_ok=True)
