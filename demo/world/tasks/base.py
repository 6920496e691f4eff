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
    """One condition unit before it is rendered.

    blank: pixels under a mask are black · edited: number of the picture whose mask the target takes.
    """

    instruction: str
    pictures: tuple[Picture, ...] = ()
    regions: tuple[Region | None, ...] = ()
    blank: bool = False
    edited: int = 0

    def region(self, index: int) -> Region | None:
        return self.regions[index] if index < len(self.regions) else None


@dataclass(frozen=True)
class Twin:
    """A picture that could be the one that is meant: what the same words mean if they name it instead.

    picture: None if it is the other picture of a last turn that has two or more, so that the first two roles are exchanged ·
    target: the exact answer then · role, back: of whom it is the twin, and how many turns back.
    """

    picture: Picture | None
    target: Picture
    role: int = 0
    back: int = 0


@dataclass(frozen=True)
class Renamed:
    """The same pictures, asked with two names exchanged in the last instruction, and the exact answer to that.

    back: how many turns back the two pictures stand.
    """

    turns: tuple[Turn, ...]
    target: Picture
    back: int = 0


@dataclass(frozen=True)
class Sample:
    """Turns, oldest first, and the exact answer to the last one.

    task and subtask: names as in the README's table · history: is the answer known from earlier turns alone? · renamed: None
    if nobody can say what exchanged names would mean.
    """

    task: str
    subtask: str
    turns: tuple[Turn, ...]
    target: Picture
    history: bool = False
    renamed: Renamed | None = None

    @property
    def pictures(self) -> tuple[Picture, ...]:
        """All condition pictures, oldest turn first."""
        return tuple(p for turn in self.turns for p in turn.pictures)

    @property
    def edited(self) -> Picture | None:
        """The picture of the last turn that the target continues."""
        return self.turns[-1].pictures[self.turns[-1].edited] if self.turns[-1].pictures else None


Generator = Callable[[Random], Sample]
GENERATION, ANALYSIS, CONTROL = "text-guided generation", "visual analysis", "controllable generation"
SEMANTIC, ELEMENT, REPAINTING = "semantic editing", "element editing", "repainting"
LAYER, REFERENCE, MULTI_TURN = "layer editing", "reference generation", "multi-turn"
TASKS = (GENERATION, ANALYSIS, CONTROL, SEMANTIC, ELEMENT, REPAINTING, LAYER, REFERENCE, MULTI_TURN)

_GENERATORS: dict[str, list[tuple[str, float, Callable]]] = {task: [] for task in TASKS}


def subtask(task: str, name: str, weight: float = 1.0):
    """Enter a function rng → (turns, target), or with `history` (bool) and a Twin (or None) after them, as a subtask.

    It names pictures by their roles: the first picture of a turn is `{image}`. Which is which is drawn in names.py.
    """
    def enter(make):
        _GENERATORS[task].append((name, weight, make))
        return make
    return enter


def subtasks(task: str) -> tuple[str, ...]:
    return tuple(name for name, _, _ in _GENERATORS[task])


def make(rng: Random, task: str, name: str | None = None):
    """Subtask, turns, target, history and twin, with the pictures in the order of their roles. Without `name`, by weight."""
    entries = [e for e in _GENERATORS[task] if name in (None, e[0])]
    if not entries:
        raise ValueError(f"{task} has no subtask {name!r}: it has {', '.join(subtasks(task))}.")
    name, _, function = rng.choices(entries, [e[1] for e in entries])[0]
    turns, target, *rest = function(rng)
    history = next((x for x in rest if isinstance(x, bool)), False)
    twin = next((x for x in rest if isinstance(x, Twin)), None)
    return name, (turns,) if isinstance(turns, Turn) else tuple(turns), target, history, twin
