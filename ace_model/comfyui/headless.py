"""ComfyUI's loaders and samplers in a Python of one's own, without its server and its pages."""

import logging
import os
import sys
from pathlib import Path

from ..errors import InputError


class NoComfyUIError(InputError):
    """ComfyUI is not where it was looked for."""


def find(given: str | None = None) -> Path:
    """ComfyUI's folder: the given one, COMFYUI_PATH's, else the one whose custom_nodes/ holds this pack. Raises
    NoComfyUIError."""
    own = Path(os.path.abspath(__file__)), Path(__file__).resolve()  # the pack's folder may be a link
    above = [parent.parent for path in own for parent in path.parents if parent.name == "custom_nodes"]
    folder = given or os.environ.get("COMFYUI_PATH") or next(iter(above), None)
    if folder is None or not (Path(folder) / "comfy").is_dir() or not (Path(folder) / "folder_paths.py").is_file():
        raise NoComfyUIError(f"{folder or 'this folder'} is not ComfyUI: give the folder that holds main.py by --comfyui.")
    return Path(folder).resolve()


def start(folder: Path) -> None:
    """Make ComfyUI's modules importable, on the graphics card if there is one, and recognize ACE's files."""
    sys.path.append(str(folder))  # last: ComfyUI has a module `nodes`, and the pack has one
    import comfy.options  # noqa: F401 - keeps ComfyUI from reading this program's arguments
    import torch
    from comfy.cli_args import args
    accelerators = (torch.cuda, getattr(torch, "xpu", None), getattr(torch, "mps", None))
    args.cpu = not any(each is not None and each.is_available() for each in accelerators)
    logging.getLogger().setLevel(logging.WARNING)
    import comfy.utils
    comfy.utils.set_progress_bar_enabled(False)  # whoever starts it shows progress in a way of its own
    from . import register
    register()


def release() -> None:
    """Take every model off the graphics card, for whoever wants it for something else now."""
    import comfy.model_management
    comfy.model_management.unload_all_models()
    comfy.model_management.soft_empty_cache()
