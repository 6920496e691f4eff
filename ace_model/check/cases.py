"""What the model is asked: bundled pictures, tasks whose exact answer can be computed from them, and edits to look at.

The published files were trained on photographs, the demo model on a toy world, so each has pictures of its own.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import combinations, permutations, product

import numpy as np
import torch
import torch.nn.functional as F
from einops import rearrange, repeat
from PIL import Image
from torch import Tensor

from ..images import center_crop, resize
from .pairs import TIMESTEPS, Ask, Pair

DEMO_WIDTH = 256  # of the demo model, whatever its file is called
LUMA = (0.299, 0.587, 0.114)
TILE, BLUR = 16, 4.0  # pixels; the authors don't say theirs


class Starters:
    """What the check takes from the pack's starting points: `load(name, masked)` of starters.pictures, and `phrase` of
    starters.phrasings. Handed in, because ComfyUI and the command import that room under different names."""

    def __init__(self, load: Callable[..., Image.Image], phrase: Callable[..., str]):
        self.load, self.phrase = load, phrase

    def opened(self, name: str) -> tuple[Tensor, Tensor | None]:
        """Pixels (H, W, 3) and the mask (H, W), if any, in [0, 1]. name: "cat", "cat, masked", "cat, mirrored", "cat, gray"."""
        name, *how = name.split(", ")
        levels = torch.from_numpy(np.array(self.load(name, "masked" in how), dtype=np.float32) / 255)
        levels = levels.flip(1) if "mirrored" in how else levels
        pixels = grayscale(levels[..., :3]) if "gray" in how else levels[..., :3]
        return pixels, 1 - levels[..., 3] if "masked" in how else None


def square(image: Tensor, side: int) -> Tensor:
    """(H, W, 3) → (side, side, 3), the middle of it."""
    least = min(image.shape[:2])
    return resize(center_crop(image, (least, least))[None], side, side)[0]


@dataclass(frozen=True)
class Task:
    """A task whose answer is known. phrase: its name and number among the phrasings · truth: (H, W, 3) → the same · mask: which
    part of the picture is hidden from the model."""

    phrase: tuple[str, int]
    truth: Callable[[Tensor], Tensor]
    mask: str = ""


def grayscale(x: Tensor) -> Tensor:
    return repeat(x @ x.new_tensor(LUMA), "h w -> h w c", c=3)


def mosaic(x: Tensor) -> Tensor:
    tiles = F.avg_pool2d(rearrange(x, "h w c -> 1 c h w"), TILE)
    return rearrange(F.interpolate(tiles, scale_factor=TILE), "1 c h w -> h w c")


def blur(x: Tensor) -> Tensor:
    radius = round(3 * BLUR)
    line = torch.exp(-0.5 * (torch.arange(-radius, radius + 1) / BLUR) ** 2)
    line = (line / line.sum()).expand(3, 1, 1, -1)
    x = F.pad(rearrange(x, "h w c -> 1 c h w"), (radius,) * 4, mode="replicate")
    return rearrange(F.conv2d(F.conv2d(x, line, groups=3), line.transpose(2, 3), groups=3), "1 c h w -> h w c")


def same(x: Tensor) -> Tensor:
    return x


TASKS = {"grayscale": Task(("Analysis: grayscale", 1), grayscale),
         "mosaic": Task(("Analysis: mosaic", 1), mosaic),
         "blur": Task(("Analysis: blur", 1), blur),
         "inpainting": Task(("Repainting: inpainting", 1), same, "hole"),
         "outpainting": Task(("Repainting: outpainting", 1), same, "border")}
MAPS = ("grayscale", "mosaic", "blur")  # one picture in, nothing hidden


@dataclass(frozen=True)
class Edit:
    """An edit to look at. pictures: names, with ", masked" for the mask · truth: a task whose answer belongs beside it ·
    size: (width, height) of what has no picture to take it from."""

    title: str
    words: str
    pictures: tuple[str, ...] = ()
    truth: str = ""
    blank: bool = False


@dataclass(frozen=True)
class Plan:
    """What one model is asked.

    groups: (pixels on a square picture's side, pictures), compared with one another · hidden: {picture: what a hole in it and
    what the whole shows} · guidance, rescale: for the edits · size: of a picture made from words.
    """

    groups: tuple[tuple[int, tuple[str, ...]], ...]
    hidden: dict[str, tuple[str, str]]
    edits: tuple[Edit, ...]
    guidance: float = 4.5
    rescale: float = 0.5
    size: int = 512

    def sizes(self) -> dict[str, int]:
        return {name: size for size, names in self.groups for name in names}


PUBLISHED = Plan(
    groups=((384, ("cat", "coffee", "portrait", "rocket")),),
    hidden={"cat": ("the bright green eye of a cat", "a cat, close-up"),
            "rocket": ("the sky at dusk", "a rocket on its launch pad at dusk")},
    edits=(
        Edit("Text to image", "A small red lighthouse on a rocky island at dusk, long exposure, calm sea, warm light in the "
                              "window."),
        Edit("Analysis: grayscale", "turn {image} into a grayscale image", ("coffee",), "grayscale"),
        Edit("Analysis: depth", "make a depth map of {image}", ("portrait",)),
        Edit("Controllable generation: from depth", "create an image that follows the depth map {image} in accordance with the "
             'description "three marble balls in a long corridor"', ("room depth",)),
        Edit("Semantic editing: color", "change the color of the cup in {image} to blue", ("coffee",)),
        Edit("Element editing: remove object", "remove the contents of the mask from {image}", ("coffee, masked",)),
        Edit("Repainting: inpainting", 'fill the mask portion of {image} in accordance with the description "the bright green '
             'eye of a cat"', ("cat, masked",), "inpainting", True),
        Edit("Layer editing: fuse layers", "place the subject of {image1} naturally into {image}", ("meadow", "teapot")),
        Edit("Reference generation: style of a picture", "edit {image} based on the style of {image1}", ("cat", "swirls"))))
DEMO = Plan(
    groups=((128, ("toy scene", "toy figure", "toy scene, mirrored", "toy figure, mirrored")),),
    hidden={"toy scene": ("a red star", "a big red star at the bottom left, a small blue striped circle at the top right, on a "
                                        "meadow, by day")},
    edits=(
        Edit("Text to image", "a big red star at the bottom left, a small blue striped circle at the top right, on a meadow, "
                              "by day"),
        Edit("Analysis: grayscale", "turn {image} into a grayscale image", ("toy figure",), "grayscale"),
        Edit("Analysis: mosaic", "pixelate {image}", ("toy scene",), "mosaic"),
        Edit("Controllable generation: colorize", 'turn the grayscale {image} into a colorful image in accordance with the '
             'description "a big red star at the bottom left, a small blue striped circle at the top right, on a meadow, by '
             'day"', ("toy scene, gray",)),
        Edit("Semantic editing: color", "make the red star in {image} purple", ("toy scene",)),
        Edit("Element editing: remove object", "remove the star from {image}", ("toy scene",)),
        Edit("Repainting: inpainting", 'fill the mask portion of {image} in accordance with the description "a red star"',
             ("toy scene, masked",), "inpainting", True),
        Edit("Layer editing: background", "remove the star from {image} and leave the background layer", ("toy scene",)),
        Edit("Reference generation: style of a picture", "edit {image} based on the style of {image1}",
             ("toy figure", "toy scene"))),
    guidance=1.5, rescale=0.0, size=128)


def plan_for(width: int) -> Plan:
    """width: the network's, 1152 in the published files."""
    return DEMO if width == DEMO_WIDTH else PUBLISHED


