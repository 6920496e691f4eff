"""Random requests to a real ComfyUI, each then changed in one place: `python dev.py soak --minutes 60`.

Every request must give what a direct call of ace_model gives, and every change must do what tests/fuzz/changes.py says of it.
Case i of a seed is always the same: `--seed 0 --case 17` runs one again and shows it. A soak that was stopped goes on.
"""

import argparse
import importlib
import json
import os
import signal
import sys
import time
from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path
from random import Random

import torch
from safetensors.torch import load_file, save_file

from ace_model.errors import InputError
from tools import tiny_models
from tools.comfy_server import ComfyServer, PromptError
from tools.files import replace_file

from .changes import ANY, CHANGES, KINDS, REFUSED, SAME
from .clear import is_clear
from .requests import Direct, Request, graph, request, write_pictures

ROOT = Path(__file__).resolve().parents[2]
RIGHT, REFUSAL, CORE = "right", "clear error", "core's own error"
UNCLEAR, SILENT, HANG = "unclear error", "silent wrong", "hang"
BAD = (UNCLEAR, SILENT, HANG)
SECONDS, LIMIT = 60, 1e-3  # until a graph counts as hanging; relative difference from the direct call, or by a change
CHANGED = 4  # changes tried on each request
ERRORS = ("images", "lcu", "masks", "plus", "record", "soundness", "comfyui.attention", "comfyui.conditioning", "comfyui.model",
          "comfyui.pictures", "comfyui.sampling", "comfyui.text", "comfyui.plus")  # modules of ace_model that define them


def error_names() -> set[str]:
    """Of all errors that the pack raises for a person."""
    for module in ERRORS:
        importlib.import_module(f"ace_model.{module}")
    found, ahead = set(), [InputError]
    while ahead:
        ahead += (kinds := ahead.pop().__subclasses__())
        found |= {kind.__name__ for kind in kinds}
    return found


def of_ours(error: PromptError, names: set[str]) -> bool:
    """A clear error that the pack raised; or a refusal before the run, as core words it."""
    return not error.kind or (error.kind.rpartition(".")[2] in names and is_clear(error.message.splitlines()[0]))


@dataclass
class Case:
    """What one request, or one change to it, came to."""

    what: str
    outcome: str
    detail: str = ""


