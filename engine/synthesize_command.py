"""`python -m engine synthesize FOLDER OUT`: single pictures → a data set with exact answers."""

import argparse
from pathlib import Path

from tqdm import tqdm

from .pair_command import COMFYUI
from .synthesis.collection import Plan, SynthesisError, sources, synthesize
from .synthesis.tasks import ANNOTATORS, TASKS

KEPT_FOR = {"depth": "models/geometry_estimation: Depth Anything 3", "pose": "models/checkpoints: SDPose",
            "segmentation": "models/checkpoints: SAM 3"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", metavar="FOLDER", type=Path, help="pictures. NAME.txt is a caption, NAME mask.png a subject")
    parser.add_argument("out", metavar="OUT", type=Path, help="a folder for the data set")
    parser.add_argument("--tasks", metavar="A,B", default=None, help=f"default: all that can be made. {', '.join(TASKS)}")
    parser.add_argument("--each", type=int, default=1, help="examples of a task and a picture (default: %(default)s)")
    parser.add_argument("--budget", type=int, default=1024, help="tokens of a picture (default: %(default)s, the 512px "
                                                                 "model's; 4096 is the 1024px model's)")
    parser.add_argument("--font", metavar="FILE", help="a .ttf or .otf for written text (default: Pillow's own)")
    parser.add_argument("--seed", type=int, default=0, help="another one draws other examples (default: %(default)s)")
    for name in ANNOTATORS:
        parser.add_argument(f"--{name}", metavar="FILE", help=f"weights in {KEPT_FOR[name]}")
    parser.add_argument("--things", metavar="A,B", default="person,animal,vehicle,building,plant,furniture,food,sky,road,water",
                        help="what segmentation looks for (default: %(default)s)")
    parser.add_argument("--comfyui", metavar="PATH", help=COMFYUI)


def run(args: argparse.Namespace) -> int:
    """0: there is a data set. Raises InputError and OSError."""
    for name, low, high in (("each", 1, 1000), ("budget", 16, 65536), ("seed", 0, 2**63)):
        if not low <= getattr(args, name) <= high:
            raise SynthesisError(f"--{name} is {getattr(args, name)}, but must be from {low} to {high}.")
    if args.font and not Path(args.font).is_file():
        raise SynthesisError(f"--font: {args.font} is not there.")
    tasks = tuple(each.strip() for each in args.tasks.split(",") if each.strip()) if args.tasks is not None else tuple(TASKS)
    given = {name: getattr(args, name) for name in ANNOTATORS if getattr(args, name)}
    plan = Plan(tasks, args.each, args.budget, args.seed, annotators(given, args) if given else {}, args.font)
    with tqdm(total=len(sources(args.folder)), unit="picture") as bar:
        made = synthesize(args.folder, args.out, plan, bar.update)
    for task in tasks:
        print(f"{task:<18}{made.counts[task]:>7}" + "".join(f"   {count} left out: {why}" for (name, why), count
                                                             in sorted(made.left_out.items()) if name == task))
    if made.unreadable:
        name, why = next(iter(made.unreadable.items()))
        print(f"{len(made.unreadable)} pictures could not be opened, such as {name}, which {why}")
    print(f"{made.list_file} has {sum(made.counts.values())} examples: point data.path of the training settings at {args.out}.")
    return 0


def annotators(given: dict[str, str], args: argparse.Namespace) -> dict:
    """Core's, with these weights. Raises InputError."""
    from ace_model.comfyui import headless
    headless.start(headless.find(args.comfyui))
    from ace_model.comfyui import annotators as core
    things = [each.strip() for each in args.things.split(",") if each.strip()]
    makers = {"depth": core.depth, "pose": core.pose, "segmentation": lambda name: core.segmentation(name, things)}
    return {name: makers[name](file) for name, file in given.items()}
