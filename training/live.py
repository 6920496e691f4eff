"""How much memory operations take, tensor by tensor."""

import weakref

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class LiveBytes(TorchDispatchMode):
    """Bytes of the storages that operations make: `now` alive, `peak` the most at once. What was there before is not in it."""

    def __init__(self):
        super().__init__()
        self.now = self.peak = 0
        self._sizes: dict[int, int] = {}

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self._meet((args, kwargs), made=False)
        out = function(*args, **(kwargs or {}))
        self._meet(out, made=True)
        self.peak = max(self.peak, self.now)
        return out

    def _meet(self, values, made: bool) -> None:
        for tensor in tree_leaves(values):
            if not isinstance(tensor, torch.Tensor):
                continue
            storage = tensor.untyped_storage()
            if storage._cdata not in self._sizes:
                self._sizes[storage._cdata] = storage.nbytes() if made else 0
                self.now += self._sizes[storage._cdata]
                weakref.finalize(storage, self._end, storage._cdata)

    def _end(self, storage: int) -> None:
        self.now -= self._sizes.pop(storage)
