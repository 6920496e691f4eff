"""Instructions as ACE++ was trained to read them (ali-vilab/ACE_plus f3e410b, training and FFT configurations).

The authors add these names behind T5's 32,100 words, in this order; the encoder's table has 32,128 rows. ACE itself has no
such names: there `{image}` is an unknown brace, a word and another unknown brace (text.py).
"""

import re
from collections.abc import Callable, Iterable, Sequence
from itertools import groupby

NAMES = ("<img>", "{image}", "{caption}", "{mask}", "{ref_image}", *(f"{{image{i}}}" for i in range(1, 10)))
FIRST = 32100
IDS = {name: FIRST + i for i, name in enumerate(NAMES)}
ROWS = 32128  # of T5 v1.1's embedding table
T5_LENGTH, CLIP_LENGTH = 512, 77  # both with their end token
T5_END, T5_PAD = 1, 0

SPLIT = re.compile("(" + "|".join(map(re.escape, NAMES)) + ")")


def tokens(text: str, words: Callable[[str], Sequence[int]]) -> list[int]:
    """T5's ids of a text, the end token last.

    words: ids of a text without names, with the end token. Each stretch between two names is a text of its own, as for the
    authors' tokenizer: white space at its ends disappears, and its first word gets the mark of a word's start.
    """
    out = []
    for piece in SPLIT.split(text):
        out += [IDS[piece]] if piece in IDS else words(piece)[:-1]
    return [*out, T5_END]


def fit(ids: Sequence[int], length: int, end: int, pad: int) -> tuple[list[int], list[int]]:
    """(exactly `length` ids, padded or cut before the end token; what was cut)."""
    body = list(ids[:-1])
    kept, cut = body[:length - 1], body[length - 1:]
    return [*kept, end, *[pad] * (length - 1 - len(kept))], cut


def spell(ids: Iterable[int], decode: Callable[[list[int]], str]) -> str:
    """Ids → text, for messages; decode reads ids of ordinary words."""
    named, parts = {one: name for name, one in IDS.items()}, []
    for known, group in groupby(ids, key=named.__contains__):
        run = list(group)
        parts += [named[one] for one in run] if known else [decode(run)]
    return " ".join(parts)
