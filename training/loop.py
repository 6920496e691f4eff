"""The loop that every trainer runs: steps, learning rate, averaged weights, checkpoints, and how to go on.

What it computes in step n is a function of the settings and n alone: a run that was interrupted goes on as if it were whole.
"""

import contextlib
import math
import signal
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

from ace_model.errors import InputError

from .checkpoints import CheckpointError, Checkpoints

Work = Callable[[int], Iterable[tuple[Tensor, Tensor]]]  # step → (loss to go down, loss to report) of each part; they add up


class DivergedError(InputError):
    """A loss or a gradient that is no number any more."""


class Alone:
    """The only process. processes.py has several."""

    rank, count = 0, 1

    def mean(self, values: list[Tensor]) -> None:
        """Each value becomes its mean over all processes."""


def rate(kind: str, peak: float, warmup: int, steps: int) -> Callable[[int], float]:
    """Learning rate by step (from 0): a linear warm-up, then constant, or down to 0 at `steps` by a cosine or a line."""
    falls = {"constant": lambda x: 1.0, "cosine": lambda x: 0.5 + 0.5 * math.cos(math.pi * x), "linear": lambda x: 1 - x}

    def at(step: int) -> float:
        done = min(1.0, max(0, step - warmup) / max(1, steps - warmup))
        return peak * min(1.0, (step + 1) / (warmup + 1)) * falls[kind](done)
    return at


