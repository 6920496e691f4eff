"""What a check found."""

import math
from dataclasses import dataclass, field

from torch import Tensor

from .cases import Edit
from .pairs import Outcome
from .verdict import Verdict


@dataclass(frozen=True)
class RoundTrip:
    """A picture through the VAE and back: `back` (H, W, 3). errors, flat: mean squared errors of its four quarters, the VAE's
    and those of one color for every 32×32 pixels."""

    name: str
    back: Tensor
    errors: tuple[float, ...]
    flat: tuple[float, ...]

    @property
    def decibels(self) -> float:
        """Peak signal-to-noise ratio."""
        error = sum(self.errors) / len(self.errors)
        return -10 * math.log10(error) if error else math.inf


@dataclass(frozen=True)
class Shown:
    """An edit and its answer: (h, w, 3) each."""

    edit: Edit
    inputs: list[Tensor]
    answer: Tensor
    truth: Tensor | None


@dataclass(frozen=True)
class Report:
    """levels: per noise level {"right", "wrong picture", …: geometric mean of the errors}."""

    verdict: Verdict
    outcomes: dict[str, Outcome]
    levels: dict[int, dict[str, float]]
    trips: list[RoundTrip]
    latents: list[tuple[float, float]]  # mean and standard deviation of each channel, as the model gets them
    seed: int
    edits: list[Shown] = field(default_factory=list)
