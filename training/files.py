"""Files that are whole or not there, and what tells contents apart."""

import uuid
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path


def replaced(path: Path, fill: Callable[[Path], object]) -> None:
    """Let `fill` write a file beside `path`, then rename it."""
    part = path.with_name(f".{path.name}.{uuid.uuid4().hex}.part")
    try:
        fill(part)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def digest(path: Path) -> str:
    """A hash of a file's content."""
    found = sha256()
    with path.open("rb") as file:
        while piece := file.read(2**24):
            found.update(piece)
    return found.hexdigest()
