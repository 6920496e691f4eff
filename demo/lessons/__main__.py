"""Teach the demo model something new, and see what it knows then:

  python -m demo.lessons make subject OUT       a data set and its settings file
  python dev.py train OUT/SETTINGS.yaml
  python -m demo.lessons score subject --lora OUT/subject/subject.safetensors --tasks

  python -m demo.lessons graph subject OUT      the same examples through the template ACE Teach a subject

Lessons: subject (a ring, from 12 examples), task (to mirror a picture, from 60). docs/training.md shows both.
"""

import argparse
from pathlib import Path

from . import compare, dataset, graph
from .lessons import LESSONS


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m demo.lessons", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    make = commands.add_parser("make", help="write a data set")
    make.add_argument("lesson", choices=LESSONS)
    make.add_argument("folder", type=Path)
    learn = commands.add_parser("graph", help="learn in a real ComfyUI, with core's Train LoRA (needs COMFYUI_PATH)")
    learn.add_argument("lesson", choices=LESSONS)
    learn.add_argument("folder", type=Path)
    learn.add_argument("--steps", type=int, default=4000, help="of one example each (default 4000)")
    learn.add_argument("--rate", type=float, default=1e-3, help="learning rate (default 0.001)")
    learn.add_argument("--rank", type=int, default=8, help="of the LoRA (default 8)")
    score = commands.add_parser("score", help="right answers to unseen requests, before and after")
    score.add_argument("lesson", choices=LESSONS)
    score.add_argument("--lora", type=Path, help="what was learned (default: only before)")
    score.add_argument("--cases", type=int, default=100, help="unseen requests (default 100)")
    score.add_argument("--seed", type=int, default=1, help="of the requests and cases (default 1)")
    score.add_argument("--tasks", action="store_true", help="the model's own nine tasks, too")
    score.add_argument("--paired", type=int, default=compare.PAIRED, help=f"cases of each (default {compare.PAIRED})")
    score.add_argument("--picture", type=Path, help="a picture of the first requests and their answers")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    args = parse(argv)
    lesson = LESSONS[args.lesson]
    if args.command == "score":
        compare.score(lesson, args)
        return
    if args.command == "graph":
        file = graph.learn(args.lesson, lesson, args)
        print(f"{file} is written. Now: python -m demo.lessons score {args.lesson} --lora {str(file)!r}")
        return
    settings = dataset.make(args.lesson, lesson, args.folder)
    print(f"{settings} is written. Now: python dev.py train {settings}")


if __name__ == "__main__":
    main()
