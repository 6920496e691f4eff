"""What encoders made, kept on disk under a key that says what it was made of, and the last of it in memory."""

import contextlib
import threading
from collections import OrderedDict
from collections.abc import Callable
from hashlib import blake2b
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from .files import replaced
from .formats import DataError

MEMORY = 2**30  # bytes
Tensors = dict[str, Tensor]


class Cache:
    """Files `<key>.safetensors` in a folder. folder: None keeps everything in memory · memory: bytes of what was used last.

    A file is whole or not there, and carries a hash of its content: a damaged one counts as none and is made anew.
    """

    def __init__(self, folder: Path | None, memory: int = MEMORY):
        self.folder, self.memory, self.held = folder, memory, 0
        self._last: OrderedDict[str, Tensors] = OrderedDict()
        self._lock = threading.Lock()  # whoever loads ahead does so in a thread

    def __contains__(self, key: str) -> bool:
        return self.get(key) is not None

    def get(self, key: str) -> Tensors | None:
        with self._lock:
            if key in self._last:
                self._last.move_to_end(key)
                return self._last[key]
        found = self.folder and load(self.path(key))
        return self._remember(key, found) if found else None

    def keep(self, key: str, tensors: Tensors) -> Tensors:
        """The same tensors on the CPU, free of whoever made them. Raises DataError if the disk does not take them."""
        with torch.inference_mode(False), torch.no_grad():
            tensors = {name: each.detach().to("cpu", copy=True).contiguous() for name, each in tensors.items()}
        if self.folder:
            save(self.path(key), tensors)
        return self._remember(key, tensors)

    def of(self, key: str, make: Callable[[], Tensors]) -> Tensors:
        """What is kept under the key, else what `make` makes."""
        found = self.get(key)
        return self.keep(key, make()) if found is None else found

    def path(self, key: str) -> Path:
        return self.folder / key[:2] / f"{key}.safetensors"

    def _remember(self, key: str, tensors: Tensors) -> Tensors:
        with self._lock:
            self.held += size(tensors) - size(self._last.pop(key, {}))
            self._last[key] = tensors
            while self.folder and self.held > self.memory and len(self._last) > 1:
                self.held -= size(self._last.popitem(last=False)[1])
        return tensors


def size(tensors: Tensors) -> int:
    return sum(each.nbytes for each in tensors.values())


def key_of(*parts: object) -> str:
    """A hash of what something is made of."""
    return blake2b(repr(parts).encode("utf-8", "surrogatepass"), digest_size=20).hexdigest()


def content(tensors: Tensors) -> str:
    found = blake2b(digest_size=20)
    for name, tensor in sorted(tensors.items()):
        found.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        found.update(tensor.contiguous().view(-1).view(torch.uint8).numpy().data)
    return found.hexdigest()


def load(path: Path) -> Tensors | None:
    """None for a file that is not there or damaged."""
    with contextlib.suppress(OSError, SafetensorError, ValueError, KeyError, RuntimeError), safe_open(path, "pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        if (file.metadata() or {}).get("content") == content(tensors):
            return tensors
    return None


def save(path: Path, tensors: Tensors) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        replaced(path, lambda part: save_file(tensors, part, {"content": content(tensors)}))
    except (OSError, SafetensorError) as error:
        raise DataError(path.parent.parent, f"the cache cannot be written ({getattr(error, 'strerror', None) or error}): make "
                                            "room on that disk, or give another folder.") from None
