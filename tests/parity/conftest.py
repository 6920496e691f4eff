"""ComfyUI in this process: the real code without its server, and the pack loaded as ComfyUI would load it."""

import importlib.util
import json
import os
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

ROOT = Path(__file__).resolve().parents[2]
GOLDEN = Path(__file__).parent / "golden"


@pytest.fixture(scope="session")
def comfy():
    """ComfyUI's packages importable, on the CPU where there is no CUDA."""
    path = os.environ.get("COMFYUI_PATH")
    assert path, "COMFYUI_PATH must name a ComfyUI; python dev.py test sets it"
    sys.path.insert(0, path)
    import comfy.options  # noqa: F401 - keeps ComfyUI from reading pytest's arguments
    from comfy.cli_args import args
    args.cpu = not torch.cuda.is_available()
    import comfy.sd
    return comfy


@pytest.fixture(scope="session")
def pack(comfy):
    """The pack as a package of its own name, like a folder in custom_nodes."""
    spec = importlib.util.spec_from_file_location("ace_pack", ROOT / "__init__.py", submodule_search_locations=[str(ROOT)])
    module = importlib.util.module_from_spec(spec)
    sys.modules["ace_pack"] = module
    spec.loader.exec_module(module)
    from ace_pack.ace_model.comfyui import conditioning, loader, model, register, sampling, text
    register()
    return SimpleNamespace(conditioning=conditioning, loader=loader, model=model, sampling=sampling, text=text)


def load_golden(name):
    """(tensors, metadata's cases) of a golden file."""
    path = GOLDEN / f"{name}.safetensors"
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata() or {}
    return load_file(path), json.loads(metadata.get("cases", "{}"))


def relative(given, expected):
    return ((given.float().cpu() - expected).norm() / expected.norm()).item()


WORST: dict[str, float] = {}  # {what was compared: the largest relative error}, for the summary


def close(what, given, expected, limit):
    """Assert a relative error within the limit, and remember the largest."""
    error = relative(given, expected)
    WORST[what] = max(error, WORST.get(what, 0))
    assert error <= limit, f"{what}: {error:.1e}"


@pytest.fixture(scope="session")
def golden():
    return SimpleNamespace(load=load_golden, relative=relative, close=close, model=GOLDEN / "ace_tiny.safetensors")


def pytest_terminal_summary(terminalreporter):
    for what, error in WORST.items():
        terminalreporter.write_line(f"largest relative error against the authors' numbers, {what}: {error:.1e}")
