"""Check downloaded files: `python -m ace_model.check --models FOLDER`, from the pack's folder with ComfyUI's own Python.

Says which file is what, with its SHA-256, and links the missing ones. Then it measures with bundled pictures whether diffusion
model, text encoder and VAE are right for one another, and writes a page with numbers and pictures.
"""

import argparse
import sys
from pathlib import Path

HERE = Path(__file__).absolute().parent  # not resolved: a link in custom_nodes/ leads to ComfyUI
PACK = HERE.parents[1]
# `python ace_model/check` works too: the Python of ComfyUI's portable version finds no modules in the folder it is started in.
sys.path[:] = [str(PACK), *(path for path in sys.path if Path(path or ".").absolute() not in (HERE, PACK))]

from ace_model.check import files  # noqa: E402
from ace_model.check.files import ROLES, File, gigabytes  # noqa: E402
from ace_model.comfyui import headless  # noqa: E402
from ace_model.errors import InputError  # noqa: E402

DEMO = PACK / "demo" / "weights"
PAGE = "ACE check.html"


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m ace_model.check", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", metavar="FOLDER", help="ComfyUI's models folder, or one that holds the three files "
                                                           "(default: that of the ComfyUI that the pack is installed in)")
    parser.add_argument("--demo", action="store_true", help="check the demo model that comes with the pack")
    for role in ROLES:
        parser.add_argument(f"--{role.lower().replace(' ', '-')}", metavar="FILE", dest=role,
                            help=f"the {role}: a path, or a name if the folder holds several")
    parser.add_argument("--output", metavar="PATH", help="the page, or a folder for it (default: ComfyUI's output folder)")
    parser.add_argument("--comfyui", metavar="PATH", help="the folder that holds main.py (default: COMFYUI_PATH, or where the "
                                                          "pack is installed)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=0, help="of every picture (default: the model's own number)")
    args = parser.parse_args(argv)
    if args.models is not None and args.demo:
        parser.error("--models and --demo: give one of them.")
    if not 0 <= args.steps <= 1000 or not 0 <= args.seed < 2**63:
        parser.error(f"--steps {args.steps} --seed {args.seed}: steps go from 0 to 1000, a seed from 0 to {2**63 - 1}.")
    return args


class Bar:
    """Progress: a line that is written again at every percent on a terminal, a line for every tenth elsewhere."""

    def __init__(self, what: str, total: int):
        self.what, self.total, self.done, self.shown = what, max(1, total), 0, -1
        self.step = 1 if sys.stderr.isatty() else 10

    def __call__(self, step: int = 1) -> None:
        self.done += step
        percent = 100 * self.done // self.total // self.step * self.step
        if percent != self.shown:
            self.shown = percent
            again = self.step == 1 and percent < 100
            print(f"\r{self.what} {percent} %", end="" if again else "\n", file=sys.stderr, flush=True)


def listing(folder: Path, known: list[File]) -> None:
    """Which file is what. Files of other models are only counted."""
    ours = [file for file in known if file.role]
    print(f"{folder}: {len(ours)} files that ACE may need, {len(known) - len(ours)} others")
    for file in ours:
        print(f"    {file.path.relative_to(folder).as_posix()}: {file.role}, {file.what}")


def describe(chosen: dict[str, File | None]) -> list[tuple[str, str, str, str]]:
    """Rows (role, file, size, SHA-256) of the files that are there; printed too."""
    there = {role: file for role, file in chosen.items() if file is not None}
    bar = Bar("Reading", sum(file.size for file in there.values()))
    rows = []
    for role, file in there.items():
        rows.append((role, file.path.name, gigabytes(file.size), files.sha256(file.path, bar)))
    for role, name, size, digest in rows:
        print(f"{role}: {name}, {size}\n    SHA-256 {digest}")
    return rows


def usable(chosen: dict[str, File | None]) -> bool:
    """Say what is missing or cannot be read."""
    for role, models in files.missing(chosen).items():
        which = "one of these" if len(models) > 1 else models[0].name
        print(f"No {role} is there. Download {which} into {models[0].directory}/:", *(f"\n    {model.url}" for model in models))
    problems = [file.problem for file in chosen.values() if file is not None and file.problem]
    for problem in problems:
        print(problem)
    return not problems and None not in chosen.values()


def measure(chosen: dict[str, File], rows: list[tuple[str, str, str, str]], args: argparse.Namespace, comfyui: Path) -> int:
    headless.start(comfyui)
    import torch

    from ace_model.check import page, run
    from ace_model.check.cases import Starters
    from ace_model.comfyui.loader import load_model, load_text_encoder, load_vae
    from starters import phrasings, pictures

    with torch.inference_mode():
        models = [load(str(chosen[role].path)) for role, load in zip(ROLES, (load_model, load_text_encoder, load_vae),
                                                                     strict=True)]
        report = run.check(*models, args.seed, args.steps, Starters(pictures.load, phrasings.phrase),
                           lambda total: Bar("Measuring", total))
    print(f"\n{page.text(report)}\n\nPage: {page.write(place(args.output, comfyui), page.html(report, rows))}")
    return 0 if report.verdict.right else 1


def place(output: str | None, comfyui: Path) -> Path:
    path = Path(output) if output else comfyui / "output"
    return path if path.suffix.lower() in (".html", ".htm") else path / PAGE


def main(argv: list[str] | None = None) -> int:
    """0: right. 1: wrong, missing or damaged. 2: nothing was checked."""
    args = parse(argv)
    try:
        comfyui = headless.find(args.comfyui)
        folder = DEMO if args.demo else Path(args.models) if args.models is not None else comfyui / "models"
        known = files.found(folder)
        listing(folder, known)
        chosen = files.choose(known, {role: getattr(args, role) for role in ROLES})
        rows = describe(chosen)
        return measure(chosen, rows, args, comfyui) if usable(chosen) else 1
    except headless.NoComfyUIError as error:
        print(error, file=sys.stderr)
        return 2
    except InputError as error:
        print(error)
        return 1
    except KeyboardInterrupt:
        print("\nStopped.", file=sys.stderr)
        return 130


if __name__ == "__main__":
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")  # not every file name suits every terminal
    sys.exit(main())
