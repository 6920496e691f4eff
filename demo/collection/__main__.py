"""From a pile of pictures without labels to a LoRA, on the toy world, where the truth is known:

  python -m demo.collection make OUT        3,000 pictures: scenes, edits of them, look-alikes
  python -m demo.collection pair OUT        the data engine finds the edits; precision and recall by the truth
  python -m demo.collection label OUT       instructions from the differences, as a data set
  python dev.py train "OUT/data set/SETTINGS.yaml"
  python -m demo.collection score OUT       unseen requests, before and after

`python -m demo.collection teach` makes the weights of the eye, whose features pairing compares (eye.safetensors).
"""

import argparse
from pathlib import Path

from ..lessons import compare
from ..lessons.lessons import Lesson
from . import eye, files, measure, ring
from .pile import pile


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m demo.collection", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    make = commands.add_parser("make", help="draw the pile")
    make.add_argument("--count", type=int, default=3000, help="pictures (default %(default)s)")
    make.add_argument("--seed", type=int, default=1, help="of the pile (default %(default)s)")
    score = commands.add_parser("score", help="right answers to unseen requests, before and after")
    score.add_argument("--cases", type=int, default=100, help="requests (default %(default)s)")
    score.add_argument("--picture", type=Path, help="a picture of the first requests and their answers")
    for command in (make, commands.add_parser("pair", help="find the edits"), commands.add_parser("label", help="say them"),
                    score):
        command.add_argument("folder", metavar="OUT", type=Path)
    commands.add_parser("teach", help="make the eye's weights")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    args = parse(argv)
    if args.command == "teach":
        made = eye.teach()
        eye.save(made)
        print(", ".join(f"{name} {share:.1%}" for name, share in eye.right(made).items()))
    elif args.command == "make":
        files.write(pile(args.count, args.seed, RINGS), args.folder)
        print(f"{args.folder / files.PICTURES} has {args.count} pictures.")
    elif args.command == "pair":
        print(measure.score(files.read(args.folder), files.pair(args.folder)))
    elif args.command == "label":
        labels, counts = ring.examples(files.pair(args.folder).outcome.pairs, files.read(args.folder))
        path = files.write_examples(labels, args.folder, unseen(args.folder))
        print(f"{counts['rings']} pairs lead to a ring, {counts['others']} are other edits, {counts['wrong']} are more than "
              f"one edit apart.\n{len(labels)} are taken, in {ring.WORDINGS} wordings each.\n"
              f"Now: python dev.py train \"{path}\"")
    else:
        lora = args.folder / files.LEARNED / "ring" / "ring.safetensors"
        models, samples = compare.answerers(lora), unseen(args.folder).requests(args.cases)
        compare.compare("unseen requests", samples, models)
        if args.picture:
            compare.board(samples[:compare.SHOWN], models, args.picture)


RINGS = 0.3  # of the families of things have a ring


def unseen(folder: Path) -> Lesson:
    """Requests whose scenes and answers are not in the pile."""
    known = {entry.scene for entry in files.read(folder)}

    def request(rng, how):
        while True:
            sample = ring.request(rng, how)
            if not known & {sample.target.scene, sample.pictures[0].scene}:
                return sample
    return ring.Lesson(request, ring.LESSON.kinds, 0, 0, ring.LESSON.settings)


if __name__ == "__main__":
    main()
