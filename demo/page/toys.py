"""The shipped ACE workflows in the demo model's world: their own graphs, with toy pictures and instructions in them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random

from PIL import Image

from ace_model.comfyui.graph import node
from tools.files import replace_file
from tools.gallery.api import api_graph
from tools.gallery.build import workflows
from tools.gallery.descriptions.data import WORKFLOWS as DATA
from tools.gallery.models import DEMO_DIT, DEMO_T5, DEMO_VAE, DIT, T5, VAE

from ..requests import InputFiles, Sampling
from ..world.scenes import SIZE, Figure, Picture, Scene, Thing, image_of, render, to_image
from ..world.scenes.world import Face
from ..world.tasks import Region, Sample, Turn
from ..world.tasks.batch import mask_of
from ..world.tasks.editing import EXPRESSIONS, express, recolor
from .thumbnails import case

FILES = {DIT.name: DEMO_DIT, T5.name: DEMO_T5, VAE.name: DEMO_VAE}
# Titles that begin so need FLUX, SAM 3 or an upscale model, which no demo file stands in for.
UNLOADED = ("ACE Refine", "ACE++", "ACE Mask from words", "ACE Edit at full size")
DRAWING = "ACE What the model sees"  # makes no answer that could be judged
TEACHING = "ACE Teach a subject"  # learns for minutes: demo/lessons runs it
REST = Thing("circle", "blue", "striped", "small", "top right")
TOY = Scene("meadow", "day", (Thing("star", "red", "plain", "big", "bottom left"), REST))  # starters/pictures/toy scene.png
TOY_FIGURE = Scene("beach", "day", figure=Figure(1, "green", "dotted", "out", "apart"))  # starters/pictures/toy figure.png


@dataclass(frozen=True)
class Toy:
    """One case for a workflow.

    pictures: what its loaded images become, each with what to edit · instructions: of its condition units, in order ·
    steps: what its saved pictures answer, in order · settings: further widgets, {node type: {widget: value}} ·
    window: the part of a larger saved picture that is judged · conversation: every step is about the answer before.
    """

    pictures: tuple[tuple[Picture | Image.Image, Region | None], ...]
    instructions: tuple[str, ...]
    steps: tuple[Sample, ...]
    settings: dict[str, dict] = field(default_factory=dict)
    window: tuple[int, int, int, int] | None = None
    conversation: bool = False


def titles() -> list[str]:
    """Workflows whose answers the demo model can give."""
    return [title for title in workflows() if not title.startswith(UNLOADED) and title not in (DRAWING, TEACHING, *DATA)]


def toy(title: str) -> Toy:
    """The case of a workflow: its own one below, else the one that its thumbnail shows."""
    return OWN[title]() if title in OWN else from_sample(case(title))


def from_sample(sample: Sample) -> Toy:
    turn = sample.turns[-1]
    pictures = tuple((p, turn.region(i)) for i, p in enumerate(turn.pictures))
    if pictures and pictures[0][1] is None and sample.task in ("element editing", "repainting"):
        pictures = ((turn.pictures[0], difference(turn.pictures[0], sample.target)), *pictures[1:])
    return Toy(pictures, (turn.instruction,), (sample,))


def difference(before: Picture, after: Picture) -> Region:
    """A box around what an edit changes."""
    first, second = render([before, after])
    rows, columns = ((first - second).abs().amax(0) > 0.02).nonzero().unbind(1)
    return Region((max(0, int(columns.min()) - 4), max(0, int(rows.min()) - 4), min(SIZE, int(columns.max()) + 5),
                   min(SIZE, int(rows.max()) + 5)))


def asked(task: str, instruction: str, before: Sequence[Scene], after: Picture | Scene) -> Sample:
    """One turn for the judge."""
    target = Picture(after) if isinstance(after, Scene) else after
    return Sample(task, task, (Turn(instruction, tuple(map(Picture, before))),), target)


def steps(first: Scene, *turns: tuple[str, str, Picture | Scene], conversation: bool = False) -> Toy:
    """One picture, several (task, instruction, answer) about it, or about the answer before."""
    return Toy(((Picture(first), None),), tuple(text for _, text, _ in turns),
               tuple(asked(task, text, [first], answer) for task, text, answer in turns),
               conversation=conversation)


def start_here() -> Toy:
    return steps(TOY, ("semantic editing", "make the red star in {image} purple", TOY.change(0, color="purple")),
                 ("multi-turn", "give the star in {image} the color it had in {previous.image}", TOY),
                 conversation=True)


def talk() -> Toy:
    """The record that the template holds: its picture is TOY."""
    return steps(TOY, ("semantic editing", "make the red star in {image} purple", TOY.change(0, color="purple")))


def analysis() -> Toy:
    return steps(TOY_FIGURE, ("visual analysis", "depth map of {image}", Picture(TOY_FIGURE, "depth")))


def controllable() -> Toy:
    scene = Scene("beach", "day", (Thing("heart", "red", "plain", "big", "bottom left"),))
    made = steps(scene, ("controllable generation", 'make a picture from the edge map {image}: a big red heart at the bottom '
                         'left, on a beach, by day', scene))
    return replace(made, instructions=("edge map of {image}", *made.instructions))


def conversation() -> Toy:
    """Three turns, of which the workflow saves the first and the last."""
    purple = TOY.change(0, color="purple")
    made = steps(TOY, ("semantic editing", "make the red star in {image} purple", purple),
                 ("multi-turn", "show {image} at night", purple.but(light="night")),
                 ("multi-turn", "{image} with the colors of {previous2.image}", TOY.but(light="night")),
                 conversation=True)
    return replace(made, steps=made.steps[::2])


def fast() -> Toy:
    return steps(TOY, ("semantic editing", "show {image} at night", TOY.but(light="night")))


def face_edit() -> Toy:
    before = Scene("room", "day", face=Face(1, "black", EXPRESSIONS[0], "ahead", False))
    after, text = express(before, Random(3))
    return steps(before, ("semantic editing", text, after))


def general_edit() -> Toy:
    before = Scene("sea", "day", (Thing("heart", "red", "plain", "big", "bottom"), REST))
    after, text = recolor(before, Random(2))
    return steps(before, ("semantic editing", text, after))


def detail() -> Toy:
    """Four scenes side by side as one large picture; one of them is edited."""
    scenes = [Scene(place, "day", (Thing(shape, color, "plain", "big", "bottom"),)) for place, shape, color in (
        ("room", "circle", "red"), ("sea", "star", "green"), ("street", "cross", "yellow"), ("beach", "square", "blue"))]
    corners = [(0, 0), (SIZE, 0), (0, SIZE), (SIZE, SIZE)]
    large, hole = Image.new("RGB", (2 * SIZE, 2 * SIZE)), (SIZE, 0, 2 * SIZE, SIZE)
    for corner, pixels in zip(corners, render(list(map(Picture, scenes))), strict=True):
        large.paste(to_image(pixels), corner)
    text = "make the star in {image} purple"
    return Toy(((large, Region(hole)),), (text,), (asked("semantic editing", text, [scenes[1]],
                                                         scenes[1].change(0, color="purple")),),
               {"ACEEditorCropAroundMask": {"margin": 0.0, "min_size": SIZE},
                "ACEEditorKeepUntouched": {"feather": 0, "grow": 0}}, window=hole)


def outpainting() -> Toy:
    scene = Scene("meadow", "day", (Thing("circle", "red", "plain", "big", "bottom"),))
    text = "extend {image}: a big red circle at the bottom, on a meadow, by day"
    box = (32, 32, 96, 96)
    sample = Sample("repainting", "outpainting", (Turn(text, (Picture(scene),), (Region(box, True),), True),), Picture(scene))
    return Toy(((image_of(Picture(scene)).crop(box), None),), (text,), (sample,),
               {"ACEEditorPadForOutpainting": dict.fromkeys(("left", "top", "right", "bottom"), 0.5)})


OWN = {"ACE Start here": start_here, "ACE Talk to your pictures": talk, "ACE Analysis": analysis,
       "ACE Controllable generation": controllable, "ACE Conversation": conversation, "ACE Face edit": face_edit,
       "ACE Fast": fast, "ACE Edit": general_edit, "ACE Detail of a large photograph": detail, "ACE Outpaint": outpainting}


def toy_graph(title: str, case: Toy, files: InputFiles, sampling: Sampling) -> tuple[dict, list[str]]:
    """The workflow's graph with the case in it, and the ids of the nodes that save its answers."""
    graph = api_graph(workflows()[title](title))
    pictures, instructions = iter(case.pictures), iter(case.instructions)
    for key, one in graph.items():
        kind, inputs = one["class_type"], one["inputs"]
        inputs |= {name: FILES[value] for name, value in inputs.items() if isinstance(value, str) and value in FILES}
        if kind == "LoadImage":
            graph[key] = node("LoadImage", image=files.save(with_mask(*next(pictures))))
        elif kind == "ACEEditorConditionUnit":
            inputs["instruction"] = next(instructions)
        elif kind == "ACEEditorConditionTokenizer":
            inputs |= {side: SIZE for side in ("width", "height") if inputs.get(side) and not isinstance(inputs[side], list)}
        elif kind == "ACEEditorSampler" and inputs["sampler"] == "euler":
            inputs |= {"steps": sampling.steps, "guidance": sampling.guidance, "rescale": sampling.rescale}
        inputs |= case.settings.get(kind, {})
    return graph, [key for key, one in graph.items() if one["class_type"] == "SaveImage"]


def with_mask(picture: Picture | Image.Image, region: Region | None) -> Image.Image:
    """Square; RGB, or RGBA whose transparent part is what to edit: so ComfyUI's Load Image reads masks."""
    image = picture if isinstance(picture, Image.Image) else image_of(picture)
    if region is None:
        return image
    image = image.copy()
    image.putalpha(Image.fromarray(((1 - mask_of(region, image.width)[0]) * 255).byte().numpy()))
    return image


def write_pictures(folder: Path) -> list[str]:
    """Toy pictures under readable names, to pick in Load Image; masks are their transparency. Returns the names."""
    written = []
    for title in titles():
        for number, (picture, region) in enumerate(toy(title).pictures):
            written.append(f"toy {title.lower()}{f' {number}' if number else ''}.png")
            image = with_mask(picture, region)
            replace_file(folder / written[-1], lambda path, image=image: image.save(path, "PNG"))
    return written