def instruction(plan: Plan, phrase: Callable, picture: str, task: str, name: str = "{image}") -> str:
    """What one says to get the task's answer for the picture that has this name. phrase: starters.phrasings.phrase."""
    hole, whole = plan.hidden.get(picture, ("", ""))
    words = phrase(*TASKS[task].phrase, what={"hole": hole, "border": whole}.get(TASKS[task].mask, ""))
    return words.replace("{image}", name)


def tasks_of(plan: Plan, picture: str) -> list[str]:
    return [name for name, task in TASKS.items() if not task.mask or picture in plan.hidden]


def right(plan: Plan, phrase: Callable, picture: str, task: str) -> Ask:
    return Ask((picture, task), ((picture, TASKS[task].mask),), instruction(plan, phrase, picture, task))


def picture_pairs(plan: Plan, phrase: Callable) -> list[Pair]:
    """Two pictures, one instruction; each sees the other."""
    out = []
    for _, names in plan.groups:
        for (one, other), task in product(neighbors(names), MAPS):
            asks = right(plan, phrase, one, task), right(plan, phrase, other, task)
            wrong = tuple(Ask(ask.truth, seen.sees, ask.words) for ask, seen in zip(asks, asks[::-1], strict=True))
            out.append(Pair("picture", f"{one}, {other}: {task}", asks, wrong))
    return out


