"""`python -m engine pair FOLDER OUT`: a pile of pictures → pairs that could be edits of one another.

OUT/pairs.jsonl is the list, OUT/ACE pairs.html shows groups and what was left out, OUT/left_out.jsonl has all of that with the
reasons. Features are kept in OUT/features, so that other thresholds take seconds.
"""

import argparse
from pathlib import Path

import numpy as np
from tqdm import tqdm

from . import features
from .cleaning import REASONS
from .pairing import pair
from .settings import LEARNED, Pairing

COMFYUI = "the folder that holds main.py, for core's models (default: COMFYUI_PATH, or where the pack is installed)"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", metavar="FOLDER", type=Path, help="pictures, in it and in its subfolders")
    parser.add_argument("out", metavar="OUT", type=Path, help="a folder for the list and the page")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--vision", metavar="FILE", help="features from a CLIP vision model in models/clip_vision, such as "
                                                       "sigclip_vision_patch14_384.safetensors (default: pixels alone)")
    what.add_argument("--features", metavar="FILE", type=Path, help="features that you have: .npy or .safetensors")
    parser.add_argument("--clusters", metavar="FILE", type=Path, help="clusters that you have: a .npy of whole numbers, "
                                                                      "(pictures,) or (pictures, several)")
    parser.add_argument("--set", metavar="NAME=VALUE", action="append", default=[], dest="changes",
                        help="another threshold; may be given several times")
    parser.add_argument("--comfyui", metavar="PATH", help=COMFYUI)


def run(args: argparse.Namespace) -> int:
    """0: there are pairs. 1: there are none. Raises InputError and OSError."""
    settings = Pairing().but([*(LEARNED if args.vision or args.features else ()), *args.changes])
    names = features.pictures_in(args.folder)
    make, maker = features.from_pixels, "pixels"
    if args.vision:
        make, maker = vision(args)
    elif args.features:
        make, maker = features.handed_in(args.features, names)
    homes = handed_clusters(args.clusters, len(names)) if args.clusters else None
    with tqdm(total=len(names), unit="picture") as bar:
        made = pair(args.folder, args.out, settings, make, maker, homes, names, bar.update)
    counts = made.outcome.counts
    print(f"{counts['pictures']} pictures, {counts['unreadable']} that cannot be opened\n{counts['groups']} groups with "
          f"{counts['grouped']} pictures\n{counts['pairs']} pairs")
    print("\n".join(f"{counts[why]} {why}" for why in REASONS if counts[why]))
    print(f"{made.list_file} is the list, {made.page_file} the page.")
    if not counts["pairs"]:
        print("No pairs: look at the page, then lower strict and loose, or what left most out.")
        return 1
    return 0


def vision(args: argparse.Namespace) -> tuple[features.Maker, str]:
    """Core's CLIP vision model. Raises InputError."""
    from ace_model.comfyui import headless
    headless.start(headless.find(args.comfyui))
    from ace_model.comfyui.vision import Vision, load
    model = Vision(load(args.vision))
    return lambda pictures, names: model(pictures), f"{args.vision}"


def handed_clusters(path: Path, count: int) -> np.ndarray:
    """(count, each) int32. Raises FeatureError."""
    try:
        homes = np.load(path, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise features.FeatureError(f"{path} cannot be read as a .npy of whole numbers ({error}).") from None
    homes = homes[:, None] if homes.ndim == 1 else homes
    if homes.ndim != 2 or len(homes) != count or homes.dtype.kind not in "iu" or homes.size and homes.min() < 0:
        raise features.FeatureError(f"{path} holds {homes.dtype} of shape {homes.shape}, but the folder has {count} pictures: "
                                    "give whole numbers from 0, a row for each picture in the order of their names.")
    return homes.astype(np.int32)
