"""The batch program with a worker that draws in place of a model: `python drawn_batch.py REQUESTS OUT …`. It is quick, and some
requests end it. The variable UNSUITED makes Ray find the plan unsuited to checkpoints, OTHER_RAY gives it another version."""

import os
import sys
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from batch import __main__ as program
from batch import run, worker
from batch.job import digest
from batch.worker import Worker


class Drawing:
    maker = "drawn"

    def expect(self, requests):
        pass

    def __call__(self, request, digests):
        time.sleep(0.02)
        if "end the worker" in request:
            os._exit(1)
        return np.frombuffer(bytes.fromhex(digest(request.encode())) * 6, np.uint8).reshape(8, 8, 3)

    def recover(self):
        pass


class DrawingWorker(Worker):
    def __init__(self, job, ledger):
        worker.maker_of = lambda job: Drawing()
        super().__init__(job, ledger)


if __name__ == "__main__":
    run.Worker = DrawingWorker
    if "UNSUITED" in os.environ:
        from ray.data._internal.planner.planner import Planner
        Planner._check_supports_checkpointing = lambda self, plan: False
    if "OTHER_RAY" in os.environ:
        import ray
        ray.__version__ = "2.0.0"
    sys.exit(program.main())
