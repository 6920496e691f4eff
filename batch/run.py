"""A run: requests → plan → answers, with Ray Data's checkpoint, so that nothing is lost and nothing is made twice."""

import hashlib
import json
import logging
import math
import os
import threading
import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from time import monotonic

import numpy as np
import ray
import ray.data
import torch
from filelock import FileLock, Timeout
from ray.data import ActorPoolStrategy, DataContext
from ray.data.checkpoint import CheckpointConfig

from ace_model.lcu import shorten

from . import cluster, page, requests, sinks
from .job import BatchError, Job, replaced
from .ledger import Ledger, State
from .worker import Worker

VERSION = 1
CPUS = 0.25  # that a worker reserves: with whole ones, nothing would be left on a small machine for what Ray needs beside
BESIDE = 3 + 2 * sinks.CPUS  # CPUs: to filter what is done (one), to cut blocks (one), to read, to write, and one to spare.
# With fewer, Ray waits for ever
FILTER_MEMORY = 2**27  # bytes that Ray's filter reserves at least; its own default, a gigabyte, small machines don't have
MOST_ROWS, BLOCKS_PER_WORKER = 64, 8  # of a block: what is made again after a crash
EVERY = 5.0  # seconds between lines of progress


@dataclass(frozen=True)
class Plan:
    """How to run: format of the answers · workers: 0 for one per GPU, or one · rows: of a block, 0: chosen · rows_per_file: at
    least · address: of a cluster, None: this machine."""

    format: str = "parquet"
    workers: int = 0
    rows: int = 0
    rows_per_file: int = 0
    address: str | None = None


