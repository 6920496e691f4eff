"""A worker of the run: a block of requests → a block of answers. What cannot be made becomes a row with the reason."""

import io
import socket
from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic
from typing import Any

import numpy as np
import pyarrow as pa
from PIL import Image

from ace_model.errors import InputError

from .job import Job, StopRun

ANSWERS = pa.schema({"key": pa.int64(), "id": pa.string(), "row": pa.int64(), "name": pa.string(), "request": pa.string(),
                     "picture": pa.binary(), "width": pa.int32(), "height": pa.int32(), "error": pa.string(),
                     "seconds": pa.float32()})
KEPT = ("key", "id", "row", "name", "request")
IN_A_ROW = 20  # errors that nobody foresaw: then something is wrong with the worker, and not with the requests


class Worker:
    """Ray makes one per process. ledger: a handle of Ledger."""

    def __init__(self, job: Job, ledger: Any):
        self.job, self.ledger, self.unforeseen = job, ledger, 0
        self.maker = maker_of(job)
        wrong = self.told("join", socket.gethostname(), self.maker.maker)
        if wrong:
            raise StopRun(wrong)

    def told(self, what: str, *values: Any) -> Any:
        import ray
        return ray.get(getattr(self.ledger, what).remote(*values))

    def __call__(self, block: pa.Table) -> pa.Table:
        rows, out, errors = block.to_pylist(), [], 0
        name = rows[0]["id"] if rows else ""
        self.maker.expect([row["request"] for row in rows if not row["error"]])
        for part in self.parts(rows):
            began = monotonic()
            for row, answer in zip(part, self.answers(part), strict=True):
                errors += bool(answer.error)
                out.append({field: row[field] for field in KEPT} | vars(answer)
                           | {"seconds": (monotonic() - began) / len(part)})
                self.ledger.end.remote(row["id"], name, len(out), errors)
        return pa.Table.from_pylist(out, ANSWERS)

    def parts(self, rows: list[dict]) -> list[list[dict]]:
        """One each, or those together that are alike."""
        if self.job.together == 1:
            return [[row] for row in rows]
        alike: dict[str, list[dict]] = {}
        for row in rows:
            try:
                kind = "" if row["error"] else self.maker.likeness(row["request"], row["digests"])
            except Exception:  # noqa: BLE001 - alone, it is told what is wrong with it
                kind = ""
            alike.setdefault(kind or row["id"], []).append(row)
        size = self.job.together
        return [part[i:i + size] for part in alike.values() for i in range(0, len(part), size)]

    def answers(self, part: list[dict]) -> list["Answer"]:
        before = [0 if row["error"] else self.told("begin", row["id"]) for row in part]
        if len(part) > 1 and not any(before):  # one of them may have ended a worker: then each for itself
            try:
                return [pictured(levels) for levels in self.maker.together([(r["request"], r["digests"]) for r in part])]
            except Exception:  # noqa: BLE001 - each for itself tells which one it was
                self.maker.recover()
        return [self.alone(row, count) for row, count in zip(part, before, strict=True)]

    def alone(self, row: dict, before: int) -> "Answer":
        """before: how often it was begun and never ended."""
        if row["error"]:
            return Answer(error=row["error"])
        if before >= self.job.tries:
            return Answer(error=f"row {row['row']}: given up: {before} times the worker ended while it was at this request.")
        try:
            answer = pictured(self.maker(row["request"], row["digests"]))
            self.unforeseen = 0
            return answer
        except StopRun:
            raise
        except InputError as error:
            return Answer(error=f"row {row['row']}: {error}")
        except Exception as error:  # noqa: BLE001 - one request must not end the run, and many in a row must
            self.maker.recover()
            self.unforeseen += 1
            why = f"row {row['row']}: {type(error).__name__}: {error}"
            if self.unforeseen >= IN_A_ROW:
                raise StopRun(f"{IN_A_ROW} requests in a row failed on {socket.gethostname()}, so it is not they. The last: "
                              f"{why}") from error
            return Answer(error=why)


@dataclass(frozen=True)
class Answer:
    """A PNG, or why there is none."""

    picture: bytes | None = None
    width: int = 0
    height: int = 0
    error: str = ""


def pictured(levels: np.ndarray) -> Answer:
    return Answer(png(levels), levels.shape[1], levels.shape[0])


def maker_of(job: Job) -> Callable:
    """What makes the pictures: called with (request, digests), it gives levels (H, W, 3); `maker` is its signature."""
    threads(job.threads)
    if job.workflow:
        from .workflow import Flow
        return Flow(job)
    from .ace import Ace
    return Ace(job)


def threads(count: int) -> None:
    """Ray allows a process one thread of PyTorch, whatever the machine has."""
    if count:
        import torch
        torch.set_num_threads(count)


def png(levels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(levels).save(file, "PNG", compress_level=4)  # as Save Image does
    return file.getvalue()
