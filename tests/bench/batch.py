"""Batches on this machine: nothing lost, nothing twice, how fast: `python -m tests.bench.batch --count 2000`.

The demo model's requests go through two Ray workers, once undisturbed and once with a worker killed twice and the driver once;
then through one worker, and through the model directly. All with one thread of PyTorch each.
"""

import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from random import Random

import psutil
import torch

from ace_model.opening import pixels_of
from batch.job import digest
from demo.requests import InputFiles
from demo.world.scenes import SIZE
from demo.world.tasks import TASKS, generate
from tools.gallery.graph import ROOT

STEPS, GUIDANCE = 4, 1.5
KILLED_AT = (0.1, 0.25, 0.45)  # of the requests: a worker, a worker, the driver


def write_requests(folder: Path, count: int, seed: str = "batch", steps: int = STEPS) -> Path:
    """`count` different requests of the demo's world, all tasks in turn, as a list with its pictures beside it."""
    folder.mkdir(parents=True, exist_ok=True)
    rng, tasks = Random(seed), list(TASKS)
    samples = []
    while len(samples) < count:
        sample = generate(rng, tasks[len(samples) % len(tasks)])
        if all(picture.photo is None for picture in (sample.target, *sample.pictures)):
            samples.append(sample)
    files = InputFiles(folder)
    files.add([sample.turns for sample in samples])
    with (folder / "requests.jsonl").open("w", encoding="utf-8") as out:
        for number, sample in enumerate(samples):
            out.write(json.dumps({"id": f"request {number}", "record": record_of(sample.turns, files, steps, number)}) + "\n")
    return folder / "requests.jsonl"


def record_of(turns: Sequence, files: InputFiles, steps: int, number: int) -> dict:
    """The conversation as a record. number: its last turn's seed, so that no two requests are the same."""
    out = []
    for i, turn in enumerate(turns):
        settings = {"steps": steps, "guidance": GUIDANCE, "rescale": 0.0, "target_image": turn.edited}
        out.append({
            "id": f"t{i}", "parent": f"t{i - 1}" if i else None, "instruction": turn.instruction, "blank": turn.blank,
            "images": [{"file": files.names[picture]} for picture in turn.pictures],
            "masks": [{"file": files.masks[turn.region(j)]} if turn.region(j) else None for j in range(len(turn.pictures))],
            "settings": settings if turn.pictures else settings | {"width": SIZE, "height": SIZE}})
    return {"version": 1, "at": out[-1]["id"], "turns": [*out[:-1], out[-1] | {"seed": number}]}


# ---- runs

def command(*args: object, program: Sequence[str] = ("-m", "batch")) -> subprocess.Popen:
    """The batch program in a process group of its own."""
    return subprocess.Popen([sys.executable, *program, *map(str, args)], cwd=ROOT, stdout=subprocess.PIPE, text=True,
                            stderr=subprocess.STDOUT, env=os.environ | {"RAY_worker_niceness": "0"}, start_new_session=True)


def finished(running: subprocess.Popen, seconds: float = 600) -> tuple[int, str]:
    """(exit code, what it printed). Raises RuntimeError, and ends it, if it takes too long."""
    try:
        text = running.communicate(timeout=seconds)[0]
        return running.returncode, text
    except subprocess.TimeoutExpired:
        kill(running.pid)
        raise RuntimeError(f"no end after {seconds} s:\n{running.communicate()[0]}") from None
    finally:
        if running.poll() is None:
            kill(running.pid)


def committed(out: Path) -> int:
    """How many answers are there for good."""
    from pyarrow import parquet
    found = 0
    for path in (out / "checkpoint").glob("*.parquet"):
        with contextlib.suppress(OSError):  # committed under another name meanwhile
            found += 0 if path.stem.endswith(".pending") else parquet.read_metadata(path).num_rows
    return found


def workers_of(driver: int) -> list[psutil.Process]:
    """The processes of Ray Data's actors under a driver."""
    found = []
    for process in psutil.Process(driver).children(recursive=True):
        with contextlib.suppress(psutil.Error):
            if process.cmdline() and "MapWorker" in process.cmdline()[0] and "MapBatches" in process.cmdline()[0]:
                found.append(process)
    return found


def kill(process: int) -> None:
    os.kill(process, signal.SIGKILL)


