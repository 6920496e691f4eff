"""Workflows that make or analyse pictures: start here, text to image, analysis, controllable, reference, try-on, layers."""

from __future__ import annotations

from ..graph import Workflow
from ..models import DEMO_DIT, DEMO_T5, DEMO_VAE
from .parts import (
    ASK,
    KEEP_TIP,
    PICTURES,
    RESULT,
    RESULT_SIZE,
    SEED,
    add_note,
    ask,
    box,
    compare,
    example,
    load,
    make,
    show,
    start,
)

DEMO_NOTE = """**The demo model** comes with this pack, so there is nothing to download. It knows only a toy world of \
128 × 128 pixels: shapes, faces, stick people, letters. It shows what ACE does and that your installation works. For real \
pictures, open any other template of this pack: its note lists the published files and their folders."""


def start_here(title: str) -> Workflow:
    flow = Workflow(title)
    add_note(flow, title, "Press **Run**. In the first turn the star changes its color. In the second turn the model undoes "
             "that, which it can do only because it remembers the first picture.",
             ["`{image}` in the instruction is the picture in slot `image`.",
              "`lcu` of the first box is connected to `history` of the second. That makes it a conversation.",
              "To see the nodes inside a box, click the icon in its corner."], (), DEMO_NOTE)
    models = load(flow, "1 · Models (included in the pack)", DEMO_DIT, DEMO_T5, DEMO_VAE)
    with flow.group("2 · Picture", PICTURES):
        picture = example(flow, "toy scene.png")
    with flow.group("3 · First turn", ASK):
        first = box(flow, models, "make the red star in {image} purple", "Turn 1", image=picture["image"])
    with flow.group("4 · Second turn", ASK):
        second = box(flow, models, "give the star in {image} the colour it had in {previous.image}", "Turn 2",
                     image=first["IMAGE"], history=first["lcu"])
    with flow.group("5 · Results", RESULT, columns=2):
        flow.add("SaveImage", title="After turn 1", size=RESULT_SIZE, images=first["IMAGE"], filename_prefix=f"ACE/{title} 1")
        flow.add("SaveImage", title="After turn 2", size=RESULT_SIZE, images=second["IMAGE"], filename_prefix=f"ACE/{title} 2")
        compare(flow, picture["image"], first["IMAGE"])
    return flow


def text_to_image(title: str) -> Workflow:
    flow, models = start(title, "Makes a picture from words alone. Set width and height to multiples of 16.",
                         ["Describe the subject first, then light, style and viewpoint.",
                          "512×512 pixels is the largest square for the 512px model. Other shapes of that area work, too."])
    unit = ask(flow, "a small red lighthouse on a rocky island at dusk, long exposure, calm sea, warm light in the window",
              number=2)
    show(flow, make(flow, models, unit, 3, 512, 512), number=4)
    return flow


def analysis(title: str) -> Workflow:
    flow, models = start(title, "Makes four maps of one picture: depth, edges, segmentation and pose. Each box is a whole "
                         "turn with its own instruction.",
                         ["Start the instruction with the map you want.",
                          "To use a segmentation as a mask, connect *Convert Image to Mask*."])
    with flow.group("2 · Picture", PICTURES):
        picture = example(flow, "portrait.jpg")
    wanted = {"Depth": "make a depth map of {image}", "Edges": "make an edge map of {image}",
              "Segmentation": "make a segmentation map of {image}", "Pose": "draw the pose skeleton of the person in {image}"}
    for i, (name, instruction) in enumerate(wanted.items()):
        with flow.group(f"{3 + i} · {name}", ASK, below=i % 2 == 1):
            made = box(flow, models, instruction, name, image=picture["image"])
            flow.add("SaveImage", size=RESULT_SIZE, images=made["IMAGE"], filename_prefix=f"ACE/{name}")
    return flow


def controllable(title: str) -> Workflow:
    flow, models = start(title, "Takes the edges of a picture, then makes a new picture that follows them.",
                         ["Put a caption of the new picture in quotes.",
                          "Ask for depth, pose or segmentation in the first instruction to keep only that."])
    with flow.group("2 · Picture", PICTURES):
        picture = example(flow, "coffee.jpg")
    with flow.group("3 · Take the edges", ASK, columns=1):
        edges = box(flow, models, "make an edge map of {image}", "Edge map", image=picture["image"])
        flow.add("PreviewImage", title="The map", size=(300, 300), images=edges["IMAGE"])
    with flow.group("4 · Follow them", ASK):
        made = box(flow, models, 'make a picture from the edge map {image}: "a blue porcelain cup of green tea on a marble '
                   'table, morning light"', "New picture", image=edges["IMAGE"])
    show(flow, made["IMAGE"], picture["image"])
    return flow