class Loop:
    """A run, and everything that its checkpoints hold.

    weights: live tensors, by name; the parameters among them are trained · optimizers: over these, in groups as the caller
    wants · rate: of a step · checkpoints: None keeps none · average: decay of the averaged weights, 0 for none · kept: other
    live tensors to save · identity: what a checkpoint must have been made with, by the name of the setting · clip: largest norm
    of the gradient.
    """

    def __init__(self, weights: dict[str, Tensor], optimizers: list[torch.optim.Optimizer], rate: Callable[[int], float],
                 checkpoints: Checkpoints | None = None, average: float = 0.0, kept: dict[str, Tensor] | None = None,
                 identity: dict[str, Any] | None = None, clip: float = 1.0, processes: Alone | None = None):
        self.weights, self.optimizers, self.rate, self.checkpoints = weights, optimizers, rate, checkpoints
        self.decay, self.kept, self.identity, self.clip = average, kept or {}, identity or {}, clip
        self.processes = processes or Alone()
        self.parameters = list(dict.fromkeys(w for w in weights.values() if w.requires_grad))  # tied ones once
        self.average = {k: v.detach().clone() for k, v in weights.items()} if average else weights
        self.step = self.saved = self.exported = 0
        self.seconds = 0.0
        self.curve: list[list[float]] = []  # [step, mean loss since the last one]
        self._since: list[float] = []  # losses that are not in the curve yet
        self._changing = self._stopping = False

    # ---- checkpoints

    def state(self) -> dict[str, Any]:
        average = {"average": {k: v.detach() for k, v in self.average.items()}} if self.decay else {}
        return {"weights": {k: v.detach() for k, v in self.weights.items()}, **average, "kept": self.kept,
                "optimizers": [each.state_dict() for each in self.optimizers], "identity": self.identity, "step": self.step,
                "seconds": self.seconds, "curve": self.curve, "since": self._since}

    def resume(self) -> bool:
        """Go on from the newest checkpoint, if there is one. Raises CheckpointError if it is of another run."""
        state = self.checkpoints and self.checkpoints.newest(next(iter(self.weights.values())).device)
        if not state:
            return False
        for name, value in self.identity.items():
            if state["identity"].get(name, value) != value:
                raise CheckpointError(f"{name} is {value}, but {self.checkpoints.folder} was trained with "
                                      f"{state['identity'][name]}: set it back, or give another output folder.")
        with torch.no_grad():
            for live, saved in ((self.weights, state["weights"]), (self.kept, state["kept"]),
                                *([(self.average, state.get("average", state["weights"]))] if self.decay else [])):
                if live.keys() != saved.keys():
                    raise CheckpointError(f"{self.checkpoints.folder} holds other weights "
                                          f"({min(live.keys() ^ saved.keys())}): give another output folder.")
                for name, tensor in live.items():
                    tensor.copy_(saved[name])
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        self.step = self.saved = self.exported = state["step"]
        self.seconds, self.curve, self._since = state["seconds"], state["curve"], state["since"]
        return True

    def save(self) -> None:
        if self.checkpoints and self.processes.rank == 0:
            self.checkpoints.save(self.step, self.state())
        self.saved = self.step

    # ---- one step

    def advance(self, work: Work) -> float:
        """One optimizer step; its loss. Raises DivergedError before it changes a weight."""
        loss = 0.0
        for down, reported in work(self.step):
            down.backward()
            loss = loss + reported.detach()
        self.processes.mean([p.grad for p in self.parameters if p.grad is not None] + [loss])
        norm = torch.nn.utils.clip_grad_norm_(self.parameters, self.clip)
        found = float(loss)
        if not (math.isfinite(found) and math.isfinite(norm)):
            raise DivergedError(f"the loss is {found:g} and its gradient {norm:g} in step {self.step + 1}: the training has "
                                f"diverged and was stopped. {self._last()} Lower optimizer.rate or look at the data, then run "
                                "the same command again.")
        with self._whole():
            for optimizer in self.optimizers:
                for group in optimizer.param_groups:
                    group["lr"] = self.rate(self.step)
                optimizer.step()
                optimizer.zero_grad(set_to_none=True)
            if self.decay:
                keep = min(self.decay, (self.step + 1) / (self.step + 10))  # the first weights count for little
                with torch.no_grad():
                    torch._foreach_lerp_(list(self.average.values()), [v.detach() for v in self.weights.values()], 1 - keep)
            self.step += 1
            self._since.append(found)
        return found

    def _last(self) -> str:
        return f"The weights of step {self.saved} are kept." if self.saved else "There is no checkpoint yet."

    # ---- all steps

    def run(self, work: Work, steps: int, every: int = 50, save_every: int = 200, last: int | None = None,
            minutes: float | None = None, after: Callable[[float], None] = lambda loss: None,
            export: Callable[[], None] = lambda: None) -> None:
        """Up to `steps`, or only to `last`, or for so many minutes.

        every: steps between points of the curve and lines that say how far it is · after: called with the loss of every step ·
        export: called after each checkpoint, in one process. Ctrl-C and SIGTERM save what is complete and raise
        KeyboardInterrupt.
        """
        last = min(steps, last or steps)
        began, first = time.monotonic(), self.step
        until = began + 60 * (minutes or math.inf)
        try:
            with self._signals():
                while self.step < last:
                    if time.monotonic() > until:
                        last = self.step + 1
                    loss = self.advance(work)
                    ended = self.step == last
                    if self.step % every == 0 or ended:
                        now = time.monotonic()
                        self.seconds += now - began
                        self._report(steps, (now - began) / (self.step - first))
                        began, first = now, self.step
                    after(loss)
                    if self.step % save_every == 0 or ended:
                        self._keep(export)
                    if self._stopping:
                        raise KeyboardInterrupt
        except KeyboardInterrupt:
            for parameter in self.parameters:
                parameter.grad = None
            self._keep(export)
            raise

    def _keep(self, export: Callable[[], None]) -> None:
        """Once per step."""
        if self.step > self.saved:
            self.save()
        if self.step > self.exported and self.processes.rank == 0:
            export()
        self.exported = self.step

    def _report(self, steps: int, took: float) -> None:
        mean = sum(self._since) / len(self._since)
        self.curve.append([self.step, float(f"{mean:.5g}")])
        self._since = []
        if self.processes.rank == 0:
            print(f"{self.step:6d}/{steps}  loss {mean:.4g}  {took:.2f} s per step  {left(took * (steps - self.step))} to go",
                  flush=True)

    @contextlib.contextmanager
    def _whole(self):
        """Nothing may come between the first weight that changes and the last."""
        self._changing = True
        try:
            yield
        finally:
            self._changing = False

    @contextlib.contextmanager
    def _signals(self):
        """The first Ctrl-C or SIGTERM ends the step that is computed, at once unless weights are being changed."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return

        def stop(*_: object) -> None:
            first, self._stopping = not self._stopping, True
            if first and not self._changing:
                raise KeyboardInterrupt
        before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def left(seconds: float) -> str:
    """A time to wait, in words."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
