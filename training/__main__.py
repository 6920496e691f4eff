"""Teach ACE: `python -m training SETTINGS.yaml`, from the pack's folder with ComfyUI's own Python. docs/training.md tells how.

Run the same command again to go on where a run stopped. Several GPUs: torchrun --nproc_per_node 2 -m training SETTINGS.yaml
"""

import argparse
import importlib.util
import re
import sys
from pathlib import Path

HERE = Path(__file__).absolute().parent  # not resolved: a link in custom_nodes/ leads to ComfyUI
PACK = HERE.parent
EXTRAS = PACK / ".dev" / "extras-train"  # `python dev.py train` installs there, too
# `python training` works too: the Python of ComfyUI's portable version finds no modules in the folder it is started in.
sys.path[:] = [str(PACK), *(path for path in sys.path if Path(path or ".").absolute() not in (HERE, PACK)), str(EXTRAS)]

from ace_model.comfyui import headless  # noqa: E402
from ace_model.errors import InputError  # noqa: E402


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m training", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("settings", metavar="SETTINGS.yaml", type=Path)
    parser.add_argument("--check", action="store_true", help="only say whether data and memory suffice")
    parser.add_argument("--comfyui", metavar="PATH", help="the folder that holds main.py (default: COMFYUI_PATH, or where the "
                                                          "pack is installed)")
    return parser.parse_args(argv)


def extras() -> list[str]:
    """What pyproject.toml pins for training."""
    text = (PACK / "pyproject.toml").read_text(encoding="utf-8")
    return re.findall(r'"([^"]+)"', re.search(r"^train = \[([^\]]*)\]", text, re.MULTILINE)[1])


def missing() -> str:
    """The command that installs what is missing; empty if nothing is."""
    pinned = extras()
    if all(importlib.util.find_spec(each.split("==")[0]) for each in pinned):
        return ""
    return f'"{sys.executable}" -m pip install --no-deps --target "{EXTRAS}" {" ".join(pinned)}'


def main(argv: list[str] | None = None) -> int:
    """0: trained, or the check is content. 1: something must change. 2: nothing could be tried. 130: stopped."""
    args = parse(argv)
    if command := missing():
        print(f"Training needs a few packages beside ComfyUI's. Install them, in a folder of their own, by\n{command}",
              file=sys.stderr)
        return 2
    try:
        comfyui = headless.find(args.comfyui)
        from training.plus_run import PlusRun
        from training.run import Run
        from training.settings import read
        settings = read(args.settings)
        kind = PlusRun if settings.train.objective == "plus" else Run
        run = kind(settings, args.settings.absolute().parent, comfyui)
        if args.check:
            return 0 if run.check() else 1
        run.train()
        return 0
    except headless.NoComfyUIError as error:
        print(error, file=sys.stderr)
        return 2
    except InputError as error:
        print(error)
        return 1
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")  # not every file name suits every terminal
    sys.exit(main())
