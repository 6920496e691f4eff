"""Checkpoints of a run: whole or not there, the newest few kept, and the newest that can be read found again."""

import contextlib
import os
import re
from pathlib import Path
from typing import Any

import torch

from ace_model.errors import InputError

UNREADABLE = (OSError, RuntimeError, ValueError, KeyError, EOFError, AttributeError)  # what torch.load makes of a damaged file


class CheckpointError(InputError):
    """A checkpoint that cannot be written, or does not belong to this run."""


class Checkpoints:
    """Files `<step>.pt` in a folder. keep: how many, at least 1."""

    def __init__(self, folder: Path, keep: int = 2):
        self.folder, self.keep = folder, keep

    def steps(self) -> list[int]:
        """Of the checkpoints that are there, ascending."""
        found = [re.fullmatch(r"(\d+)\.pt", path.name) for path in self.folder.glob("*.pt")] if self.folder.is_dir() else []
        return sorted(int(match[1]) for match in found if match)

    def path(self, step: int) -> Path:
        return self.folder / f"{step:06d}.pt"

    def save(self, step: int, state: dict[str, Any]) -> Path:
        """Write `state` whole, then drop the oldest. Raises CheckpointError if the disk does not take it: what was there before
        is there still."""
        path = self.path(step)
        write(path, lambda part: torch.save(state, part))
        for old in self.steps()[:-self.keep]:
            self.path(old).unlink(missing_ok=True)
        return path

    def newest(self, device: torch.device | str = "cpu") -> dict[str, Any] | None:
        """The newest that can be read; a damaged one is named and passed over. None without any. Raises CheckpointError if
        there are some and none can be read."""
        for part in self.folder.glob(".*.part") if self.folder.is_dir() else ():  # of a run that was killed
            part.unlink(missing_ok=True)
        steps = self.steps()
        for step in reversed(steps):
            try:
                return torch.load(self.path(step), map_location=device, weights_only=True)
            except UNREADABLE:
                print(f"{self.path(step)} is damaged: looking for the one before it.", flush=True)
        if steps:
            raise CheckpointError(f"no checkpoint in {self.folder} can be read: delete that folder to start afresh.")
        return None


def write(path: Path, fill) -> None:
    """Let fill(file) write a temporary file beside `path`, get it onto the disk, then rename it. Raises CheckpointError."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(part, "wb") as file:
            fill(file)
            file.flush()
            os.fsync(file.fileno())  # a machine that loses power must not keep the name without the content
        os.replace(part, path)
    except (OSError, RuntimeError) as error:  # PyTorch says RuntimeError for a disk that is full
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
        why = getattr(error, "strerror", None) or str(error).splitlines()[0]
        raise CheckpointError(f"{path} cannot be written ({why}): free some space or lower save.keep, then run the same "
                              "command again. It goes on from the last checkpoint that is whole.") from error
    except BaseException:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
        raise
