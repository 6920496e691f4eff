"""Encoded once: features of texts and latents of pictures, kept in the host's memory while their encoder lives."""

import hashlib
import weakref
from collections import OrderedDict
from collections.abc import Hashable

from torch import Tensor, nn

TEXTS, LATENTS = 128 * 2**20, 64 * 2**20  # bytes per encoder: 60 of the longest texts in T5 XXL, 400 pictures of 800×800


class Encoded:
    """What encoders made, by what it was made of. The least recently used goes first.

    Whatever is patched (a LoRA on T5, say) encodes anew: keys hold the patcher's `patches_uuid`, which
    every patch of a weight changes.
    """

    def __init__(self, limit: int):
        self.limit = limit
        self._of: weakref.WeakKeyDictionary[nn.Module, OrderedDict[Hashable, Tensor]] = weakref.WeakKeyDictionary()

    def recall(self, patcher, key: Hashable) -> Tensor | None:
        kept = self._of.get(patcher.model, {})
        key = patcher.patches_uuid, key
        if key in kept:
            kept.move_to_end(key)
        return kept.get(key)

    def keep(self, patcher, key: Hashable, value: Tensor) -> Tensor:
        """value, in the host's memory."""
        kept = self._of.setdefault(patcher.model, OrderedDict())
        kept[patcher.patches_uuid, key] = value = value.cpu()
        while sum(each.nbytes for each in kept.values()) > self.limit and len(kept) > 1:
            kept.popitem(last=False)
        return value


texts, latents = Encoded(TEXTS), Encoded(LATENTS)


def content(pixels: Tensor) -> tuple[tuple[int, ...], bytes]:
    """Size and a hash of what a picture (h, w, 3) shows."""
    return tuple(pixels.shape), hashlib.blake2b(pixels.contiguous().cpu().numpy().data, digest_size=20).digest()
