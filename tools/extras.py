"""What pyproject.toml pins for a room beside ComfyUI's own packages. Standard library only, as dev.py needs it."""

from __future__ import annotations

import re
from pathlib import Path


def pinned(project: Path, room: str) -> list[str]:
    """The requirements of an optional dependency. Python 3.10 has no reader for TOML; ours stand on one line."""
    found = re.search(rf"^{room} = \[(.*)\]", project.read_text(encoding="utf-8"), re.MULTILINE)
    return re.findall(r'"([^"]+)"', found[1]) if found else []


def overlay_is(folder: Path, wanted: list[str]) -> bool:
    """Whether a folder of packages was filled whole with what is wanted."""
    stamp = folder / "stamp"
    return stamp.is_file() and stamp.read_text("utf-8", "replace").splitlines() == wanted
