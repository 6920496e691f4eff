"""What the disk refuses, as a sentence. Standard library only: dev.py says it before there is an environment."""

from __future__ import annotations

import errno
import tempfile
from pathlib import Path

FULL = {errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC)}  # the disk, a file's limit, the user's share


def refusal(error: OSError, place: Path, way_out: str) -> str:
    """What is wrong at the error's file, or at `place` if it names none, and what to do.

    What is no matter of the disk is raised again: a lost connection, a mistake of ours.
    """
    full = error.errno in FULL or getattr(error, "winerror", 0) == 112
    if error.filename is None and not full:
        raise error
    advice = f"free some space, or {way_out}" if full else way_out
    return f"{error.filename or place} cannot be read or written ({error.strerror}): {advice}."


def require_writable(folder: Path) -> None:
    """Make the folder if need be. OSError that names it if no file can be written there."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(folder)) from None
