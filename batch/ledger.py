"""Who works on what, and how far the run is: one small actor that every worker tells.

It lives as long as the run. What is done for good, Ray's checkpoint knows; what the ledger counts begins anew with every run.
"""

from dataclasses import dataclass, field
from time import monotonic


@dataclass
class State:
    """done, errors: requests of this run · seconds: since the first of them was begun · workers: machines, by how many work
    there · maker: the signature of the models · reasons: of errors, with how many."""

    done: int = 0
    errors: int = 0
    seconds: float = 0.0
    workers: dict[str, int] = field(default_factory=dict)
    maker: str = ""
    reasons: dict[str, int] = field(default_factory=dict)


class Ledger:
    """maker: the signature of the models that made what is there already, if something is."""

    def __init__(self, maker: str = ""):
        self.maker, self.places = maker, {}  # worker's process: machine
        self.tries: dict[str, int] = {}
        self.blocks: dict[str, tuple[int, dict[str, int]]] = {}  # a block that is done again replaces itself
        self.began = 0.0

    def join(self, process: str, machine: str, maker: str) -> str:
        """What is wrong with a worker that begins; empty if nothing is."""
        if self.maker and maker != self.maker:
            return (f"the models on {machine} are not those that made the pictures so far: put the same files there, or start "
                    "a new run in another folder.")
        self.maker, self.places[process] = maker, machine
        return ""

    def begin(self, request: str) -> int:
        """How often this request was begun before and never ended."""
        self.began = self.began or monotonic()
        before = self.tries.get(request, 0)
        self.tries[request] = before + 1
        return before

    def end(self, request: str, block: str, done: int, reasons: dict[str, int]) -> None:
        """done, reasons: of the block so far."""
        self.tries.pop(request, None)
        self.blocks[block] = done, reasons

    def state(self) -> State:
        reasons: dict[str, int] = {}
        for _, found in self.blocks.values():
            for reason, count in found.items():
                reasons[reason] = reasons.get(reason, 0) + count
        machines = list(self.places.values())
        return State(sum(done for done, _ in self.blocks.values()), sum(reasons.values()),
                     monotonic() - self.began if self.began else 0.0, {name: machines.count(name) for name in set(machines)},
                     self.maker, reasons)