class Run:
    """One output folder. say: where lines for a person go."""

    def __init__(self, source: Path, folder: Path, job: Job, plan: Plan, say: Callable[[str], None] = print,
                 instruction: str = "", settings: dict | None = None):
        self.source, self.folder, self.job, self.plan, self.say = source, folder.absolute(), job, plan, say
        self.instruction, self.settings = instruction, settings or {}
        self.about = self.folder / "run.json"

    def prepare(self) -> requests.Found:
        """The first pass, unless it was made before. Raises BatchError for a folder of another run."""
        if self.source.is_dir() and self.folder.is_relative_to(self.source.absolute()):
            raise BatchError(f"{self.folder} lies in {self.source}, whose pictures are edited: give a folder beside it.")
        self.folder.mkdir(parents=True, exist_ok=True)
        identity = {"version": VERSION, "requests": self.fingerprint(), "format": self.plan.format, **self.job.identity()}
        if self.about.is_file():
            known = json.loads(self.about.read_text(encoding="utf-8"))
            other = [f"{name} was {known['run'].get(name)} and is now {value}" for name, value in identity.items()
                     if known["run"].get(name) != value]
            if other:
                raise BatchError(f"{self.folder} holds another run: {'; '.join(other)}. Give another folder, or the same "
                                 "requests and models as before.")
            return requests.Found(**known["found"])
        strangers = sorted(path.name for path in self.folder.iterdir() if path.name not in OWN)
        if strangers:
            raise BatchError(f"{self.folder} is not empty ({', '.join(strangers[:3])}): give a new folder.")
        found = requests.prepare(self.source, self.folder, self.job, self.instruction, self.settings)
        self.note({"run": identity, "found": asdict(found), "maker": ""})
        return found

    def fingerprint(self) -> str:
        """Of what was given: a list's content; a folder's names, sizes and times."""
        found = hashlib.sha256(json.dumps([self.instruction, self.settings], sort_keys=True).encode())
        if self.source.is_file():
            with self.source.open("rb") as file:
                while piece := file.read(2**24):
                    found.update(piece)
        else:
            for path in sorted(self.source.rglob("*")):
                state = path.stat()
                found.update(f"{path.relative_to(self.source)} {state.st_size} {state.st_mtime_ns}\n".encode())
        return found.hexdigest()[:16]

    def note(self, content: dict) -> None:
        replaced(self.about, lambda part: part.write_text(json.dumps(content, indent=1), encoding="utf-8"))

    def go(self, extras: Path) -> State:
        """To the last request. Raises BatchError, KeyboardInterrupt."""
        self.folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self.folder / ".lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            raise BatchError(f"another run is at work in {self.folder}: wait for it, or give another folder.") from None
        try:
            return self.locked(extras)
        finally:
            lock.release()

    def locked(self, extras: Path) -> State:
        found = self.prepare()
        self.say(f"{found.count:,} requests, {found.doubles:,} doubles left out, {found.errors:,} with an error"
                 f"{' (each becomes a row with its reason)' if found.errors else ''}")
        done = len(sinks.keys(self.folder))
        if done >= found.count:
            self.say("all of them are done")
            return self.finish(found, State(), 0, 0)
        if done:
            self.say(f"{done:,} are done already")
        cpus = math.ceil((self.plan.workers or max(1, torch.cuda.device_count())) * CPUS + BESIDE)
        cluster.start(self.plan.address, extras, max(cpus, os.cpu_count() or 1))
        try:
            return self.work(found, done)
        except (KeyboardInterrupt, BatchError):
            raise
        except UserWarning as warning:
            raise BatchError(f"Ray would run without a checkpoint that holds ({warning}): nothing was begun. This ray is "
                             f"{ray.__version__}; install the one that `python -m batch` names.") from None
        except Exception as error:
            words = cluster.in_words(error, self.folder)
            if not words:
                raise
            raise BatchError(words) from None
        finally:
            ray.shutdown()

    def work(self, found: requests.Found, done: int) -> State:
        gpus = int(ray.cluster_resources().get("GPU", 0))
        workers, cpus = self.plan.workers or max(1, gpus), ray.cluster_resources().get("CPU", 0)
        if cpus < workers * CPUS + BESIDE:
            raise BatchError(f"Ray has {cpus:g} CPUs, but {workers} workers need {workers * CPUS + BESIDE:g} with what goes on "
                             "beside them, or they wait for ever: give fewer --workers, or Ray more CPUs (--num-cpus).")
        cluster.look(self.job, self.folder, "GPU" if gpus else "CPU", self.plan.address is None)
        known = json.loads(self.about.read_text(encoding="utf-8"))
        ledger = ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=-1)(Ledger).remote(known["maker"])
        rows = self.plan.rows or max(1, min(MOST_ROWS, (found.count - done) // (workers * BLOCKS_PER_WORKER)))
        over, began = threading.Event(), monotonic()
        teller = threading.Thread(target=self.tell, args=(ledger, found, done, over), daemon=True)
        teller.start()
        try:
            self.execute(self.job_on(workers, gpus), ledger, workers, rows, bool(gpus))
        finally:
            over.set()
            teller.join()
        state = ray.get(ledger.state.remote())
        return self.finish(found, state, monotonic() - began, workers)

    def job_on(self, workers: int, gpus: int) -> Job:
        """Without GPUs, the workers of a machine share its cores: Ray gives each one thread of PyTorch if nobody asks."""
        machines = sum(node["Alive"] for node in ray.nodes())
        share = max(1, (os.cpu_count() or 1) * machines // workers)
        return self.job if gpus or self.job.threads else replace(self.job, threads=share)

    def execute(self, job: Job, ledger, workers: int, rows: int, on_gpus: bool) -> None:
        context = DataContext.get_current()
        context.enable_progress_bars = False
        checkpoint = CheckpointConfig("key", str(self.folder / "checkpoint"), delete_checkpoint_on_success=False)
        checkpoint.checkpoint_actor_memory_bytes = FILTER_MEMORY
        checkpoint.checkpoint_actor_pool_max_size = 1
        context.checkpoint_config = checkpoint
        logging.getLogger("ray.data.exceptions").disabled = True  # what it would print as its own fault comes in our words
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            # Ray warns and goes on without a checkpoint, or with one that lets rows through twice. Such a run must not begin.
            warnings.filterwarnings("error", message=".*[Cc]heckpointing", category=UserWarning)
            plan = ray.data.read_parquet(str(self.folder / "requests"), num_cpus=sinks.CPUS, partitioning=None, concurrency=2)
            plan = plan.repartition(target_num_rows_per_block=rows)
            plan = plan.map_batches(Worker, fn_constructor_args=(job, ledger), batch_size=None, batch_format="pyarrow",
                                    compute=ActorPoolStrategy(size=workers), num_cpus=CPUS, num_gpus=1 if on_gpus else None)
            sinks.write(plan, self.plan.format, self.folder, max(1, workers // 4), self.plan.rows_per_file)

    def tell(self, ledger, found: requests.Found, before: int, over: threading.Event) -> None:
        """A line of progress now and then; and the models' signature, as soon as one is known."""
        last, noted = -1, False
        while not over.wait(EVERY):
            try:
                state = ray.get(ledger.state.remote(), timeout=EVERY)
            except Exception:  # noqa: BLE001, S112 - a ledger that is busy or began anew is no reason to stop
                continue
            if state.maker and not noted:
                known = json.loads(self.about.read_text(encoding="utf-8"))
                self.note(known | {"maker": state.maker})
                noted = True
            if state.done != last:
                self.say(progress(state, before, found.count))
                last = state.done

    def finish(self, found: requests.Found, state: State, seconds: float, workers: int) -> State:
        """Count, put aside what failed, and write the page. Raises BatchError if an answer is missing or there twice."""
        lost = sinks.settle(self.folder, self.plan.format)
        if lost:
            self.say(f"{lost} unfinished files removed")
        keys = sinks.keys(self.folder)
        different = len(np.unique(keys))
        if not len(keys) == different == found.count:
            raise BatchError(f"{found.count:,} requests have {len(keys):,} answers, {different:,} of them different. Run the "
                             "same command again; if it stays so, start anew in another folder and tell us.")
        reasons = self.failures()
        known = json.loads(self.about.read_text(encoding="utf-8"))
        spent = known.get("spent", {"pictures": 0, "seconds": 0.0, "worker_seconds": 0.0})
        if state.done:
            spent = {"pictures": spent["pictures"] + state.done, "seconds": spent["seconds"] + seconds,
                     "worker_seconds": spent["worker_seconds"] + state.seconds * workers}
            self.note(known | {"maker": state.maker, "spent": spent})
        path, errors = page.make(self.folder, self.job, found, reasons, spent), sum(reasons.values())
        self.say(f"{found.count - errors:,} pictures, {errors:,} errors{' (in errors.jsonl)' if errors else ''}: {path}")
        return state

    def failures(self) -> dict[str, int]:
        """{reason: how many errors}; errors.jsonl gets the requests that failed."""
        reasons: dict[str, int] = {}

        def fill(part: Path) -> None:
            with part.open("w", encoding="utf-8") as file:
                for row in sinks.failed(self.folder):
                    reason = shorten(row["error"].partition(": ")[2], 100)
                    reasons[reason] = reasons.get(reason, 0) + 1
                    file.write(json.dumps(again(row), ensure_ascii=False) + "\n")
        replaced(self.folder / "errors.jsonl", fill)
        if not reasons:
            (self.folder / "errors.jsonl").unlink()
        return reasons


def again(row: dict) -> dict:
    """A request that failed as a row to try again."""
    given = json.loads(row["request"])
    shown = {"record": given} if isinstance(given, dict) and "turns" in given else given if isinstance(given, dict) else {
        "given": given}
    return ({"id": row["name"]} if row["name"] else {}) | shown | {"error": row["error"]}


OWN = {".lock", "requests", "requests.new", "doubles.parquet", "run.json"}


def progress(state: State, before: int, count: int) -> str:
    """For a person: how many, how fast, how long."""
    done, rate = before + state.done, state.done / state.seconds if state.seconds else 0.0
    speed = [f"{rate:.2f} pictures/s", f"{time((count - done) / rate)} left"] if rate else []
    errors = "1 error" if state.errors == 1 else f"{state.errors:,} errors"
    return ", ".join([f"{done:,} of {count:,} ({done / count:.0%})", *speed, errors])


def time(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
