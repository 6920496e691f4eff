"""Who works on what, and how far the run is: one small actor that every worker tells.

It lives as long as the run. What is done for good, Ray's checkpoint knows; what the ledger counts begins anew with every run.
"""

from dataclasses import dataclass
from time import monotonic


@dataclass
class State:
    """done, errors: requests of this run · seconds: since the first of them was begun · maker: the signature of the models."""

    done: int = 0
    errors: int = 0
    seconds: float = 0.0
    maker: str = ""


class Ledger:
    """maker: the signature of the models that made what is there already, if something is."""

    def __init__(self, maker: str = ""):
        self.maker = maker
        self.tries: dict[str, int] = {}
        self.blocks: dict[str, tuple[int, int]] = {}  # a block that is done again replaces itself
        self.began = 0.0

    def join(self, machine: str, maker: str) -> str:
        """What is wrong with a worker that begins; empty if nothing is."""
        if self.maker and maker != self.maker:
            return (f"the models on {machine} are not those that made the pictures so far: put the same files there, or start "
                    "a new run in another folder.")
        self.maker = maker
        return ""

    def begin(self, request: str) -> int:
        """How often this request was begun before and never ended."""
        self.began = self.began or monotonic()
        before = self.tries.get(request, 0)
        self.tries[request] = before + 1
        return before

    def end(self, request: str, block: str, done: int, errors: int) -> None:
        """done, errors: of the block so far."""
        self.tries.pop(request, None)
        self.blocks[block] = done, errors

    def state(self) -> State:
        done, errors = (sum(each) for each in zip(*self.blocks.values(), strict=True)) if self.blocks else (0, 0)
        return State(done, errors, monotonic() - self.began if self.began else 0.0, self.maker)