def neighbors(names: Sequence[str]) -> list[tuple[str, str]]:
    """Every picture beside the next, around."""
    return list({frozenset(pair): pair for pair in zip(names, (*names[1:], names[0]), strict=True)}.values())


def instruction_pairs(plan: Plan, phrase: Callable) -> list[Pair]:
    """One picture, two tasks; each reads the other's instruction."""
    out = []
    for picture in plan.sizes():
        for one, other in combinations(tasks_of(plan, picture), 2):
            asks = right(plan, phrase, picture, one), right(plan, phrase, picture, other)
            wrong = tuple(Ask(ask.truth, ask.sees, read.words) for ask, read in zip(asks, asks[::-1], strict=True))
            out.append(Pair("instruction", f"{picture}: {one}, {other}", asks, wrong))
    return out


def name_pairs(plan: Plan, phrase: Callable) -> list[Pair]:
    """Two pictures in both orders; the instruction names the right one, or the other."""
    return [named(plan, phrase, *order, "grayscale") for _, names in plan.groups
            for one, other in neighbors(names) for order in ((one, other), (other, one))]


def named(plan: Plan, phrase: Callable, subject: str, beside: str, task: str) -> Pair:
    first, second = (instruction(plan, phrase, subject, task, name) for name in ("{image}", "{image1}"))
    before, after = ((subject, ""), (beside, "")), ((beside, ""), (subject, ""))
    truth = subject, task
    return Pair("names", f"{subject} beside {beside}: {task}", (Ask(truth, before, first), Ask(truth, after, second)),
                (Ask(truth, before, second), Ask(truth, after, first)))


def latent_spaces() -> list[tuple[tuple[float, ...], ...]]:
    """Other latent spaces, in which numbers are as large and as smooth: (4, 4) matrices. Channels in another order and with
    other signs are far from the VAE's own; two channels turned into each other by 30° are near it, to either side."""
    signs = list(product((1.0, -1.0), repeat=4))
    orders = [order for order in permutations(range(4)) if all(i != channel for i, channel in enumerate(order))]
    eye = torch.eye(4)
    far = [eye[list(order)] * torch.tensor(signs[5 * i % 16])[:, None] for i, order in enumerate(orders[::2])]
    far += [-eye]
    near = []
    for (one, other), angle in product(combinations(range(4), 2), (math.pi / 6, -math.pi / 6)):
        turned = eye.clone()
        turned[one, one] = turned[other, other] = math.cos(angle)
        turned[one, other], turned[other, one] = math.sin(angle), -math.sin(angle)
        near.append(turned)
    return [tuple(map(tuple, space.tolist())) for space in far + near]


def remixed(latent: Tensor, mixed: tuple[tuple[float, ...], ...] | None) -> Tensor:
    """(1, 4, h, w) in another latent space."""
    return latent if mixed is None else torch.einsum("oc,bchw->bohw", latent.new_tensor(mixed), latent)


def latent_pairs(plan: Plan, phrase: Callable) -> list[Pair]:
    """The VAE's latents, and the same in other latent spaces: the model must know the VAE's best. Little noise: the model then
    needs no words, and a wrong text encoder does not blur the comparison."""
    out = []
    for picture in plan.sizes():
        ask = replace(right(plan, phrase, picture, "grayscale"), timesteps=TIMESTEPS[:1])
        out += [Pair("latents", f"space {i}", (ask,), (replace(ask, mixed=mixed),)) for i, mixed in enumerate(latent_spaces())]
    return out


def row_pairs(plan: Plan, phrase: Callable) -> list[Pair]:
    """Two pictures with their own names, and with orders of the names in which one picture has the other's: the model must know
    their own best."""
    orders = [(1, 0)] + [order for other in (3, 5, 7) for order in ((1, other), (other, 0))]
    orders = [(*order, 2, *(row for row in range(10) if row not in (*order, 2))) for order in orders]
    out = []
    for one, other in [pair for _, names in plan.groups for pair in zip(names[::2], names[1::2], strict=True)]:
        asks = tuple(replace(ask, timesteps=TIMESTEPS[1:2]) for ask in named(plan, phrase, one, other, "grayscale").right)
        out += [Pair("rows", f"order {i}", asks, tuple(replace(ask, rows=rows) for ask in asks))
                for i, rows in enumerate(orders)]
    return out


def all_pairs(plan: Plan, phrase: Callable) -> list[Pair]:
    return [pair for kind in (picture_pairs, instruction_pairs, name_pairs, latent_pairs, row_pairs)
            for pair in kind(plan, phrase)]
