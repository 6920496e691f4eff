"""The list of pairs between pairing and instructions: pairs.jsonl, one object in each line.

    {"source": "street.png", "target": "night/street.png", "similarity": 0.93, "group": 4}
"""

import json
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from .ace import errors, files

NAME = "pairs.jsonl"
SHOWN = 100  # characters of a value in an error
FIELDS = ("source", "target", "similarity", "group")


class PairsError(errors.InputError):
    """A list of pairs that cannot be used. The text names the file, the line and what would do."""


@dataclass(frozen=True)
class Pair:
    """Two pictures, one of which could be an edit of the other.

    source, target: files · similarity: cosine of their features, from -1 to 1 · group: a number that all pairs of one group
    of pictures share.
    """

    source: Path
    target: Path
    similarity: float
    group: int


def read(path: Path) -> list[Pair]:
    """The pairs of a list, with paths that can be opened from here. Raises PairsError with the first line that is wrong."""
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")  # not at what else may be in a name and breaks lines
    except FileNotFoundError:
        raise PairsError(f"{path} is not there: give the {NAME} that `python -m engine pair` wrote.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise PairsError(f"{path} cannot be read ({getattr(error, 'strerror', None) or 'not UTF-8'}).") from None
    return [_pair(line, path, number) for number, line in enumerate(lines, 1) if line.strip()]


def write(path: Path, pairs: Iterable[Pair]) -> None:
    """Replaces `path`. Paths are written relative to its folder, with forward slashes. Raises PairsError for another drive."""
    folder = path.absolute().parent

    def fill(part: Path) -> None:
        with part.open("w", encoding="utf-8", newline="\n") as file:
            for pair in pairs:
                data = {"source": _relative(pair.source, folder), "target": _relative(pair.target, folder),
                        "similarity": round(pair.similarity, 6), "group": pair.group}
                file.write(json.dumps(data, ensure_ascii=False) + "\n")
    files.replaced(path, fill)


def _relative(path: Path, folder: Path) -> str:
    try:
        return Path(os.path.relpath(path, folder)).as_posix()
    except ValueError:
        raise PairsError(f"{path} is on another drive than {folder}: write the list on the drive of the pictures.") from None


def _shown(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}…"


def _pair(line: str, path: Path, number: int) -> Pair:
    where = f"{path.name}:{number}"
    try:
        data = json.loads(line)
    except (ValueError, RecursionError):
        raise PairsError(f"{where} is no JSON: each line must be an object with {', '.join(FIELDS)}.") from None
    if not isinstance(data, dict) or set(data) != set(FIELDS):
        found = _shown(sorted(data)) if isinstance(data, dict) else type(data).__name__
        raise PairsError(f"{where} has {found}, but must have {', '.join(FIELDS)}.")
    for name in ("source", "target"):
        if not isinstance(data[name], str) or not data[name].strip():
            raise PairsError(f"{where}: {name} is {_shown(data[name])}, but must be the name of a file.")
    similarity, group = data["similarity"], data["group"]
    if type(similarity) not in (int, float) or not -1.001 <= similarity <= 1.001:
        raise PairsError(f"{where}: similarity is {_shown(similarity)}, but must be a number from -1 to 1.")
    if type(group) is not int or not 0 <= group < 2**63:
        raise PairsError(f"{where}: group is {_shown(group)}, but must be a whole number from 0.")
    return Pair(path.parent / data["source"], path.parent / data["target"], float(similarity), group)
