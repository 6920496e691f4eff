"""Paired comparisons: what is asked of the model twice, once right and once with something exchanged, and who wins.

Nothing here says how small an error must be. A pair holds everything but one thing fixed (picture, noise, noise level), so
the thing that was exchanged alone explains the difference. Where an instruction is exchanged, it is exchanged both ways: each
of the two is the right one once, so it does not matter that one picture or one instruction may be easier than the other.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

TIMESTEPS = (300, 600, 850)  # the picture shows through the noise; its outlines do; nothing does
CONFIDENT = 0.01  # chance that a coin wins as often; above it, a comparison shows nothing
Condition = tuple[str, str]  # (picture, mask: "", "hole" or "border")


@dataclass(frozen=True)
class Ask:
    """One question to the model: the noise in `truth`, after it has seen pictures and read words.

    truth: (picture, task) · sees: pictures with their masks, in the order of their names · mixed: each channel of every latent
    as weights of the VAE's four; None: as the VAE gives them · rows: which of the ten image names each frame gets instead of
    its own; None: its own · timesteps: noise levels, of 1000.
    """

    truth: tuple[str, str]
    sees: tuple[Condition, ...]
    words: str
    mixed: tuple[tuple[float, ...], ...] | None = None
    rows: tuple[int, ...] | None = None
    timesteps: tuple[int, ...] = TIMESTEPS


@dataclass(frozen=True)
class Pair:
    """Right questions beside the same with something exchanged. kind: what was exchanged."""

    kind: str
    about: str
    right: tuple[Ask, ...]
    swapped: tuple[Ask, ...]


@dataclass(frozen=True)
class Outcome:
    """How often right beat swapped. chance: that a coin wins at least as often · factor: by what the exchange multiplies the
    error, as a geometric mean."""

    wins: int
    pairs: int
    factor: float = 1.0

    @property
    def chance(self) -> float:
        return coin(self.wins, self.pairs)

    @property
    def shown(self) -> bool:
        return self.chance < CONFIDENT

    @property
    def reversed(self) -> bool:
        """Whether swapped beats right."""
        return coin(self.pairs - self.wins, self.pairs) < CONFIDENT


def coin(wins: int, pairs: int) -> float:
    """The sign test, one-sided: the probability that a fair coin shows heads at least `wins` times of `pairs`."""
    return sum(math.comb(pairs, k) for k in range(wins, pairs + 1)) / 2**pairs


def judge(pairs: Iterable[tuple[float, float]]) -> Outcome:
    """(right, swapped) errors → Outcome. A tie, and an error that is no number, does not count as won."""
    found = [(right, swapped) for right, swapped in pairs]
    wins = sum(right < swapped for right, swapped in found)  # False for NaN
    ratios = [math.log(swapped / right) for right, swapped in found
              if 0 < right < math.inf and 0 < swapped < math.inf]
    return Outcome(wins, len(found), math.exp(sum(ratios) / len(ratios)) if ratios else math.nan)


def crossed(pairs: Iterable[Pair], errors: dict[Ask, Sequence[float]]) -> Outcome:
    """One comparison per pair and noise level. errors: {question: one error per level}."""
    return judge((mean(errors[ask][level] for ask in pair.right), mean(errors[ask][level] for ask in pair.swapped))
                 for pair in pairs for level in range(len(errors[pair.right[0]])))


def mean(values: Iterable[float]) -> float:
    """The geometric mean: a pair of a hard and an easy question counts both. NaN or infinity if any value is."""
    values = list(values)
    if not all(0 < value < math.inf for value in values):
        return math.nan if any(map(math.isnan, values)) else max(values, default=math.nan)
    return math.exp(sum(map(math.log, values)) / len(values))
