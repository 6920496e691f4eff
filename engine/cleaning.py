"""Groups → pairs to learn from, and what was left out and why."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path

import numpy as np

from .clusters import joined, members
from .features import GRID, Pile
from .pairs import Pair
from .settings import Pairing

SMALL, LONG, TWIN, CHAIN = "too small", "too long", "a near-duplicate", "in too large a group"  # of pictures
SHAPE, UNLIKE, CHANGED, CAP = "of different shapes", "not alike enough", "changed too much", "beyond the cap"  # of pairs
REASONS = (SMALL, LONG, TWIN, CHAIN, SHAPE, UNLIKE, CHANGED, CAP)


@dataclass(frozen=True)
class Rejected:
    """source, target: files, of which target is None if a picture by itself was left out · value: what was measured, in the
    unit of the setting that it broke · kept: the picture that a near-duplicate is one of."""

    source: Path
    target: Path | None
    group: int
    why: str
    value: float
    kept: Path | None = None


@dataclass(eq=False)
class Outcome:
    """groups: {number: rows of the pile} of more than one picture, the medoid first, largest group first."""

    pairs: list[Pair]
    rejected: list[Rejected]
    groups: dict[int, list[int]]
    counts: Counter = field(default_factory=Counter)


def clean(pile: Pile, groups: np.ndarray, settings: Pairing) -> Outcome:
    """groups (n,): a number for every picture of the pile."""
    out = Outcome([], [], {})
    for _, rows in sorted(members(groups, 2), key=lambda each: (-len(each[1]), each[1][0])):
        number = len(out.groups)
        own = np.asarray(pile.features[rows], np.float32)
        order = np.argsort(-(own @ own.sum(0)), kind="stable")
        out.groups[number] = [int(rows[i]) for i in order]
        if len(rows) > settings.largest:
            out.rejected += [Rejected(pile.path(int(row)), None, number, CHAIN, len(rows)) for row in rows]
            continue
        kept = fit(pile, rows[order], number, settings, out.rejected)
        kept = apart(pile, kept, number, settings, out.rejected)
        found, left_out = chosen(pile, kept, number, settings)
        out.pairs += found
        out.rejected += left_out
    out.counts.update(pictures=len(pile), unreadable=len(pile.unreadable), groups=len(out.groups),
                      grouped=sum(map(len, out.groups.values())), pairs=len(out.pairs))
    out.counts.update(dict.fromkeys(REASONS, 0))
    out.counts.update(each.why for each in out.rejected)
    return out


def fit(pile: Pile, rows: np.ndarray, group: int, settings: Pairing, rejected: list[Rejected]) -> np.ndarray:
    """Those that are large enough and not too long."""
    keep = []
    for row in rows.tolist():
        width, height = map(int, pile.sizes[row])
        ratio = max(width, height) / min(width, height)
        if min(width, height) < settings.smallest:
            rejected.append(Rejected(pile.path(row), None, group, SMALL, min(width, height)))
        elif ratio > settings.longest:
            rejected.append(Rejected(pile.path(row), None, group, LONG, ratio))
        else:
            keep.append(row)
    return np.array(keep, np.int64)


def apart(pile: Pile, rows: np.ndarray, group: int, settings: Pairing, rejected: list[Rejected]) -> np.ndarray:
    """One picture of each that is there several times: the one with the most pixels, else the first by name."""
    if len(rows) < 2:
        return rows
    differences = largest_differences(pile.looks[rows])
    one, other = np.nonzero(np.triu(differences < settings.duplicate, 1))
    same, keep = joined(len(rows), one, other), []
    for _, places in members(same):
        best = min(places.tolist(), key=lambda place: (-int(np.prod(pile.sizes[rows[place]], dtype=np.int64)), rows[place]))
        keep.append(best)
        rejected += [Rejected(pile.path(int(rows[place])), None, group, TWIN, float(differences[place, best]),
                              pile.path(int(rows[best]))) for place in places.tolist() if place != best]
    return rows[np.sort(keep)]


def chosen(pile: Pile, rows: np.ndarray, group: int, settings: Pairing) -> tuple[list[Pair], list[Rejected]]:
    """The pairs of a group, most similar first. The source is the one nearer to the medoid."""
    good, rejected = [], []
    for i, j in combinations(range(len(rows)), 2):
        one, other = int(rows[i]), int(rows[j])
        similarity = float(np.clip(pile.features[one].astype(np.float32) @ pile.features[other].astype(np.float32), -1, 1))
        why, value = wrong(pile, one, other, similarity, settings)
        if why:
            rejected.append(Rejected(pile.path(one), pile.path(other), group, why, value))
        else:
            good.append(Pair(pile.path(one), pile.path(other), similarity, group))
    good.sort(key=lambda pair: -pair.similarity)
    rejected += [Rejected(p.source, p.target, group, CAP, p.similarity) for p in good[settings.per_group:]]
    return good[:settings.per_group], rejected


def wrong(pile: Pile, one: int, other: int, similarity: float, settings: Pairing) -> tuple[str, float]:
    """Why two pictures make no pair, and the number that says so; "" if they do."""
    first, second = (int(width) / int(height) for width, height in pile.sizes[[one, other]])
    stretch = max(first, second) / min(first, second) - 1
    if stretch > settings.shape:
        return SHAPE, stretch
    if similarity < settings.least:
        return UNLIKE, similarity
    difference = float(np.abs(pile.looks[one].astype(np.int16) - pile.looks[other]).mean() / 255)
    return (CHANGED, difference) if difference > settings.changed else ("", 0.0)


def largest_differences(looks: np.ndarray) -> np.ndarray:
    """(n, 16, 16, 3) uint8 → (n, n): how much the cell differs that differs most, in [0, 1]."""
    flat = looks.reshape(len(looks), GRID * GRID * 3).astype(np.int16)
    return np.stack([np.abs(flat - each).max(1) for each in flat]) / 255


def sampled(rejected: list[Rejected], most: int, seed: int = 0) -> Iterator[tuple[str, list[Rejected]]]:
    """Every reason with up to `most` examples: those nearest to the threshold first, for there it can be moved."""
    for why in REASONS:
        found = [each for each in rejected if each.why == why]
        if found:
            yield why, sorted(found, key=lambda each: -each.value if why in (SMALL, UNLIKE, CAP) else each.value)[:most]