def until(reached: Callable[[], bool], running: subprocess.Popen, seconds: float = 600) -> bool:
    """Whether it was reached before the program ended."""
    deadline = time.monotonic() + seconds
    while running.poll() is None and time.monotonic() < deadline:
        if reached():
            return True
        time.sleep(0.05)
    return False


def disturbed(out: Path, at: Sequence[int], *args: object, program: Sequence[str] = ("-m", "batch")) -> list[str]:
    """A run that loses a worker at each number of answers but the last, and its driver at the last; then the same command
    again, to the end. What was killed, and what the programs said. Raises RuntimeError if something could not be killed."""
    told = []
    running = command(*args, program=program)
    try:
        for number in at[:-1]:
            if not until(lambda number=number: committed(out) >= number and bool(workers_of(running.pid)), running):
                raise RuntimeError(f"no worker to kill at {number} answers:\n{running.stdout.read()}")
            victim = workers_of(running.pid)[0].pid
            kill(victim)
            told.append(f"worker {victim} killed at {committed(out)} answers")
        if not until(lambda: committed(out) >= at[-1], running):
            raise RuntimeError(f"no driver to kill at {at[-1]} answers:\n{running.stdout.read()}")
        kill(running.pid)
        told.append(f"driver {running.pid} killed at {committed(out)} answers")
    finally:
        if running.poll() is None:
            kill(running.pid)
        running.wait()
    code, text = finished(command(*args, program=program))
    if code:
        raise RuntimeError(f"resumed, it failed:\n{text}")
    return [*told, *text.splitlines()]


def answers(out: Path) -> dict[str, str]:
    """{id: a hash of its picture's bytes, or its error}. Raises AssertionError for an id that is there twice."""
    from batch import sinks
    found: dict[str, str] = {}
    for row in sinks.read(out):
        assert row["id"] not in found, f"{row['id']} is there twice"
        found[row["id"]] = row["error"] or digest(row["picture"])
    return found


# ---- the model without a run around it

def job_of(source: Path, **more):
    """As `python -m batch --demo` makes it."""
    from batch.__main__ import DEMO
    from batch.job import Job
    return Job(os.environ["COMFYUI_PATH"], DEMO, {"": str(source.parent), "input": "", "output": ""}, **more)


def asked(out: Path) -> Iterator[dict]:
    """The requests of a run, as the first pass wrote them."""
    from pyarrow import parquet
    for path in sorted((out / "requests").glob("*.parquet")):
        yield from parquet.read_table(path).to_pylist()


