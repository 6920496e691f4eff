"""The rooms of docs/design.md: arrows go one way, and only two rooms know ComfyUI."""

import subprocess
import sys

import pytest

from tools.gallery.graph import ROOT
from tools.house import allowed, files, graph, imports

CORE = {"comfy", "comfy_api", "comfy_execution", "comfy_extras", "folder_paths", "latent_preview", "node_helpers", "server",
        "execution"}
BROUGHT = {"torch", "einops", "safetensors", "numpy", "PIL", "transformers", "scipy", "kornia"}  # by ComfyUI's own requirements
DOORS = ("nodes/", "ace_model/comfyui/")
DATA = [f"training/{name}.py" for name in ("__init__", "ace", "cache", "data", "encode", "files", "formats")]  # a node reads it
ENGINE = [f"engine/{name}.py" for name in ("__init__", "ace", "cleaning", "clusters", "features", "page", "pairing", "pairs",
                                           "settings")]  # two nodes are made of these
INSTALLED = [*(name for name in files() if name.startswith(("nodes/", "ace_model/", "starters/", "engine/synthesis/"))),
             *DATA, *ENGINE]


def roots(name: str) -> set[str]:
    return {module.split(".")[0] for module in imports(name)}


def test_the_table_has_no_circle():
    """Rooms can be put in an order in which each imports only rooms before it."""
    left, done = allowed(), set()
    while left:
        free = {room for room, may in left.items() if may <= done}
        assert free, f"these import each other: {left}"
        done |= free
        left = {room: may for room, may in left.items() if room not in free}


def test_rooms_import_only_what_the_table_allows():
    lines, arrows = graph()
    assert set(lines) == set(allowed()), "every room of the table exists"
    assert not {f"{own} → {other}": sorted(names) for (own, other), names in arrows.items() if other not in allowed()[own]}


@pytest.mark.parametrize("name", INSTALLED)
def test_what_is_installed_needs_only_what_comfyui_brings(name):
    wanted = roots(name) - {"ace_model", "nodes", "starters", "training", "engine"} - sys.stdlib_module_names
    graph_needs_none = name in ("ace_model/comfyui/graph.py", "ace_model/comfyui/__init__.py")
    assert wanted <= (BROUGHT | CORE if name.startswith(DOORS) and not graph_needs_none else BROUGHT)


def test_the_server_driver_imports_nothing_of_ours():
    assert not roots("tools/comfy_server.py") & {room.split(".")[0] for room in allowed()}


def test_programs_without_extras_start_without_them():
    """In a Python that cannot see what training's extras bring."""
    hidden = "import sys; sys.modules.update(dict.fromkeys(['peft', 'accelerate', 'bitsandbytes'])); import importlib; "
    programs = ["tests.bench.speed", "demo.score", "demo.page.run", "demo.trainer.train"]
    command = [sys.executable, "-c", f"{hidden}[importlib.import_module(each) for each in {programs}]"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