@dataclass
class Report:
    """Counts so far; saved after every case."""

    next: int = 0
    seconds: float = 0.0
    graphs: int = 0
    table: dict[str, dict[str, int]] = field(default_factory=dict)
    findings: list[list] = field(default_factory=list)
    memory: list[list[int]] = field(default_factory=list)  # [graphs, MB of the server]

    def add(self, number: int, cases: list[Case]) -> None:
        for case in cases:
            row = self.table.setdefault(case.what, {})
            row[case.outcome] = row.get(case.outcome, 0) + 1
            self.graphs += 1
            if case.outcome in BAD:
                self.findings.append([number, case.what, case.outcome, case.detail[:500]])

    def text(self) -> str:
        outcomes = [RIGHT, REFUSAL, CORE, *BAD]
        total, rows = Counter(), []
        for what, row in sorted(self.table.items()):
            total.update(row)
            rows.append([what, *(str(row.get(o, "") or "") for o in outcomes)])
        rows = [["", *outcomes], *rows, ["all", *(str(total[o]) for o in outcomes)]]
        widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
        lines = ["  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]) for row in rows]
        lines += [f"case {n}, {what}: {outcome}: {detail}" for n, what, outcome, detail in self.findings]
        rate = self.graphs / max(self.seconds, 1e-9) * 60
        memory = f", server {self.memory[0][1]} MB, then {self.memory[-1][1]} MB" if self.memory else ""
        return "\n".join([*lines, f"{self.graphs} graphs in {self.seconds / 60:.1f} minutes: {rate:.0f} a minute{memory}"])


class Soak:
    """A server with tiny models, the direct call, and the two compared."""

    def __init__(self, server: ComfyServer, comfyui: Path):
        self.server, self.names = server, error_names()
        self.direct = Direct(server.base / "input", comfyui)

    def latent(self, asked: Request) -> torch.Tensor:
        """What ComfyUI makes of it. Raises PromptError, TimeoutError."""
        (info,) = self.server.run(graph(asked), timeout=SECONDS)["save"]["latents"]
        return load_file(self.server.base / "output" / info["subfolder"] / info["filename"])["latent_tensor"]

    def request(self, asked: Request) -> tuple[Case, torch.Tensor | None]:
        what = f"request: {asked.sampler}"
        try:
            given = self.latent(asked)
        except PromptError as error:
            return Case(what, UNCLEAR, f"refused although valid: {error} {error.kind}"), None
        except TimeoutError:
            return Case(what, HANG), None
        off = difference(given, self.direct(asked))
        return Case(what, RIGHT if off < LIMIT else SILENT, f"differs from the direct call by {off:.1e}"), given

    def change(self, kind: str, changed: Request, before: torch.Tensor) -> Case:
        must = KINDS[kind][0]
        try:
            given = self.latent(changed)
        except PromptError as error:
            if must == CHANGES and not error.kind:  # core found the graph invalid, so the change says nothing
                return Case(kind, UNCLEAR, f"refused before the run: {error}")
            if of_ours(error, self.names):
                return Case(kind, SILENT if must == SAME else REFUSAL, str(error))
            ours = must != ANY or any("custom_nodes" in line for line in error.trace)
            return Case(kind, UNCLEAR if ours else CORE, f"{error.kind}: {error}")
        except TimeoutError:
            return Case(kind, HANG)
        off = difference(given, before)
        wrong = {REFUSED: "ran", CHANGES: "changed nothing" if off == 0 else "",
                 SAME: f"differs by {off:.1e}" if off > 0 else "",
                 ANY: "" if torch.isfinite(given).all() else "not finite"}[must]
        return Case(kind, SILENT if wrong else RIGHT, wrong)

    def case(self, seed: int, number: int) -> list[Case]:
        """One request and a few changes to it."""
        rng = Random(f"{seed}/{number}")
        asked = request(rng)
        first, given = self.request(asked)
        if given is None:
            return [first]
        possible = [(kind, changed) for kind in rng.sample(sorted(KINDS), len(KINDS))
                    if (changed := KINDS[kind][1](rng, asked)) is not None]
        return [first, *(self.change(kind, changed, given) for kind, changed in possible[:CHANGED])]


def difference(given: torch.Tensor, expected: torch.Tensor) -> float:
    """Relative; infinite for other shapes."""
    if given.shape != expected.shape:
        return float("inf")
    return ((given - expected).norm() / expected.norm().clamp(min=1e-12)).item()


def prepare(base: Path) -> None:
    """Models, LoRA and pictures."""
    tiny_models.write(base / "models")
    save_file(tiny_models.ace(seed=9), base / "models/diffusion_models/other.safetensors")
    width = tiny_models.ACE.hidden_size
    generator = torch.Generator().manual_seed(5)
    pair = {"lora_down.weight": torch.randn(4, width, generator=generator), "lora_up.weight": torch.randn(width, 4,
                                                                                                            generator=generator)}
    save_file({f"diffusion_model.blocks.1.attn.v.{part}": value for part, value in pair.items()},  # acts on one token, too
              base / "models/loras/soak.safetensors")
    (base / "input").mkdir(exist_ok=True)
    write_pictures(base / "input")


def megabytes(pid: int) -> int:
    """Resident memory of a process; 0 where the system does not tell."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") >> 20
    except OSError:
        return 0


def run(args: argparse.Namespace) -> Report:
    args.folder.mkdir(parents=True, exist_ok=True)
    file = args.folder / f"report-{args.seed}.json"
    report = Report(**json.loads(file.read_text())) if file.exists() and args.case is None else Report()
    prepare(args.folder)
    with ComfyServer(args.folder, comfyui=args.comfyui) as server:
        soak, until = Soak(server, args.comfyui), time.monotonic() + 60 * args.minutes
        if args.case is not None:
            report.add(args.case, cases := soak.case(args.seed, args.case))
            for case in cases:
                print(asdict(case))
            return report
        while time.monotonic() < until:
            began = time.monotonic()
            report.add(report.next, soak.case(args.seed, report.next))
            report.seconds += time.monotonic() - began
            report.next += 1
            if report.next % 20 == 0:
                report.memory.append([report.graphs, megabytes(server.process.pid)])
                print(f"case {report.next}: {report.graphs} graphs, {len(report.findings)} findings", flush=True)
            replace_file(file, lambda path: path.write_text(json.dumps(asdict(report))))
    return report


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(prog="dev.py soak", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    p.add_argument("--minutes", type=float, default=60)
    p.add_argument("--seed", type=int, default=0)
    p.add_argument("--case", type=int, help="only this one, and show it")
    p.add_argument("--folder", type=Path, default=ROOT / ".dev" / "soak", help="the server's, and the report's")
    p.add_argument("--comfyui", type=Path, default=os.environ.get("COMFYUI_PATH"), help=argparse.SUPPRESS)
    return p


def use_comfyui(path: Path) -> None:
    """Make ComfyUI's packages importable here, on the CPU where there is no CUDA."""
    sys.path.insert(0, str(path))
    import comfy.options  # noqa: F401 - keeps ComfyUI from reading this program's arguments
    from comfy.cli_args import args
    args.cpu = not torch.cuda.is_available()


def main() -> int:
    args = parser().parse_args()
    args.comfyui = Path(args.comfyui)
    use_comfyui(args.comfyui)
    report = run(args)
    print(report.text())
    return 1 if report.findings else 0


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # however this ends, ComfyUI ends with it
    sys.exit(main())
