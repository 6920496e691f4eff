"""The data engine: from a pile of pictures to a data set that `python -m training` learns from. docs/engine.md tells how.

  python -m engine pair FOLDER OUT          which pictures could be edits of one another
  python -m engine label PAIRS OUT          instructions for pairs, by a language model that sees
  python -m engine synthesize FOLDER OUT    examples with exact answers, made of single pictures
"""

import argparse
import sys
from pathlib import Path

HERE = Path(__file__).absolute().parent  # not resolved: a link in custom_nodes/ leads to ComfyUI
PACK = HERE.parent
# `python engine` works too: the Python of ComfyUI's portable version finds no modules in the folder it is started in.
sys.path[:] = [str(PACK), *(path for path in sys.path if Path(path or ".").absolute() not in (HERE, PACK))]

from ace_model.errors import InputError  # noqa: E402
from engine import label_command, pair_command, synthesize_command  # noqa: E402

COMMANDS = {"pair": pair_command, "label": label_command, "synthesize": synthesize_command}


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m engine", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    for name, module in COMMANDS.items():
        command = commands.add_parser(name, help=module.__doc__.splitlines()[0].partition(": ")[2], description=module.__doc__,
                                      formatter_class=argparse.RawDescriptionHelpFormatter)
        module.add_arguments(command)
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """0: done. 1: something must change. 130: stopped."""
    args = parse(argv)
    try:
        return COMMANDS[args.command].run(args)
    except InputError as error:
        print(error, file=sys.stderr)
        return 1
    except OSError as error:
        print(f"{error.filename or args.out}: {error.strerror or error}.", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")  # not every file name suits every terminal
    sys.exit(main())
