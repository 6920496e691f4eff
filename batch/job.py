"""What a run is: asked for by a person, and told to every worker."""

import json
import uuid
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

from ace_model.errors import InputError

PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff")
FORMATS = ("parquet", "webdataset", "files")
MOST_TRIES, MOST_TOGETHER = 100, 64


class BatchError(InputError):
    """A run that cannot begin or go on. The text names what is wrong and the way out."""


class StopRun(BatchError):
    """Nothing is wrong with a request, and with everything else: the run ends."""


@dataclass(frozen=True)
class Files:
    """The models, by path or by name in ComfyUI's models folders. loras: (file, strength)."""

    model: str = ""
    text_encoder: str = ""
    vae: str = ""
    loras: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True)
class Workflow:
    """An API workflow for each row. values: (node, input, column) · take: the node whose picture is kept."""

    graph: dict[str, dict]
    values: tuple[tuple[str, str, str], ...] = ()
    take: str = ""

    def takes_picture(self, node: str, slot: str) -> bool:
        """Whether an input takes a file: the workflow has the name of one there."""
        value = self.graph[node]["inputs"].get(slot)
        return isinstance(value, str) and value.lower().endswith(PICTURES)


@dataclass(frozen=True)
class Job:
    """What a worker must know.

    folders: where pictures of a record lie, by their `in` · threads: of PyTorch, 0: its own choice · together: most requests in
    one pass of the network · tries: after which a request is given up that ends its worker.
    """

    comfyui: str
    files: Files = field(default_factory=Files)
    folders: dict[str, str] = field(default_factory=dict)
    workflow: Workflow | None = None
    threads: int = 0
    together: int = 1
    tries: int = 3

    def identity(self) -> dict[str, Any]:
        """What the pictures depend on, beside the requests: a run goes on only with the same."""
        if self.workflow:
            return {"workflow": digest(json.dumps(asdict(self.workflow), sort_keys=True).encode())[:16]}
        names = {name: Path(value).name for name, value in asdict(self.files).items() if name != "loras"}
        return {**names, "loras": [[Path(name).name, strength] for name, strength in self.files.loras],
                "batch": self.together}


def digest(content: bytes) -> str:
    return sha256(content).hexdigest()


def replaced(path: Path, fill: Callable[[Path], object]) -> None:
    """Let `fill` write a file beside `path`, then rename it: whole, or not there."""
    part = path.with_name(f".{path.name}.{uuid.uuid4().hex}.part")
    try:
        fill(part)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
