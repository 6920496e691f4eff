"""What the workflows have in common: the note, pictures, the saved result."""

from __future__ import annotations

from collections.abc import Sequence

from starters.pictures import file_of

from ..graph import Node, Output, Workflow
from ..models import DIT, T5, VAE, Model

PICTURE_SIZE, RESULT_SIZE, BOX_SIZE, NOTE_WIDTH = (300, 320), (380, 420), (400, 480), 400
ABOUT_ACE = (DIT, T5, VAE)
MEMORY = ("**Memory.** The model takes 1.2 GB in bfloat16, the VAE 0.2 GB. The text encoder takes 9.8 GB, or 4.9 GB as "
          "*t5xxl_fp8_e4m3fn.safetensors*. It only runs while an instruction is read; ComfyUI then moves it out of the way.")


def start(title: str, about: str, tips: Sequence[str] = (), files: Sequence[Model] = ABOUT_ACE, memory: str = MEMORY
          ) -> Workflow:
    """A workflow with its note: what it does, tips, links to the files, memory."""
    flow = Workflow(title)
    parts = [f"## {title}", about]
    if tips:
        parts.append("\n".join(f"- {tip}" for tip in tips))
    if files:
        parts += ["**Files** in *ComfyUI/models*", "\n".join(
            f"- [{file.name}]({file.url}) → *{file.directory}*" for file in files)]
    text = "\n\n".join([*parts, memory])
    note = flow.add("MarkdownNote", title="Read me", size=(NOTE_WIDTH, note_height(text)), text=text)
    # On the page's own brown, links and lists are hard to read. The light theme makes these two light gray.
    note.saved |= {"color": "#2a2a2a", "bgcolor": "#2e2e2e"}
    return flow


def note_height(text: str) -> int:
    """Pixels that a note needs (about 58 letters to a line; links are shorter than they are written)."""
    lines = sum(1 + len(line.split("](")[0]) // 58 for line in text.splitlines() if line.strip())
    return 60 + 17 * lines + 8 * text.count("\n\n")


def picture(flow: Workflow, name: str, title: str | None = None, masked: bool = False) -> Node:
    """Core's Load Image with a bundled picture; its mask is the picture's alpha."""
    return flow.add("LoadImage", title=title, size=PICTURE_SIZE, image=file_of(name, masked))


def box(flow: Workflow, subgraph, title: str | None = None, **inputs) -> Node:
    return flow.add_subgraph(subgraph, title=title, size=BOX_SIZE, **inputs)


def save(flow: Workflow, image: Node | Output, title: str | None = None) -> None:
    flow.add("SaveImage", title=title, size=RESULT_SIZE, images=image, filename_prefix=f"ACE/{title or flow.title}")
