"""What a task sample is, and the list that generators enter themselves in."""

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from ..scenes import Picture


@dataclass(frozen=True)
class Region:
    """A mask: white inside the box, or outside it (outpainting's pad). box: x0, y0, x1, y1 in pixels."""

    box: tuple[int, int, int, int]
    outside: bool = False


@dataclass(frozen=True)
class Turn:
    """One condition unit before it is rendered. blank: pixels under a mask are black."""

    instruction: str
    pictures: tuple[Picture, ...] = ()
    regions: tuple[Region | None, ...] = ()
    blank: bool = False

    def region(self, index: int) -> Region | None:
        return self.regions[index] if index < len(self.regions) else None


@dataclass(frozen=True)
class Sample:
    """Turns, oldest first, and the exact answer to the last one.

    task and subtask: names as in the README's table · history: can the answer be known from earlier turns alone?
    """

    task: str
    subtask: str
    turns: tuple[Turn, ...]
    target: Picture
    history: bool = False

    @property
    def pictures(self) -> tuple[Picture, ...]:
        """All condition pictures, oldest turn first."""
        return tuple(p for turn in self.turns for p in turn.pictures)


Generator = Callable[[Random], Sample]
GENERATION, ANALYSIS, CONTROL = "text-guided generation", "visual analysis", "controllable generation"
SEMANTIC, ELEMENT, REPAINTING = "semantic editing", "element editing", "repainting"
LAYER, REFERENCE, MULTI_TURN = "layer editing", "reference generation", "multi-turn"
TASKS = (GENERATION, ANALYSIS, CONTROL, SEMANTIC, ELEMENT, REPAINTING, LAYER, REFERENCE, MULTI_TURN)

_GENERATORS: dict[str, list[tuple[str, float, Callable]]] = {task: [] for task in TASKS}


def subtask(task: str, name: str, weight: float = 1.0):
    """Enter a function rng → (turns, target) or (turns, target, history) as a subtask."""
    def enter(make):
        _GENERATORS[task].append((name, weight, make))
        return make
    return enter


def subtasks(task: str) -> tuple[str, ...]:
    return tuple(name for name, _, _ in _GENERATORS[task])


def generate(rng: Random, task: str, name: str | None = None) -> Sample:
    """One sample of a task; of a given subtask, or of one drawn by weight."""
    entries = [e for e in _GENERATORS[task] if name in (None, e[0])]
    if not entries:
        raise ValueError(f"{task} has no subtask {name!r}: it has {', '.join(subtasks(task))}.")
    name, _, make = rng.choices(entries, [e[1] for e in entries])[0]
    turns, target, *history = make(rng)
    return Sample(task, name, (turns,) if isinstance(turns, Turn) else tuple(turns), target, bool(history and history[0]))
