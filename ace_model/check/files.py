"""Which of the files in a folder is what, and which are missing. Headers are read, not weights."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor

from ..checkpoint import NORM, PREFIXES, T5_PREFIXES, T5_VOCABULARY, CheckpointError, explain_damage, identify, unwrap
from ..published import DIT, DIT_1024, T5, T5_FP8, VAE, Model

ROLES = {  # what is needed: (folders in models/, the published files)
    "diffusion model": (("diffusion_models", "unet"), (DIT, DIT_1024)),
    "text encoder": (("text_encoders", "clip"), (T5, T5_FP8)),
    "VAE": (("vae",), (VAE,)),
}
ENDINGS = (".safetensors", ".sft", ".pth", ".pt", ".ckpt", ".bin")
PIECE = 1 << 24  # bytes read at once


@dataclass(frozen=True)
class File:
    """role: one of ROLES, or empty · what: in words · problem: why it cannot be used; empty if it can."""

    path: Path
    role: str
    what: str
    problem: str = ""

    @property
    def size(self) -> int:
        return self.path.stat().st_size


def found(folder: Path) -> list[File]:
    """Every weights file in the folders of `folder` that ACE's files belong to, or beside them. Raises CheckpointError if there
    is no such folder."""
    if not folder.is_dir():
        raise CheckpointError(f"{folder.absolute()} is not a folder: give ComfyUI's models folder, or one that holds the three "
                              "files.")
    places = [folder, *(folder / name for names, _ in ROLES.values() for name in names)]
    paths = [path for place in places if place.is_dir() for path in sorted(place.iterdir())
             if path.suffix.lower() in ENDINGS and path.is_file()]
    return [recognize(path) for path in paths]


def recognize(path: Path) -> File:
    """What a file is, by its tensors' names and shapes, whatever it is called."""
    by_folder = next((role for role, (names, _) in ROLES.items() if path.parent.name in names), "")
    try:
        shapes = header(path)
    except CheckpointError as error:
        return File(path, by_folder or by_name(path.name), "cannot be read", str(error))
    patches = shapes.get("x_embedder.proj.weight", ())
    if NORM in shapes and len(patches) == 4:
        return File(path, "diffusion model", f"ACE, width {patches[0]}")
    words = shapes.get("shared.weight", shapes.get("encoder.embed_tokens.weight", ()))
    if len(words) == 2 and any(key.startswith("encoder.block.0.layer") for key in shapes):
        kind = "T5 v1.1" if words[0] == T5_VOCABULARY else f"a T5 of {words[0]} words, which ACE does not read"
        return File(path, "text encoder" if words[0] == T5_VOCABULARY else "", f"{kind}, width {words[1]}")
    what = identify(shapes)
    vae = what.startswith("a VAE") or any(key.startswith(("taesd_decoder.", "first_stage_model.")) for key in shapes)
    if vae:
        return File(path, "VAE", "a VAE")
    return File(path, "", what)


def by_name(name: str) -> str:
    return next((role for role, (_, models) in ROLES.items() if name in {model.name for model in models}), "")


def header(path: Path) -> dict[str, tuple[int, ...]]:
    """{tensor: shape}, without a prefix. Raises CheckpointError."""
    with explain_damage(path):
        if path.suffix.lower() in (".safetensors", ".sft"):
            with safe_open(path, framework="pt") as file:
                sd = {key: tuple(file.get_slice(key).get_shape()) for key in file.keys()}  # noqa: SIM118
            for prefix in (*PREFIXES, *T5_PREFIXES):
                inner = {key[len(prefix):]: value for key, value in sd.items() if key.startswith(prefix)}
                if inner:
                    return inner
            return sd
        sd = torch.load(path, map_location="cpu", weights_only=True, mmap=is_zip(path))
        return {key: tuple(value.shape) for key, value in unwrap(sd, path.name).items() if isinstance(value, Tensor)}


def is_zip(path: Path) -> bool:
    """Only files that PyTorch has written since 1.6 can be mapped into memory."""
    with open(path, "rb") as file:
        return file.read(2) == b"PK"


def choose(files: list[File], wanted: dict[str, str | None]) -> dict[str, File | None]:
    """One file per role: the one that is wanted, by its path or its name, else a published one, else the first that can be
    read, else the first.

    Raises CheckpointError for a name that is not there.
    """
    out: dict[str, File | None] = {}
    for role, (_, models) in ROLES.items():
        order = {model.name: i for i, model in enumerate(models)}
        suited = sorted((file for file in files if file.role == role),
                        key=lambda file: (order.get(file.path.name, len(order)), bool(file.problem)))
        name = wanted.get(role)
        if name and Path(name).is_file():
            out[role] = recognize(Path(name))
            continue
        if name and name not in {file.path.name for file in files}:
            known = ", ".join(file.path.name for file in suited) or "none"
            raise CheckpointError(f"there is no {role} {name} in the folder: there is {known}.")
        out[role] = next((file for file in files if file.path.name == name), None) if name else next(iter(suited), None)
    return out


def missing(chosen: dict[str, File | None]) -> dict[str, tuple[Model, ...]]:
    """What to download: {role: published files, of which one is needed}."""
    return {role: models for role, (_, models) in ROLES.items() if chosen[role] is None}


def sha256(path: Path, tick: Callable[[int], None] = lambda size: None) -> str:
    """tick: called with the number of bytes of every piece."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while piece := file.read(PIECE):
            digest.update(piece)
            tick(len(piece))
    return digest.hexdigest()


def gigabytes(size: int) -> str:
    return f"{size / 1e9:.2f} GB" if size >= 1e8 else f"{size / 1e6:.2f} MB"