def reference(title: str) -> Workflow:
    flow, models = start(title, "Makes a new picture from three: a cat, a hat and a place.",
                         ["Give each picture one role, and refer to it by its name: `{image}`, `{image1}`, `{image2}`.",
                          "Set width and height to the shape you want. With 0 the result is as large as the first picture."])
    with flow.group("2 · Pictures", PICTURES):
        cat, hat, place = (example(flow, name, title) for name, title in (
            ("cat.jpg", "image: the subject"), ("hat.jpg", "image1: what it wears"), ("meadow.jpg", "image2: the place")))
    unit = ask(flow, "the cat of {image} wears the straw hat of {image1} and sits in the meadow of {image2}",
              [cat["image"], hat["image"], place["image"]])
    show(flow, make(flow, models, unit, width=512, height=384), cat["image"])
    return flow


def try_on(title: str) -> Workflow:
    flow, models = start(title, "Dresses a person. `{image}` is the person, with the old clothes masked; `{image1}` is the "
                         "garment.",
                         ["Turn on `blank_masked`, so that the model does not see the old clothes.",
                          "Mask all of the old garment and a little around it.",
                          KEEP_TIP])
    with flow.group("2 · Pictures", PICTURES):
        person = example(flow, "portrait.jpg", "image: the person with mask")
        garment = example(flow, "shirt.jpg", "image1: the garment")
    unit = ask(flow, "dress the person in {image} in the striped shirt of {image1}", [person["image"], garment["image"]],
              [person["mask"]], blank=True)
    result = make(flow, models, unit)
    with flow.group("5 · Keep the rest", PICTURES):
        kept = flow.add("ACEEditorKeepUntouched", original=person["image"], result=result, mask=person["mask"], feather=12)
    show(flow, kept, person["image"], 6)
    return flow


def fuse_layers(title: str) -> Workflow:
    flow, models = start(title, "Puts the object of one picture into another, with fitting shadow, light and scale.",
                         ["`{image}` is the object on a plain background, `{image1}` is the new background.",
                          "If the place matters, say where the object should stand."])
    with flow.group("2 · Layers", PICTURES):
        front, back = example(flow, "teapot.jpg", "image: foreground"), example(flow, "meadow.jpg", "image1: background")
    unit = ask(flow, "place the teapot of {image} naturally on the grass of {image1}", [front["image"], back["image"]])
    with flow.group("Size of the background", PICTURES, below=True):
        size = flow.add("GetImageSize", size=(300, 80), image=back["image"])
    show(flow, make(flow, models, unit, width=size["width"], height=size["height"]), back["image"])
    return flow


def split_layers(title: str) -> Workflow:
    flow, models = start(title, "Splits a picture into its subject on a plain background, and its background without the "
                         "subject. **Experimental**: ACE's authors published examples of fusing layers only.",
                         ["Name the subject in both instructions.", "If traces of it stay in the background, mask the subject "
                          "and use the template Remove an object."])
    with flow.group("2 · Picture", PICTURES):
        picture = example(flow, "coffee.jpg")
    halves = (("Subject", "cut out the red cup with its saucer from {image} and put it on a plain white background"),
              ("Background", "remove the red cup with its saucer from {image} and leave the background layer"))
    for i, (name, instruction) in enumerate(halves):
        with flow.group(f"{3 + i} · {name}", ASK, below=i == 1):
            layer = box(flow, models, instruction, name, seed=SEED + i, image=picture["image"])
            flow.add("SaveImage", size=RESULT_SIZE, images=layer["IMAGE"], filename_prefix=f"ACE/{name}")
            compare(flow, picture["image"], layer["IMAGE"])
    return flow


WORKFLOWS = {"Start here": start_here, "Text to image": text_to_image, "Image analysis": analysis,
             "Controllable generation": controllable, "Reference generation": reference, "Try-on": try_on,
             "Fuse layers": fuse_layers, "Split layers": split_layers}
