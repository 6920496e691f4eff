"""Every name of ComfyUI's that the pack imports or calls by attribute exists: a change in core fails here first, by name."""

import ast
import importlib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CORE = ("comfy", "comfy_api", "comfy_extras", "folder_paths", "latent_preview", "node_helpers")
FILES = [*(ROOT / "ace_model" / "comfyui").glob("*.py"), *(ROOT / "nodes").glob("*.py")]


def symbols(path: Path) -> set[str]:
    """Dotted names of core that a file uses: `import a.b` with `a.b.c.d` in the code, and `from a.b import c`."""
    tree, found = ast.parse(path.read_text(encoding="utf-8")), set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and not node.level and node.module.split(".")[0] in CORE:
            found |= {f"{node.module}.{name.name}" for name in node.names}
        elif isinstance(node, ast.Attribute):
            parts, inner = [node.attr], node.value
            while isinstance(inner, ast.Attribute):
                parts, inner = [inner.attr, *parts], inner.value
            if isinstance(inner, ast.Name) and inner.id in CORE:
                found.add(".".join([inner.id, *parts]))
    return found


SYMBOLS = sorted(set().union(*map(symbols, FILES)))


@pytest.mark.parametrize("symbol", SYMBOLS)
def test_exists(symbol, comfy):
    parts = symbol.split(".")
    for split in range(len(parts), 0, -1):
        try:
            value = importlib.import_module(".".join(parts[:split]))
        except ModuleNotFoundError:
            continue
        for name in parts[split:]:
            assert hasattr(value, name), f"ComfyUI no longer has {symbol}"
            value = getattr(value, name)
        return
    pytest.fail(f"ComfyUI no longer has {symbol}")


def test_the_list_is_not_empty():
    assert "comfy.model_base.BaseModel" in SYMBOLS and len(SYMBOLS) > 40
