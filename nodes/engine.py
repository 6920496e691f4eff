"""The small parts of the data engine in the graph. docs/engine.md has the whole, as programs."""

from pathlib import Path
from random import Random

import comfy.utils
import folder_paths
import numpy as np
import torch
from comfy_api.latest import io, ui

from ..ace_model.comfyui.vision import Vision
from ..ace_model.images import check_image, preprocess
from ..ace_model.masks import check_mask, fit_mask, is_partial
from ..ace_model.record_json import relative
from ..engine import features, page, pairing
from ..engine.ace import data, formats
from ..engine.cleaning import REASONS
from ..engine.settings import Pairing
from ..engine.synthesis.tasks import ANNOTATORS, TASKS, Source, make
from .training import file_state
from .types import CATEGORY, within_limits

FOLDER = "ACE pairs"  # in the output folder
TOP = "the input folder itself"
ONE_PICTURE = tuple(name for name in TASKS if name != "fuse")  # what takes two has no place for the second


class PairPicturesNode(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="ACEEditorPairPictures",
            display_name="ACE Pair Pictures",
            category=CATEGORY,
            description="Finds in a folder which pictures could be edits of one another, to learn from. Writes the list, and a "
                        "page with groups and rejected pairs, to output/ACE pairs.",
            search_aliases=["ACE data engine", "data set", "group similar images", "find duplicates", "cluster", "K-means"],
            is_output_node=True,
            inputs=[
                io.Combo.Input("folder", options=choices(), default=TOP,
                               tooltip="A folder in the input folder, with all its subfolders; or the pictures that lie in the "
                                       "input folder itself."),
                io.Float.Input("strict", default=0.8, min=-1.0, max=1.0, step=0.005,
                               tooltip="First turn: pictures at least as similar as this belong together. With a vision model "
                                       "begin at 0.95."),
                io.Float.Input("loose", default=0.75, min=-1.0, max=1.0, step=0.005,
                               tooltip="Second turn: groups whose most typical pictures are at least as similar as this are "
                                       "joined. With a vision model begin at 0.9."),
                io.Float.Input("least", default=0.7, min=-1.0, max=1.0, step=0.005,
                               tooltip="Two pictures of a group that are less similar make no pair."),
                io.Int.Input("smallest", default=256, min=16, max=16384, step=16,
                             tooltip="Pictures with a shorter side below this are left out."),
                io.Int.Input("shown", default=8, min=1, max=256, tooltip="How many pairs come out as pictures; the list has "
                                                                          "all."),
                io.ClipVision.Input("clip_vision", optional=True,
                                    tooltip="From core's Load CLIP Vision: SigLIP, as in the paper, tells what is in a "
                                            "picture. Not connected: pictures are compared by colors and edges, which finds "
                                            "edits that keep most of a picture where it was."),
            ],
            outputs=[io.Image.Output(display_name="groups", tooltip="A row for each group, from the largest to the smallest."),
                     io.Image.Output(display_name="sources", is_output_list=True, tooltip="The first pictures of pairs."),
                     io.Image.Output(display_name="targets", is_output_list=True,
                                     tooltip="Beside each source the other picture of its pair."),
                     io.String.Output(display_name="report", tooltip="How many pairs there are, and what was left out.")],
        )

    @classmethod
    def fingerprint_inputs(cls, folder, **_):
        """Another one as soon as a file changes: ComfyUI sees the name alone."""
        if not isinstance(folder, str):
            return ""
        path = place(folder)
        files = sorted(path.glob("*") if folder == TOP else path.rglob("*"))
        return repr([(str(file), *file_state(file)) for file in files])

    @classmethod
    @within_limits
    def execute(cls, folder, strict, loose, least, smallest, shown, clip_vision=None) -> io.NodeOutput:
        path, settings = place(folder), Pairing(strict=strict, loose=loose, least=least, smallest=smallest)
        names = [name for name in features.pictures_in(path) if folder != TOP or "/" not in name]
        look, maker = features.from_pixels, "pixels"
        if clip_vision is not None:
            vision = Vision(clip_vision)
            look, maker = lambda pictures, _: vision(pictures), vision.name
        out = Path(folder_paths.get_output_directory(), FOLDER, "input" if folder == TOP else relative(folder, "folder"))
        made = pairing.pair(path, out, settings, look, maker, None, names, comfy.utils.ProgressBar(len(names)).update)
        counts, written = made.outcome.counts, made.page_file.relative_to(folder_paths.get_output_directory()).as_posix()
        words = "\n".join([page.words(counts), *(f"{counts[why]} {why}" for why in REASONS if counts[why]),
                           f"Page: output/{written}"])
        if not made.outcome.pairs:
            raise formats.DataError(folder, f"{words}\nThere is no pair: look at the page, then lower strict and loose.")
        pairs = made.outcome.pairs[:shown]
        sheet = torch.from_numpy(np.asarray(page.sheet(made.pile, made.outcome), np.float32) / 255)[None]
        return io.NodeOutput(sheet, [data.opened(each.source)[None] for each in pairs],
                             [data.opened(each.target)[None] for each in pairs], words, ui=ui.PreviewText(words))


