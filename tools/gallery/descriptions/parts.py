"""What the ACE workflows share: loaders, a turn, the result, the note."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ace_model.comfyui import graph

from ..graph import Node, Output, Workflow
from ..models import DIT, T5, VAE, Model
from .box import ace_edit

LOAD, PICTURES, ASK, MAKE, RESULT = "#3f789e", "#8A8", "#b58b2a", "#a1309b", "#88A"
PICTURE_SIZE, RESULT_SIZE, COMPARE_SIZE = (300, 330), (340, 380), (420, 300)
BOX = ace_edit()
SEED = 42
ABOUT_ACE = (DIT, T5, VAE)
KEEP_TIP = ("*ACE Keep Untouched* uses the result under the mask, grown by `grow` pixels, and blends it into the original over "
            "`feather` pixels more. Every pixel farther away stays exactly as it was.")
MEMORY = ("**Memory.** The model takes 1.2 GB in bfloat16 (2.4 GB in float32), the VAE 0.2 GB. The text encoder (9.8 GB, or "
          "4.9 GB as `t5xxl_fp8_e4m3fn.safetensors`) runs only to read an instruction; then ComfyUI moves it to main memory. "
          "If your card is small, set the loader's device to cpu.")


@dataclass(frozen=True)
class Models:
    model: Node
    clip: Node
    vae: Node


def start(title: str, about: str, tips: Sequence[str] = (), files: Sequence[Model] = ABOUT_ACE) -> tuple[Workflow, Models]:
    """A workflow with its note and the three loaders."""
    flow = Workflow(title)
    add_note(flow, title, about, tips, files)
    return flow, load(flow, "1 · Models", *(file.name for file in ABOUT_ACE))


def load(flow: Workflow, group: str, model: str, text_encoder: str, vae: str) -> Models:
    with flow.group(group, LOAD):
        return Models(flow.add("ACEEditorLoadModel", model_name=model),
                      flow.add("ACEEditorLoadTextEncoder", text_encoder_name=text_encoder),
                      flow.add("VAELoader", vae_name=vae))


def add_note(flow: Workflow, title: str, about: str, tips: Sequence[str], files: Sequence[Model], memory: str = MEMORY
             ) -> None:
    """Markdown beside the graph: what it does, tips, files with their folders, memory."""
    parts = [f"# {title}", about]
    if tips:
        parts += ["**Tips**", "\n".join(f"- {tip}" for tip in tips)]
    if files:
        parts += ["**Files**", "\n".join(f"- [{file.name}]({file.url})" for file in files), folder_tree(files)]
    text = "\n\n".join([*parts, memory])
    flow.add("MarkdownNote", title="Read me", size=(460, note_height(text)), text=text)


def folder_tree(files: Sequence[Model]) -> str:
    lines = ["ComfyUI/models/"]
    for folder in dict.fromkeys(file.directory for file in files):
        lines.append(f"├── {folder}/")
        lines += [f"│   └── {file.name}" for file in files if file.directory == folder]
    return "```\n" + "\n".join(lines) + "\n```"


def note_height(text: str) -> int:
    """Height in pixels of a note that is 460 pixels wide (about 75 letters to a line)."""
    lines = sum(1 + len(line) // 75 for line in text.splitlines() if line.strip())
    return 90 + 15 * lines + 7 * text.count("\n\n")


def example(flow: Workflow, picture: str, title: str | None = None) -> Node:
    return flow.add("ACEEditorExampleImage", title=title, size=PICTURE_SIZE, picture=picture)


def ask(flow: Workflow, instruction: str | Node, images: Sequence[Output | Node] = (), masks: Sequence[Output] = (),
        blank: bool = False, number: int = 3, below: bool = False) -> Node:
    """The condition unit of one turn."""
    given = {f"image {i}": image for i, image in enumerate(images)} | {f"mask {i}": mask for i, mask in enumerate(masks)}
    text = instruction
    if isinstance(instruction, Node):
        given, text = given | {"text": instruction}, ["text", 0]
    with flow.group(f"{number} · Instruction", ASK, below, columns=1):
        unit = graph.condition_unit(text, [[f"image {i}", 0] for i in range(len(images))],
                                    {i: [f"mask {i}", 0] for i in range(len(masks))}, blank, name_image=True)
        return flow.add_graph({"unit": unit}, given, {"unit": (420, 220)})["unit"]


def make(flow: Workflow, models: Models, unit: Node, number: int = 4, width: int | Output = 0, height: int | Output = 0,
         seed: int = SEED) -> Node:
    """Tokens, indicators, sampling and decoding of one turn; the decoded picture."""
    given = {"unit": unit, "model": models.model, "clip": models.clip, "vae": models.vae}
    sizes: dict[str, int | list] = {}
    for name, value in (("width", width), ("height", height)):
        linked = isinstance(value, Output)
        given |= {name: value} if linked else {}
        sizes[name] = [name, 0] if linked else value
    with flow.group(f"{number} · Sampling", MAKE, columns=2):
        nodes = flow.add_graph(graph.encode("turn", ["unit", 0], **sizes) | graph.sample("turn", seed=seed)
                               | graph.decode("turn"), given)
        return nodes["turn image"]


def show(flow: Workflow, result: Node | Output, before: Node | Output | None = None, number: int = 5,
         title: str | None = None) -> None:
    """Save the result and compare it with the picture before."""
    with flow.group(f"{number} · Result", RESULT, columns=1):
        flow.add("SaveImage", size=RESULT_SIZE, images=result, filename_prefix=f"ACE/{title or flow.title}")
        if before is not None:
            compare(flow, before, result)


def compare(flow: Workflow, before: Node | Output, after: Node | Output) -> None:
    """Both side by side. (Core's Image Compare works only with Nodes 2.0 on.)"""
    both = flow.add("ImageStitch", image1=before, image2=after, direction="right", match_image_size=True, spacing_width=16,
                    spacing_color="white")
    flow.add("PreviewImage", title="Before and after", size=COMPARE_SIZE, images=both)


def box(flow: Workflow, models: Models, instruction: str, title: str, seed: int = SEED, **inputs) -> Node:
    """One "ACE Edit" box: a whole turn."""
    return flow.add_subgraph(BOX, title=title, size=(420, 480), model=models.model, clip=models.clip, vae=models.vae,
                             instruction=instruction, seed=seed, **inputs)
