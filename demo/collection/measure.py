"""What pairing found, against the truth."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from engine.pairing import Paired

from .pile import Entry, code, edits_between


@dataclass(frozen=True)
class Score:
    """precision, recall: of pairs of one family · one_edit: the share of found pairs that are a single edit apart · rand: the
    adjusted Rand index of groups and families · look_alikes: found pairs that join a family and a look-alike."""

    pairs: int
    precision: float
    recall: float
    one_edit: float
    rand: float
    look_alikes: int

    def __str__(self) -> str:
        return (f"{self.pairs} pairs: precision {self.precision:.1%}, recall {self.recall:.1%}, {self.one_edit:.1%} a single "
                f"edit apart, {self.look_alikes} with a look-alike\n"
                f"groups against families: adjusted Rand index {self.rand:.3f}")


def score(entries: Sequence[Entry], found: Paired) -> Score:
    """entries: of the pile, in the order of the pictures' names."""
    numbers = {Path(name).name: i for i, name in enumerate(sorted(each.name for each in found.pile.folder.glob("*.png")))}
    pairs = [(numbers[pair.source.name], numbers[pair.target.name]) for pair in found.outcome.pairs]
    right = sum(entries[i].family == entries[j].family for i, j in pairs)
    families = np.array([entry.family for entry in entries])
    wanted = int(sum(n * (n - 1) // 2 for n in np.bincount(families)))
    codes = np.array([code(entry.scene) for entry in entries], np.int16)
    single = sum(int(edits_between(codes[i], codes[j:j + 1])[0]) == 1 for i, j in pairs)
    groups = np.arange(len(entries)) + len(entries)
    for group, rows in found.outcome.groups.items():
        groups[[numbers[found.pile.names[row]] for row in rows]] = group
    alike = sum("look-alike" in (entries[i].role, entries[j].role) for i, j in pairs)
    count = max(1, len(pairs))
    return Score(len(pairs), right / count, right / max(1, wanted), single / count, adjusted_rand(groups, families), alike)


def adjusted_rand(one: np.ndarray, other: np.ndarray) -> float:
    """Agreement of two partitions: 1 for equal ones, 0 as by chance (Hubert and Arabie, 1985)."""
    def together(labels: np.ndarray) -> float:
        counts = np.unique(labels, axis=0, return_counts=True)[1].astype(float)
        return float((counts * (counts - 1) / 2).sum())
    both, first, second = together(np.stack([one, other], 1)), together(one), together(other)
    expected = first * second / (len(one) * (len(one) - 1) / 2)
    most = (first + second) / 2
    return 1.0 if most == expected else (both - expected) / (most - expected)
