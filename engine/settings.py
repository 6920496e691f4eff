"""Every threshold of pairing. docs/engine.md tells what to do with them."""

import difflib
import math
from collections.abc import Iterable
from dataclasses import dataclass, field, fields, replace
from typing import Any

from .ace import errors


class SettingError(errors.InputError):
    """A setting that does not exist, or a value beyond its limits."""


def number(default: float, low: float, high: float, what: str) -> Any:
    return field(default=default, metadata={"low": low, "high": high, "what": what})


LEARNED = ("strict=0.95", "loose=0.9", "least=0.85")  # to begin with for features of a vision model, which are all rather alike


@dataclass(frozen=True)
class Pairing:
    """The paper (arXiv 2410.00086, section 3) names SigLIP features, K-means with tens of thousands of clusters, and union-find
    in two turns. It gives no thresholds: these are ours, for features from pixels alone, and the page shows what they do.

    Similarities are cosines, differences are of pixels in [0, 1] averaged over the cells of a 16 × 16 grid.
    """

    clusters: int = number(0, 0, 4096, "clusters of the K-means, 0 for one per 500 pictures")
    each: int = number(2, 1, 16, "clusters that a picture is looked for in")
    strict: float = number(0.8, -1, 1, "similarity that links two pictures in the first turn")
    loose: float = number(0.75, -1, 1, "similarity of medoids that joins two groups in the second turn")
    least: float = number(0.7, -1, 1, "least similarity of a pair")
    duplicate: float = number(0.03, 0, 1, "pictures that differ less in every cell are one picture")
    changed: float = number(0.45, 0, 1, "largest mean difference of a pair")
    smallest: int = number(256, 16, 65536, "pixels of a picture's shorter side, at least")
    longest: float = number(4, 1, 100, "a picture's longer side by its shorter one, at most")
    shape: float = number(0.05, 0, 10, "how much the shapes of a pair may differ, 0.05 for 5%")
    largest: int = number(64, 2, 10_000, "pictures of a group, at most: larger ones are chains, and left out")
    per_group: int = number(32, 1, 10**6, "pairs of a group, at most: the most similar ones")
    seed: int = number(0, 0, 2**31 - 1, "of the K-means")

    def __post_init__(self):
        for each in fields(self):
            value, low, high = getattr(self, each.name), each.metadata["low"], each.metadata["high"]
            whole = each.type in (int, "int")
            if isinstance(value, bool) or not isinstance(value, int if whole else (int, float)) or not low <= value <= high:
                raise SettingError(f"{each.name} is {value}, but must be a {'whole ' * whole}number from {low:g} to {high:g}.")
        if self.loose > self.strict:
            raise SettingError(f"loose is {self.loose:g}, but must not be above strict ({self.strict:g}): the first turn is "
                               "the stricter one.")

    def but(self, changes: Iterable[str]) -> "Pairing":
        """With `changes`, each as name=value. Raises SettingError."""
        known, given = {each.name: each for each in fields(self)}, {}
        for change in changes:
            name, equals, value = change.partition("=")
            if name not in known or not equals:
                near = difflib.get_close_matches(name, known, 1)
                raise SettingError(f"--set {change} names no setting{f': did you mean {near[0]}?' if near else '.'} Write "
                                   f"name=value with one of {', '.join(known)}.")
            try:
                found = float(value)
            except ValueError:
                found = math.nan
            whole = known[name].type in (int, "int")
            if math.isnan(found) or whole and not found.is_integer():
                raise SettingError(f"{name} is {value or 'empty'}, but must be a {'whole ' * whole}number.")
            given[name] = int(found) if whole else found
        return replace(self, **given)
