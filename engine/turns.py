"""Labelled pairs → records for training. Pairs that follow on each other within a group become turns of one conversation.

A → B and B → C: the second turn edits the answer of the first. Each wording of each pair is learned once, either alone or as a
turn of such a chain, so nothing counts twice.
"""

import random
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import groupby
from pathlib import Path

from ace_model.lcu import DEFAULT_ROUNDS
from ace_model.record import Picture, Record, Turn

from .labels import Label

MOST_TURNS = DEFAULT_ROUNDS + 1  # what the model remembers, and the turn itself


def records(labels: Iterable[Label], kept: Callable[[Path], str], longest: int = 3, chained: float = 0.5, seed: int = 0
            ) -> Iterator[Record]:
    """Records with targets. labels: those of a group beside each other.

    kept: a picture's file → its name in the data set · longest: turns of a chain, 1 for none · chained: how often wordings that
    could form a chain do, from 0 to 1.
    """
    draw = random.Random(seed)
    for _, group in groupby(labels, key=lambda each: each.pair.group):
        for path in paths(list(group), longest):
            together = min(len(each.wordings) for each in path) if len(path) > 1 else 0
            chain = [number for number in range(together) if draw.random() < chained]
            for number in chain:
                yield record(path, [number] * len(path), kept)
            for each in path:
                yield from (record([each], [number], kept) for number in range(len(each.wordings)) if number not in chain)


def record(path: Sequence[Label], wordings: Sequence[int], kept: Callable[[Path], str]) -> Record:
    """One conversation. wordings: which one of each label."""
    turns: list[Turn] = []
    for number, (label, wording) in enumerate(zip(path, wordings, strict=True), 1):
        before = turns[-1].id if turns else None
        picture = Picture(answer_of=before) if before else Picture(kept(label.pair.source))
        said = {"source": label.captions[0], "target": label.captions[1],
                "difference": label.difference.text if label.difference else "",
                "task": label.difference.task if label.difference else ""}
        turns.append(Turn(f"t{number}", before, label.wordings[wording], (picture,), target=Picture(kept(label.pair.target)),
                          meta={name: text for name, text in said.items() if text}))
    return Record(tuple(turns), turns[-1].id)


def paths(labels: Sequence[Label], longest: int) -> Iterator[list[Label]]:
    """Every label in exactly one path of at most `longest`, where each goes on from the picture before and none comes back."""
    following: dict[Path, list[int]] = defaultdict(list)
    for number, label in enumerate(labels):
        following[label.pair.source].append(number)
    reached = {label.pair.target for label in labels}
    used: set[int] = set()
    for start in sorted(range(len(labels)), key=lambda number: labels[number].pair.source in reached):  # heads of chains first
        if start in used:
            continue
        path, seen = [start], {labels[start].pair.source, labels[start].pair.target}
        while len(path) < longest:
            further = next((number for number in following[labels[path[-1]].pair.target]
                            if number not in used and labels[number].pair.target not in seen), None)
            if further is None:
                break
            path.append(further)
            seen.add(labels[further].pair.target)
        used.update(path)
        yield [labels[number] for number in path]
