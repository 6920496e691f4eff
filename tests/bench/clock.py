"""Seconds, memory, and what other programs did meanwhile."""

import ctypes
import statistics
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, contextmanager, suppress

import psutil
import torch

MIB = 2**20


def synchronize(device: torch.device) -> None:
    """Wait until the device has done what it was told: CUDA's calls return before that."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def seconds(function: Callable, device: torch.device) -> float:
    synchronize(device)
    start = time.perf_counter()
    function()
    synchronize(device)
    return time.perf_counter() - start


def spread(values: Sequence[float]) -> float:
    """The range of repeated measurements as a share of their median."""
    return (max(values) - min(values)) / statistics.median(values)


@contextmanager
def peak_memory(device: torch.device):
    """Yields a dict. Afterwards `grown` says by how many MiB memory grew at most, and `peak` how much that was in all."""
    found = {"grown": 0.0, "peak": 0.0}
    if device.type == "cuda":
        synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        yield found
        found["peak"] = torch.cuda.max_memory_allocated(device) / MIB
        found["grown"] = found["peak"] - before / MIB
        return
    with suppress(AttributeError, OSError):  # glibc keeps what was freed, and growth into that would not show
        ctypes.CDLL(None).malloc_trim(0)
    process, ended = psutil.Process(), threading.Event()
    before = process.memory_info().rss

    def watch():
        while not ended.wait(0.005):
            found["peak"] = max(found["peak"], process.memory_info().rss / MIB)
    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield found
    finally:
        ended.set()
        thread.join()
        found["grown"] = max(0.0, found["peak"] - before / MIB)


class OtherPrograms:
    """How many cores were busy with anything but this process since this was made; a host's other guests count."""

    def __init__(self):
        self._before = self._read()

    @staticmethod
    def _read() -> tuple[float, float]:
        machine, own = psutil.cpu_times(), psutil.Process().cpu_times()
        idle = machine.idle + getattr(machine, "iowait", 0.0)
        twice = getattr(machine, "guest", 0.0) + getattr(machine, "guest_nice", 0.0)  # user time counts them, too
        return time.perf_counter(), sum(machine) - twice - idle - own.user - own.system

    def cores(self) -> float:
        now, busy = self._read()
        return max(0.0, (busy - self._before[1]) / max(now - self._before[0], 1e-9))


class Stopwatch:
    """Seconds by stage. A stage inside another stops the other's time, so that they add up to the whole."""

    def __init__(self, device: torch.device):
        self.device, self.seconds, self._open = device, {}, []

    @contextmanager
    def stage(self, name: str):
        self._count()
        self._open.append(name)
        try:
            yield
        finally:
            self._count()
            self._open.pop()

    def _count(self) -> None:
        synchronize(self.device)
        now = time.perf_counter()
        if self._open:
            self.seconds[self._open[-1]] = self.seconds.get(self._open[-1], 0.0) + now - self._since
        self._since = now

    @contextmanager
    def watching(self, *functions: tuple[object, str, str]):
        """Inside the block, each (module, function's name, stage) counts as that stage."""
        with ExitStack() as stack:
            for owner, name, stage in functions:
                original = getattr(owner, name)

                def timed(*args, original=original, stage=stage, **kwargs):
                    with self.stage(stage):
                        return original(*args, **kwargs)
                setattr(owner, name, timed)
                stack.callback(setattr, owner, name, original)
            yield
