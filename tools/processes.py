"""Child processes that end with their parent, and locks between programs.

Standard library only: dev.py needs this before there is an environment, and an old Python must be able to read it.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from pathlib import Path
from subprocess import Popen

try:
    import fcntl
except ImportError:
    import msvcrt
    fcntl = None  # Windows

ENDING = (signal.SIGINT, signal.SIGTERM)


@contextlib.contextmanager
def lock(path: Path, busy: Exception | None = None):
    """Held until the block is left, released by the system however the process ends.

    While another process has it: raise `busy`; if that is not given, wait.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "a+") as file:
        while not taken(file):
            if busy:
                raise busy
            time.sleep(0.1)
        if fcntl:
            os.set_inheritable(file.fileno(), True)  # a pip that outlives a killed dev.py holds it too
        yield


def taken(file) -> bool:
    """Take the lock, or False when another has it. OSError where the disk knows no locks."""
    try:
        if fcntl:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        else:
            file.seek(0)
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
    except (BlockingIOError, PermissionError):  # the second is Windows' word
        return False
    except OSError as error:
        raise OSError(error.errno, error.strerror, file.name) from None
    return True


def run(command: list[str], folder: Path, env: dict[str, str], deaf: bool = False) -> int:
    """Run in the foreground in `folder` and return the exit code, 128 and the signal's number if one ended it.

    deaf: the terminal's Ctrl-C passes the child by, and what the child starts. It would answer with a traceback while it
    imports; it gets SIGTERM instead. Windows has no such thing.
    """
    deaf = deaf and os.name != "nt"
    if deaf:
        signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)  # until there is a process to end
    process = Popen(command, cwd=folder, env=env, preexec_fn=ignore_ctrl_c if deaf else None)
    try:
        if deaf:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDING)
        code = process.wait()
    finally:
        if deaf:
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(15)
        end(process)
    return 128 - code if code < 0 else code


def ignore_ctrl_c() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDING)


def end(*processes: Popen) -> None:
    """A terminal's Ctrl-C has told the children too: give them time, then insist."""
    ask = signal.SIGTERM if os.name == "nt" else signal.SIGINT
    for tell in (lambda process: None, lambda process: process.send_signal(ask), Popen.terminate, Popen.kill):
        deadline = time.monotonic() + 4
        for process in processes:
            with contextlib.suppress(OSError):
                tell(process)
        while any(process.poll() is None for process in processes) and time.monotonic() < deadline:
            time.sleep(0.05)


def side_by_side(commands: dict[str, list[str]], folder: Path, env: dict[str, str], logs: Path):
    """Run two at a time in `folder`, each into a log in `logs`; yield (name, exit code, seconds, output) as each ends.

    Every 30 s a line says where those that run are.
    """
    waiting, running, beat = list(commands), {}, time.monotonic()
    try:
        while waiting or running:
            for name in waiting[: 2 - len(running)]:
                waiting.remove(name)
                log = logs / f"test-{name}.log"
                with open(log, "wb") as file:
                    process = Popen(commands[name], cwd=folder, env=env, stdout=file, stderr=subprocess.STDOUT)
                running[name] = process, log, time.monotonic()
            time.sleep(0.2)
            due = time.monotonic() - beat > 30
            beat = time.monotonic() if due else beat
            for name, (process, log, started) in list(running.items()):
                ended, seconds = process.poll() is not None, time.monotonic() - started
                output = log.read_text(encoding="utf-8", errors="replace").strip() if ended or due else ""
                if ended:
                    del running[name]
                    yield name, process.returncode, seconds, output
                elif due:
                    print(f"{name:<8} {seconds:4.0f} s  {' '.join(output.splitlines()[-1:])[:100]}", flush=True)
    finally:
        end(*(process for process, *_ in running.values()))