class Alone:
    """The demo model by ace_model and transformers, with a sampling loop of its own and no ComfyUI."""

    def __init__(self):
        from demo.trainer import model, train_autoencoder
        self.model, self.vae = model.load().eval(), train_autoencoder.load("cpu")

    @torch.inference_mode()
    def __call__(self, record, folder: Path) -> torch.Tensor:
        """(1, H, W, 3) in [0, 1]. record: its last turn takes nobody's answer as a picture."""
        from PIL import Image

        from ace_model.diffusion import ddim, guide
        from ace_model.images import preprocess
        from ace_model.masks import latent_mask
        from ace_model.paste import paste

        def opened(picture, mode):
            with Image.open(folder / picture.file) as image:
                return pixels_of(image, mode)
        lcu, turn = record.lcu(opened), record[record.at]
        frames, target = lcu.frames(turn.settings.negative, turn.settings.target_image), lcu.target_frame(
            turn.settings.target_image)
        ready = [preprocess(frame.image, frame.mask, 1024, frame.blank) for frame in frames[1:]]
        height, width = ready[target - 1][0].shape[:2] if target else (turn.settings.height, turn.settings.width)
        images = [self.vae.encode(pixels.permute(2, 0, 1)[None]) for pixels, _ in ready]
        masks = [latent_mask(mask)[None] for _, mask in ready]
        own = masks[target - 1] if target else torch.ones(1, 1, height // 8, width // 8)
        noise = torch.randn(1, 4, height // 8, width // 8, generator=torch.Generator().manual_seed(turn.seed))

        def eps(x, t, texts):
            read = self.model.dit.project_text([self.features(text) for text in texts], self.model.indicators()[None])
            return self.model.dit(x, t, own, images, masks, *read)

        both = [frame.text for frame in frames], [frame.negative_text for frame in frames]
        clean = ddim(lambda x, t: guide(*(eps(x, t, texts) for texts in both), turn.settings.guidance, turn.settings.rescale),
                     noise, turn.settings.steps)
        result = self.vae.decode(clean).clamp(0, 1).permute(0, 2, 3, 1)
        unit, chosen = lcu.turns[-1], turn.settings.target_image
        mask = unit.masks[chosen] if unit.images else None
        return result if mask is None else paste(unit.images[chosen][None], result, mask[None], turn.settings.grow,
                                                 turn.settings.feather)

    def features(self, text: str) -> torch.Tensor:
        return self.model.features(*self.model.tokenizer.batch([text]))


# ---- the numbers

def measure(folder: Path, count: int, part: int) -> bool:
    """Print them; whether all is as it should be. What was measured before in this folder is not measured again."""
    source = folder / "requests" / "requests.jsonl"
    few = source.with_name("few.jsonl")
    if not few.is_file():
        write_requests(source.parent, count)
        few.write_text("".join(source.read_text(encoding="utf-8").splitlines(True)[:part]), encoding="utf-8")
    common = ("--demo", "--threads", 1)
    print(f"{count:,} requests, {STEPS} steps at {SIZE} px, one thread each", flush=True)

    done(folder / "whole.txt", lambda: ended(command(source, folder / "whole", *common, "--workers", 2)))
    rate = rate_of(folder / "whole", 2)
    print(f"undisturbed, two workers: {rate:.2f} pictures/s", flush=True)

    done(folder / "one.txt", lambda: ended(command(few, folder / "one", *common, "--workers", 1)))
    one = rate_of(folder / "one", 1)
    print(f"one worker: {one:.2f} pictures/s; two are {rate / one:.2f} times as fast", flush=True)
    direct = float(done(folder / "direct.txt", lambda: [str(rate_directly(folder / "one", few))])[0])
    print(f"directly: {direct:.2f} pictures/s; the overhead of one worker is {direct / one - 1:.1%}", flush=True)

    killed, at = folder / "killed", [int(share * count) for share in KILLED_AT]
    for line in done(folder / "killed.txt", lambda: disturbed(killed, at, source, killed, *common, "--workers", 2)):
        if "killed at" in line or "done already" in line or line.endswith(".html"):
            print(f"disturbed: {line}", flush=True)
    expected, found = answers(folder / "whole"), answers(killed)
    same = sum(found.get(name) == value for name, value in expected.items())
    print(f"ids: {len(found):,} of {count:,}, each once; byte-identical pictures: {same:,} of {len(expected):,}", flush=True)
    return len(found) == len(expected) == same == count and rate >= 1.6 * one and direct <= 1.1 * one


def done(file: Path, work: Callable[[], list[str]]) -> list[str]:
    """What a part of the measurement said, now or before."""
    if not file.is_file():
        file.write_text("\n".join(work()), encoding="utf-8")
    return file.read_text(encoding="utf-8").splitlines()


def ended(running: subprocess.Popen) -> list[str]:
    code, text = finished(running, 3600)
    if code:
        raise RuntimeError(text)
    return text.splitlines()


def rate_of(out: Path, workers: int) -> float:
    """Pictures in a second, from the first request that was begun to the last answer on the disk."""
    spent = json.loads((out / "run.json").read_text(encoding="utf-8"))["spent"]
    return spent["pictures"] / spent["worker_seconds"] * workers


def rate_directly(out: Path, source: Path) -> float:
    """The same requests in this process, one after the other, encoded to PNG as in a run."""
    torch.set_num_threads(1)
    from batch.worker import maker_of, png
    ace, rows = maker_of(job_of(source)), list(asked(out))
    png(ace(rows[0]["request"], rows[0]["digests"]))
    began = time.perf_counter()
    for row in rows:
        png(ace(row["request"], row["digests"]))
    return len(rows) / (time.perf_counter() - began)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.batch", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--part", type=int, default=400, help="requests for one worker, and for the model directly")
    parser.add_argument("--out", type=Path, default=ROOT / ".dev" / "bench-batch", help="a new folder, or one to go on with")
    options = parser.parse_args()
    return 0 if measure(options.out, options.count, options.part) else 1


if __name__ == "__main__":
    sys.exit(main())
