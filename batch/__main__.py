"""Edit many pictures: `python -m batch REQUESTS OUT`, from the pack's folder with ComfyUI's own Python. See docs/batch.md.

REQUESTS: a .jsonl or .parquet file of records (docs/record.md), or a folder of pictures with --instruction. Run the same
command again to go on where a run stopped.
"""

import argparse
import importlib.util
import json
import re
import sys
from dataclasses import replace
from pathlib import Path

HERE = Path(__file__).absolute().parent  # not resolved: a link in custom_nodes/ leads to ComfyUI
PACK = HERE.parent
EXTRAS = PACK / ".dev" / "extras-batch"  # `python dev.py batch` installs there, too
# `python batch` works too: the Python of ComfyUI's portable version finds no modules in the folder it is started in.
sys.path[:] = [str(PACK), *(path for path in sys.path if Path(path or ".").absolute() not in (HERE, PACK)), str(EXTRAS)]

from ace_model.comfyui import headless  # noqa: E402
from ace_model.errors import InputError  # noqa: E402
from batch.job import FORMATS, MOST_TOGETHER, MOST_TRIES, BatchError, Files, Job  # noqa: E402

MODULES = {"msgpack": "msgpack", "protobuf": "google.protobuf", "ray[data]": "ray"}  # where its name is another
DEMO = Files("ace_demo_dit.safetensors", "ace_demo_t5.safetensors", "ace_demo_vae.safetensors")


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m batch", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("requests", metavar="REQUESTS", type=Path)
    parser.add_argument("out", metavar="OUT", type=Path, help="a new folder, or that of a run to go on with")
    parser.add_argument("--instruction", default="", metavar="TEXT", help="for a folder of pictures: what to do with each")
    parser.add_argument("--settings", default="{}", metavar="JSON", help="for a folder: settings of a turn, as in a record")
    parser.add_argument("--format", choices=FORMATS, default="parquet", help="of the answers (default: %(default)s)")
    models = parser.add_argument_group("models, by name in ComfyUI's folders or by path")
    for name in ("model", "text-encoder", "vae"):
        models.add_argument(f"--{name}", metavar="FILE", default="")
    models.add_argument("--lora", metavar="FILE[=STRENGTH]", action="append", default=[])
    models.add_argument("--demo", action="store_true", help="the demo model that comes with the pack")
    models.add_argument("--comfyui", metavar="PATH", help="the folder that holds main.py (default: COMFYUI_PATH, or where the "
                                                          "pack is installed)")
    flow = parser.add_argument_group("any workflow instead of ACE")
    flow.add_argument("--workflow", metavar="FILE", type=Path, help="a workflow saved by Export (API)")
    flow.add_argument("--set", metavar="NODE.INPUT=COLUMN", action="append", default=[], dest="values",
                      help="what of each row goes where; @seed is a number made of the row")
    flow.add_argument("--take", metavar="NODE", default="", help="whose picture to keep (default: the only one that shows one)")
    how = parser.add_argument_group("how to run")
    how.add_argument("--address", help="of a Ray cluster, such as auto (default: Ray on this machine)")
    how.add_argument("--workers", type=number(1, 100_000), default=0, metavar="N", help="default: one for each GPU, else one")
    how.add_argument("--threads", type=number(1, 1024), default=0, metavar="N",
                     help="of PyTorch in each worker, without a GPU (default: the cores, shared out)")
    how.add_argument("--batch", type=number(1, MOST_TOGETHER), default=1, metavar="N",
                     help="requests of one size in one pass: faster, and no longer the same bytes (default: 1)")
    how.add_argument("--tries", type=number(1, MOST_TRIES), default=3, metavar="N",
                     help="after which a request is given up that ends its worker (default: %(default)s)")
    how.add_argument("--rows", type=number(1, 4096), default=0, metavar="N", help="requests that a worker takes at a time")
    how.add_argument("--rows-per-file", type=number(1, 10**6), default=0, metavar="N", help="of the answers, at least")
    return parser.parse_args(argv)


def number(least: int, most: int):
    def whole(text: str) -> int:
        if not re.fullmatch(r"\d+", text) or not least <= int(text) <= most:
            raise argparse.ArgumentTypeError(f"{text} is not a whole number from {least} to {most:,}")
        return int(text)
    return whole


def extras() -> list[str]:
    """What pyproject.toml pins for batch."""
    text = (PACK / "pyproject.toml").read_text(encoding="utf-8")
    return re.findall(r'"([^"]+)"', re.search(r"^batch = \[(.*)\]$", text, re.MULTILINE)[1])


def missing() -> str:
    """The command that installs what is missing; empty if nothing is."""
    pinned = extras()
    if all(is_there(each.split("==")[0]) for each in pinned):
        return ""
    return f'"{sys.executable}" -m pip install --no-deps --target "{EXTRAS}" {" ".join(pinned)}'


def is_there(name: str) -> bool:
    try:
        return importlib.util.find_spec(MODULES.get(name, name)) is not None
    except ModuleNotFoundError:  # the package around it
        return False


def job_of(args: argparse.Namespace, comfyui: Path) -> Job:
    """Raises InputError."""
    import folder_paths
    own = args.requests if args.requests.is_dir() else args.requests.parent
    folders = {"": str(own.absolute()), "input": folder_paths.get_input_directory(),
               "output": folder_paths.get_output_directory()}
    if args.workflow:
        from batch.workflow import read
        return Job(str(comfyui), folders=folders, workflow=read(args.workflow, args.values, args.take), tries=args.tries)
    files = DEMO if args.demo else Files(args.model, args.text_encoder, args.vae)
    for name in ("model", "text_encoder", "vae"):
        if not getattr(files, name):
            raise BatchError(f"--{name.replace('_', '-')} is missing: give a file's name or path, or --demo.")
    files = replace(files, loras=tuple(lora(text) for text in args.lora))
    return Job(str(comfyui), files, folders, None, args.threads, args.batch, args.tries)


def lora(text: str) -> tuple[str, float]:
    name, _, strength = text.partition("=")
    try:
        return name, float(strength or 1)
    except ValueError:
        raise BatchError(f"--lora {text}: the strength must be a number, such as {name}=0.8.") from None


def main(argv: list[str] | None = None) -> int:
    """0: all requests are answered. 1: something must change. 2: nothing could be tried. 130: stopped."""
    args = parse(argv)
    if command := missing():
        print(f"Batches need a few packages beside ComfyUI's. Install them, in a folder of their own, by\n{command}",
              file=sys.stderr)
        return 2
    try:
        comfyui = headless.find(args.comfyui)
        headless.start(comfyui)
        from batch.run import Plan, Run
        try:
            settings = json.loads(args.settings)
        except ValueError as error:
            raise BatchError(f"--settings is not valid JSON ({error}): give such as '{{\"steps\": 20}}'.") from None
        plan = Plan(args.format, args.workers, args.rows, args.rows_per_file, args.address)
        Run(args.requests, args.out, job_of(args, comfyui), plan, lambda text: print(text, flush=True), args.instruction,
            settings).go(EXTRAS)
        return 0
    except headless.NoComfyUIError as error:
        print(error, file=sys.stderr)
        return 2
    except InputError as error:
        print(error)
        return 1
    except KeyboardInterrupt:
        print("\nStopped. Run the same command again to go on.")
        return 130


if __name__ == "__main__":
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")  # not every file name suits every terminal
    sys.exit(main())
