"""A worker of the run: a block of requests → a block of answers. What cannot be made becomes a row with the reason."""

import io
import os
import socket
from collections.abc import Callable
from time import monotonic
from typing import Any

import numpy as np
import pyarrow as pa
from PIL import Image

from ace_model.errors import InputError

from .job import BatchError, Job

ANSWERS = pa.schema({"key": pa.int64(), "id": pa.string(), "row": pa.int64(), "name": pa.string(), "request": pa.string(),
                     "picture": pa.binary(), "width": pa.int32(), "height": pa.int32(), "error": pa.string(),
                     "seconds": pa.float32()})
IN_A_ROW = 20  # errors that nobody foresaw: then something is wrong with the worker, and not with the requests


class Worker:
    """Ray makes one per process. ledger: a handle of Ledger."""

    def __init__(self, job: Job, ledger: Any):
        self.job, self.ledger, self.unforeseen = job, ledger, 0
        self.maker = maker_of(job)
        wrong = self.told("join", f"{socket.gethostname()} {os.getpid()}", socket.gethostname(), self.maker.maker)
        if wrong:
            raise BatchError(wrong)

    def told(self, what: str, *values: Any) -> Any:
        import ray
        return ray.get(getattr(self.ledger, what).remote(*values))

    def __call__(self, block: pa.Table) -> pa.Table:
        rows, out, reasons = block.to_pylist(), [], {}
        name = rows[0]["id"] if rows else ""
        self.maker.expect([row["request"] for row in rows if not row["error"]])
        for row in rows:
            began, error, picture, size = monotonic(), row["error"], None, (0, 0)
            before = 0 if error else self.told("begin", row["id"])
            if before >= self.job.tries:
                error = f"row {row['row']}: given up: {before} times the worker ended while it was at this request."
            elif not error:
                picture, size, error = self.answered(row)
            if error:
                reason = error.partition(": ")[2][:60]
                reasons[reason] = reasons.get(reason, 0) + 1
            out.append({"key": row["key"], "id": row["id"], "row": row["row"], "name": row["name"], "request": row["request"],
                        "picture": picture, "width": size[0], "height": size[1], "error": error,
                        "seconds": monotonic() - began})
            self.ledger.end.remote(row["id"], name, len(out), reasons)
        return pa.Table.from_pylist(out, ANSWERS)

    def answered(self, row: dict) -> tuple[bytes | None, tuple[int, int], str]:
        """(PNG, (width, height), why there is none)."""
        try:
            levels = self.maker(row["request"], row["digests"])
            self.unforeseen = 0
            return png(levels), (levels.shape[1], levels.shape[0]), ""
        except InputError as error:
            return None, (0, 0), f"row {row['row']}: {error}"
        except Exception as error:  # noqa: BLE001 - one request must not end the run, and many in a row must
            self.maker.recover()
            self.unforeseen += 1
            why = f"row {row['row']}: {type(error).__name__}: {error}"
            if self.unforeseen >= IN_A_ROW:
                raise BatchError(f"{IN_A_ROW} requests in a row failed on {socket.gethostname()}, so it is not they. The "
                                 f"last: {why}") from error
            return None, (0, 0), why


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