class MakePairsNode(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="ACEEditorMakePairs",
            display_name="ACE Make Pairs",
            category=CATEGORY,
            description="Makes examples to learn from, out of single pictures: hides, blurs, covers or traces each, so that "
                        "the right answer is known exactly.",
            search_aliases=["ACE data engine", "data set", "synthesis", "training pairs", "degrade", "augment"],
            inputs=[
                io.Image.Input("images", tooltip="The pictures."),
                io.Combo.Input("task", options=list(ONE_PICTURE), default="inpainting",
                               tooltip="What the model is to learn. grayscale to segmentation make a map of the picture; "
                                       "colorize to from-segmentation make the picture of its map."),
                io.Int.Input("seed", default=0, min=0, max=0xFFFFFFFFFFFFFFFF,
                             control_after_generate=True,
                             tooltip="Another one draws other masks, strengths, texts and wordings."),
                io.String.Input("caption", default="", tooltip="What the pictures show. Instructions that describe the answer, "
                                                               "such as those of colorize and from-edges, need it."),
                io.Int.Input("token_budget", default=1024, min=16, max=16384, step=16,
                             tooltip="The most tokens (16×16 pixels) of a picture; larger pictures are shrunk first."),
                io.Mask.Input("mask", optional=True, tooltip="The subject of each picture, for cut-out and background."),
                io.Image.Input("map", optional=True,
                               tooltip="A map of each picture from core's nodes, for depth, pose and segmentation."),
                io.Image.Input("others", optional=True,
                               tooltip="Pictures for removal to take shapes from, and for background to put the subject on. "
                                       "Not connected: the other pictures of images."),
            ],
            outputs=[io.Image.Output(display_name="image", is_output_list=True, tooltip="What goes into the model."),
                     io.Mask.Output(display_name="mask", is_output_list=True,
                                    tooltip="What to edit; all black where the task has no mask."),
                     io.String.Output(display_name="instruction", is_output_list=True, tooltip="What to do."),
                     io.Image.Output(display_name="target", is_output_list=True, tooltip="The exact answer.")],
        )

    @classmethod
    @within_limits
    def execute(cls, images, task, seed, caption, token_budget, mask=None, map=None, others=None) -> io.NodeOutput:
        for each in images:
            check_image(each, "images")
        pixels = [preprocess(each, None, token_budget)[0] for each in images]
        beside = None if others is None else [preprocess(each, None, token_budget)[0] for each in others]
        made = []
        for number, each in enumerate(pixels):
            source = Source(each, " ".join(caption.split()), subject(mask, number, images[number], token_budget),
                            [x for x in pixels if x is not each] if beside is None else beside,
                            annotators(map, number, each))
            made.append(make(task, source, Random(f"{seed} {number}")))
        masks = [next((m for m in each.masks if m is not None), torch.zeros(each.images[0].shape[:2])) for each in made]
        shown = [each.images[0] * (1 - m[..., None] * each.blank) for each, m in zip(made, masks, strict=True)]
        return io.NodeOutput([x[None] for x in shown], [m[None] for m in masks], [each.instruction for each in made],
                             [each.target[None] for each in made])


def choices() -> list[str]:
    return [TOP, *sorted(folder_paths.get_input_subfolders())]


def place(folder: str) -> Path:
    top = Path(folder_paths.get_input_directory())
    return top if folder == TOP else top / relative(folder, "folder")


def subject(mask, number: int, image, budget: int):
    """The mask of a picture, at the size that the picture has inside; the last one counts for all further pictures. None if it
    selects nothing or everything, as Load Image's does for a picture without alpha."""
    if mask is None:
        return None
    own = mask[min(number, len(mask) - 1)]
    check_mask(own, "mask")
    if not is_partial(own):
        return None
    fitted = fit_mask(own, *image.shape[:2])
    return preprocess(fitted[..., None].expand(-1, -1, 3), None, budget)[0][..., 0]


def annotators(given, number: int, pixels) -> dict:
    """What is connected to `map`, as each of the annotators: the task says which it is."""
    if given is None:
        return {}
    own = torch.nn.functional.interpolate(given[min(number, len(given) - 1)][..., :3].movedim(-1, 0)[None], pixels.shape[:2],
                                          mode="bilinear", align_corners=False)[0].movedim(0, -1)
    return dict.fromkeys(ANNOTATORS, lambda _: own)
