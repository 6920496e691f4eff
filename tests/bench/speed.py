"""Speed and memory of the full-size network and of whole edits: `python dev.py bench [--quick]`.

Prints tables and draws a picture, and writes both beside the figures (JSON). A run that was stopped goes on from there.
"""

import argparse
import gc
import json
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch

from tools.disk import refusal
from tools.files import replace_file

from . import host, memory, plot, report, stages, steps

LIMIT = 60  # seconds of one step, beyond which a case is left out
BUDGETS = {True: 40, False: 240}  # seconds of a case after which it gets no more than the fewest rounds, by --quick
NO_CUDA = "No CUDA device here: the rows for graphics cards are left out."


class Run:
    """Figures that are saved after every case. A file with the same settings is continued if its run was stopped, or left out
    cases for a lower limit."""

    def __init__(self, folder: Path, about: dict, limit: float, fresh: bool):
        self.path = folder / "bench.json"
        kept = None if fresh else self._unfinished(about, limit)
        self.continued = kept is not None
        self.results = kept or {**about, "started": now(), "steps": {}, "edits": {}}
        self.results |= {"finished": None, "limit": limit}

    def _unfinished(self, about: dict, limit: float) -> dict | None:
        try:
            found = json.loads(self.path.read_text(encoding="utf-8"))
            same = {key: found[key] for key in about} == about and {"steps", "edits", "started"} <= set(found)
            return found if same and (found["finished"] is None or found["limit"] < limit) else None
        except (OSError, ValueError, TypeError, KeyError):  # none, or damaged: everything is measured again
            return None

    def add(self, kind: str, key: str, row: dict) -> None:
        self.results[kind][key] = row
        self.save()

    def save(self) -> None:
        replace_file(self.path, lambda file: file.write_text(json.dumps(self.results, indent=1), encoding="utf-8"))


def now() -> str:
    return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime())


def say(words: str) -> None:
    print(words, flush=True)


