"""Workflows that make examples to learn from. They need no model."""

from __future__ import annotations

from ..graph import Workflow
from .parts import PICTURE_SIZE, picture, save, start

TEACH = ("**Teach ACE.** The pack's docs/engine.md has the same as programs, for thousands of pictures, and docs/training.md "
         "the trainer.")

SMALL = PICTURE_SIZE[0], PICTURE_SIZE[1] - 40  # three stand in a column


def pair(title: str) -> Workflow:
    flow = start(title, "Finds the pictures of a folder that could be edits of one another. As it stands, it looks at the "
                 "pictures in ComfyUI's input folder.",
                 ["Choose your own folder in *input* as *folder*.",
                  "The page in *output/ACE pairs* shows groups and what was left out. Move *strict* and *loose* until the "
                  "groups are right.",
                  "For photographs of the same thing from elsewhere, connect core's *Load CLIP Vision* with SigLIP, and begin "
                  "with 0.95 and 0.9."], (), TEACH)
    found = flow.add("ACEEditorPairPictures", strict=0.8, loose=0.75, smallest=128)
    save(flow, found["groups"], "Groups")
    flow.add("PreviewImage", title="First pictures", size=SMALL, images=found["sources"])
    flow.add("PreviewImage", title="Their edits", size=SMALL, images=found["targets"])
    return flow


def make(title: str) -> Workflow:
    flow = start(title, "Hides a part of a picture, and has an example of inpainting whose answer is known exactly.",
                 ["Choose another *task*: maps, pictures from maps, outpainting, removal, texts, layers.",
                  "Some need more: a *caption*, the *mask* of the subject, or a *map* from core's nodes.",
                  "The seed draws the mask, the strength, the text and the wording."], (), TEACH)
    before = picture(flow, "coffee", masked=True)
    made = flow.add("ACEEditorMakePairs", images=before["IMAGE"], mask=before["MASK"], task="inpainting", seed=1,
                    caption="a cup of coffee on a wooden table")
    flow.add("PreviewImage", title="What goes in", size=PICTURE_SIZE, images=made["image"])
    flow.add("PreviewAny", title="What to do", source=made["instruction"])
    save(flow, made["target"], "The answer")
    return flow


WORKFLOWS = {"ACE Pair pictures": pair, "ACE Make pairs": make}