def options_of(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python dev.py bench", description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path, help="where figures, tables and the picture go")
    parser.add_argument("--quick", action="store_true", help="under 5 minutes: 256 px on the CPU, 512 and 1024 px on CUDA")
    parser.add_argument("--memory", action="store_true", help="memory of a step and what fits on which card, without a card")
    parser.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto", help="auto: CUDA where there is one")
    parser.add_argument("--rounds", type=int, default=0, help="repeats of every case (default: 3 to 9 on the CPU, 20 on CUDA)")
    parser.add_argument("--limit", type=float, default=LIMIT, help=f"longest step that is measured, in seconds ({LIMIT})")
    parser.add_argument("--fresh", action="store_true", help="do not go on with a run that was stopped")
    parser.add_argument("--text-encoder", type=Path, help="a T5 v1.1 XXL file for the whole edits (default: a stand-in)")
    options = parser.parse_args(arguments)
    if options.device == "cuda" and not torch.cuda.is_available():
        parser.error("--device cuda: PyTorch finds no CUDA device here. Choose cpu, or leave it out.")
    if options.rounds < 0:
        parser.error(f"--rounds is {options.rounds}, but must be 1 or more.")
    if options.text_encoder and not options.text_encoder.is_file():
        parser.error(f"--text-encoder: there is no file {options.text_encoder}.")
    return options


def measure_edits(run: Run, plan: list[stages.Edit], folder: Path, device: torch.device, text_encoder: Path | None) -> None:
    """The whole edits that have not been measured."""
    plan = [case for case in plan if case.key not in run.results["edits"]]
    if not plan:
        return
    say("Writing weights of the published sizes …")
    files = stages.write_files(folder / "models", text_encoder=text_encoder)
    for case in plan:
        say(f"{case.key} …")
        row = fitting(stages.measure, case, files, device)
        run.add("edits", case.key, row)
        said = [f"{sum(row[which].values()):.1f} s the {which} time" for which in ("first", "second") if which in row]
        say(f"    {', '.join(said) or row['left_out']}")
    for file in files.values():  # gigabytes that only a stopped run needs again
        if file.is_relative_to(folder):
            file.unlink()


def measure_steps(run: Run, plan: list[steps.Case], device: torch.device, options: argparse.Namespace) -> None:
    """The steps that have not been measured, one network after the other."""
    todo = [case for case in plan if "seconds" not in run.results["steps"].get(case.key, {})]
    network, loaded, began, done = None, None, time.perf_counter(), 0.0
    for number, case in enumerate(todo, 1):
        if loaded != case.weights:
            network = None
            gc.collect()
            (network, compute), loaded = host.network(case.weights, device), case.weights
            per_second = steps.speed(compute, device)
        say(f"[{len(plan) - len(todo) + number}/{len(plan)}] {case.key} …")
        why = steps.obstacle(case, network.config, compute, device, per_second, options.limit)
        row = {"left_out": why} if why else fitting(
            steps.measure, case, network, compute, device, steps.rounds_of(device.type, options.quick, options.rounds),
            BUDGETS[options.quick])
        run.add("steps", case.key, row)
        if "left_out" in row:
            say(f"    left out: {row['left_out']}")
            continue
        done += cost(case)
        ahead = sum(cost(other) for other in todo[number:]
                    if steps.expected(other, network.config, per_second) <= options.limit)
        rest = (time.perf_counter() - began) * ahead / done
        say(f"    {summary(row)}" + (f"; about {rest / 60:.0f} min to go" if rest > 30 else ""))


def cost(case: steps.Case) -> float:
    """What a case weighs against others: every contender's operations."""
    return steps.operations(case) * (2 if case.guided else 3.3)


def fitting(measure: Callable[..., dict], *arguments) -> dict:
    """What `measure` finds; or that memory did not suffice, which must not end the run."""
    try:
        return measure(*arguments)
    except RuntimeError as error:
        if not isinstance(error, torch.OutOfMemoryError) and "can't allocate memory" not in str(error):  # CUDA's, the CPU's
            raise
        return {"left_out": "out of memory"}


def summary(row: dict) -> str:
    words = f"{report.median(row, 'own'):.4g} s per step (range {report.percent(report.spread(row['seconds']['own']))})"
    if "products" in row["seconds"]:
        words += (f", {report.ratio(row, 'own', 'products'):.2f} × bare products, "
                  f"{report.ratio(row, 'baseline', 'own'):.2f} × the baseline's speed")
    return words


def main() -> int:
    options = options_of()
    if options.memory:
        memory.main()
        return 0
    device = torch.device("cuda" if options.device != "cpu" and torch.cuda.is_available() else "cpu")
    folder = options.folder / (f"{device.type}-quick" if options.quick else device.type)
    say("Starting ComfyUI's part of this …")
    host.start(device)
    about = {"machine": host.machine(device), "versions": host.versions(device), "quick": options.quick,
             "rounds": options.rounds, "text_encoder": options.text_encoder.name if options.text_encoder else None,
             "notes": [] if device.type == "cuda" or torch.cuda.is_available() else [NO_CUDA]}
    run = Run(folder, about, options.limit, options.fresh)
    if run.continued:
        say(f"Going on with the run of {run.results['started']}; --fresh starts a new one.")
    try:
        measure_edits(run, stages.plan(device.type, options.quick), folder, device, options.text_encoder)
        measure_steps(run, steps.plan(device.type, options.quick), device, options)
    except KeyboardInterrupt:
        say(f"Measured so far: {len(run.results['edits']) + len(report.measured(run.results))} cases, in {run.path}.")
        return 130
    run.results["finished"] = now()
    run.save()
    words = report.text(run.results)
    replace_file(folder / "bench.md", lambda file: file.write_text(words, encoding="utf-8"))
    plot.draw(run.results, folder / "bench.png")
    say(f"\n{words}\nFigures, tables and picture: {run.path}, bench.md, bench.png")
    return 0


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # dev.py's Ctrl-C comes as this
    try:
        sys.exit(main())
    except KeyboardInterrupt:  # before there was a figure
        sys.exit(130)
    except OSError as error:
        sys.exit(f"bench: {refusal(error, Path(sys.argv[1]), 'give another folder')}")
