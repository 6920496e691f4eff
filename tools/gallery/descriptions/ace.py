"""The ACE workflows: pictures, a box, the saved result, and a note."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence

from ace_model.comfyui import graph
from starters.pictures import file_of

from ..graph import Node, Workflow
from ..models import CLIP_L, DEMO_DIT, DEMO_T5, DEMO_VAE, DIT, DIT_1024, FLUX, FLUX_VAE, SAM, T5, UPSCALER, VAE
from . import boxes
from .parts import ABOUT_ACE, MEMORY, PICTURE_SIZE, box, picture, save, start

DEMO = {"model_name": DEMO_DIT, "text_encoder_name": DEMO_T5, "vae_name": DEMO_VAE, "guidance": 1.5}
MASK_TIP = ("The mask is painted into the picture: right-click Load Image → *Open in MaskEditor*. Everything farther than 16 "
            "pixels from it stays as it was.")
NAMES_TIP = "Refer to each picture by its name: {image}, {image1}, {image2}."
EXPERIMENT = "**Experimental:** the makers published no example that names an earlier picture."


def start_here(title: str) -> Workflow:
    flow = start(title, "Press **Run**. The star turns purple; in the second turn it gets its old color back, which the model "
                 "only knows because it remembers the first picture.",
                 ["{image} is the picture that a turn edits, {previous.image} the one that the turn before edited.",
                  "Open a box with the icon in its corner to see the nodes inside."], (),
                 "**The demo model** comes with this pack. It knows a toy world of shapes, faces and letters at 128 "
                 "pixels, and its own simple English; it shows what ACE does and that your installation works. For real "
                 "pictures open any other ACE template: its note links the files.")
    before = picture(flow, "toy scene")
    first = box(flow, boxes.EDIT, "Turn 1", image=before["IMAGE"], instruction="make the red star in {image} purple", **DEMO)
    second = box(flow, boxes.NEXT_TURN, "Turn 2", conversation=first["conversation"], guidance=1.5,
                 instruction="give the star in {image} the color it had in {previous.image}")
    save(flow, first, "After turn 1")
    save(flow, second, "After turn 2")
    return flow


def talk(title: str) -> Workflow:
    flow = start(title, "Open **ACE** in the sidebar, or press *Open conversation*. Write, press Enter, go on.",
                 ["The first turn is written: press its **Run**, or write your own.",
                  "*Go on from here* on an earlier answer starts a branch; arrows lead from branch to branch.",
                  "Attach pictures, paint masks, drag borders for outpainting: all in the panel.",
                  "Answers are files in *output/ACE conversation*; the workflow keeps the conversation."], (),
                 "**The demo model** knows a toy world. For real pictures choose the files of ACE in the three loaders; the "
                 "other templates link them.")
    save(flow, chat(flow, ["make the red star in {image} purple"]))
    return flow


def chat(flow: Workflow, instructions: Sequence[str]) -> Node:
    """ACE Conversation with the demo model and these turns about the toy scene, each about the answer before; none has run."""
    turns = [{"id": f"t{i + 1}", "parent": f"t{i}" if i else None, "instruction": instruction, "seed": 1,
              "images": [{"answer_of": f"t{i}"} if i else {"file": file_of("toy scene"), "in": "input"}],
              "settings": {"guidance": DEMO["guidance"]}} for i, instruction in enumerate(instructions)]
    return flow.add("ACEEditorConversation", model=flow.add("ACEEditorLoadModel", model_name=DEMO_DIT),
                    clip=flow.add("ACEEditorLoadTextEncoder", text_encoder_name=DEMO_T5),
                    vae=flow.add("VAELoader", vae_name=DEMO_VAE),
                    record=json.dumps({"version": 1, "at": turns[-1]["id"], "turns": turns}))


def what_the_model_sees(title: str) -> Workflow:
    flow = start(title, "Draws a conversation as the model receives it, and what each word looks at. Press **Run**.",
                 ["Cards from left to right: the turns' pictures with their masks, names and tokens, then the result.",
                  "Rows below: bright where the picture looks at that word of the last instruction.",
                  "*% of the attention*: how much of the result's attention goes to each picture."], (),
                 "**The demo model** runs at once. For your own conversation connect *lcu* of ACE Long-context Unit, and the "
                 "loaders of your models.")
    talk = chat(flow, ["make the red star in {image} purple",
                               "give the star in {image} the color it had in {previous.image}"])
    models = {name: talk.incoming[slot] for slot, name in enumerate(("model", "clip", "vae"))}
    seen = flow.add("ACEEditorInspector", lcu=talk["lcu"], attention=True, seed=1, guidance=DEMO["guidance"], **models)
    save(flow, seen)
    return flow


def edit(name: str, instruction: str, about: str, *tips: str, masked: bool = False) -> Callable[[str], Workflow]:
    """One picture, one instruction."""
    def describe(title: str) -> Workflow:
        flow = start(title, about, (*tips, MASK_TIP) if masked else tips)
        before = picture(flow, name, masked=masked)
        mask = {"mask": before["MASK"]} if masked else {}
        save(flow, box(flow, boxes.EDIT, image=before["IMAGE"], instruction=instruction, **mask))
        return flow
    return describe


def fast(title: str) -> Workflow:
    flow = start(title, "The same kind of edit in 4 passes through the model instead of 40. Press **Run**.",
                 ["It takes three things: a LoRA made for few steps (in the box, core's *LoraLoaderModelOnly*), the sampler "
                  "*lcm*, and guidance 1.", "2 steps are twice as fast again."], (),
                 "**The demo model** and its LoRA come with this pack. For ACE-0.6B nobody has published such a LoRA. To make "
                 "one, use this pack's trainer with *objective: consistency*; *docs/training.md* says how. Then choose your "
                 "files on the box.")
    before = picture(flow, "toy scene")
    save(flow, box(flow, boxes.FAST_EDIT, image=before["IMAGE"], instruction="show {image} at night"))
    return flow


def text_to_image(title: str) -> Workflow:
    flow = start(title, "Makes a picture from words alone.",
                 ["512 × 512 is all that the 512 px model can do at once; other shapes of the same area work too.",
                  "Width and height are multiples of 16."])
    save(flow, box(flow, boxes.TEXT_TO_IMAGE, instruction="A small red lighthouse on a rocky island at dusk, long exposure, "
                                                          "calm sea, warm light in the window."))
    return flow


def analysis(title: str) -> Workflow:
    flow = start(title, "Turns a picture into a map: depth, edges, segmentation, pose, contours and more.",
                 ["Pick the map as *task* on the box.", "A segmentation map can become a mask: *Image To Mask*."])
    save(flow, box(flow, boxes.ANALYZE, image=picture(flow, "portrait")["IMAGE"]))
    return flow


def controllable(title: str) -> Workflow:
    flow = start(title, "First the contours of a picture, then a new picture that follows them.",
                 ["Put the description of the new picture in double quotes.",
                  "Pick another map as *task*: depth, pose, segmentation, scribble. Name it in the instruction too."])
    traced = box(flow, boxes.ANALYZE, image=picture(flow, "coffee")["IMAGE"], task="Analysis: contour")
    made = box(flow, boxes.EDIT, image=traced, instruction='Create a vivid image based on the contours in {image} and the '
               'description "a blue porcelain cup of green tea on a marble table, morning light".')
    save(flow, made)
    return flow


def style(title: str) -> Workflow:
    flow = start(title, "Gives {image} the style of {image1}.",
                 ["The result has the size of {image}.",
                  "For a style in words, use *ACE Edit*: Change the style of {image} to watercolor style."])
    content, look = picture(flow, "cat", "image: the content"), picture(flow, "swirls", "image1: the style")
    save(flow, box(flow, boxes.EDIT, image=content["IMAGE"], image1=look["IMAGE"],
                   instruction="Edit {image} based on the style of {image1}."))
    return flow


def inpaint(title: str) -> Workflow:
    flow = start(title, "Fills the masked part of a picture. The model does not see what was there before.",
                 ["Describe what belongs there.", MASK_TIP])
    before = picture(flow, "cat", masked=True)
    save(flow, box(flow, boxes.INPAINT, image=before["IMAGE"], mask=before["MASK"],
                   instruction='Fill in the mask area of {image} as per the description "the bright green eye of a cat".'))
    return flow


def detail(title: str) -> Workflow:
    flow = start(title, "A small edit of a large photograph. Only the surroundings of the mask pass through the model, so the "
                 "answer keeps the photograph's sharpness; the rest stays the photograph's own.",
                 ["*margin* is how much of the surroundings the model sees.", MASK_TIP])
    before = picture(flow, "cat", masked=True)
    save(flow, box(flow, boxes.DETAIL, image=before["IMAGE"], mask=before["MASK"],
                   instruction="Change the color of the eye indicated by the mask in {image} to bright blue."))
    return flow


def mask_from_words(title: str) -> Workflow:
    flow = start(title, "SAM 3 finds what you name; ACE edits it. The rest stays as it was.",
                 ["*words*, the text field, names what the mask covers. Separate several things with commas: cup, spoon. For "
                  "up to five of a kind: cup:5.",
                  "*points* takes the object at a point, x and y in pixels: [{\"x\": 400, \"y\": 250}]. It adds to the "
                  "words; for points alone set *threshold* to 1.",
                  "Look at the mask. If it is black, nothing was found, and ACE edits the whole picture: lower *threshold* "
                  "or use other words.", "*grow* widens the mask, to take in a shadow or a rim."], (*ABOUT_ACE, SAM))
    before = picture(flow, "coffee")
    found = box(flow, boxes.MASK_FROM_WORDS, image=before["IMAGE"], words="spoon")
    flow.add("MaskPreview", title="The mask", size=PICTURE_SIZE, mask=found)
    save(flow, box(flow, boxes.EDIT, image=before["IMAGE"], mask=found,
                   instruction="Remove what is indicated by the mask from {image}."))
    return flow


def full_size(title: str) -> Workflow:
    flow = start(title, "ACE answers at about 512 × 512. An upscale model brings the answer back to the photograph's own size; "
                 "away from the mask, the photograph itself stays.",
                 ["Without a mask the whole picture changes: Change the style of {image} to watercolor style.",
                  "For a small part of a large photograph, use *ACE Detail of a large photograph*: it is sharper.",
                  "Choose another upscale model on the box.", MASK_TIP], (*ABOUT_ACE, UPSCALER))
    before = picture(flow, "portrait", masked=True)
    save(flow, box(flow, boxes.FULL_SIZE, image=before["IMAGE"], mask=before["MASK"],
                   instruction="Change the color of the suit indicated by the mask in {image} to dark blue."))
    return flow


def outpaint(title: str) -> Workflow:
    flow = start(title, "Continues a picture beyond its borders.",
                 ["*left* to *bottom* are fractions of the picture's width and height.",
                  "The picture shrinks to make room inside the model's budget. The 1024 px model has four times the room."])
    save(flow, box(flow, boxes.OUTPAINT, image=picture(flow, "rocket")["IMAGE"],
                   instruction='Extend {image} into the mask area as per the description "a rocket launch at night".'))
    return flow


def fuse(title: str) -> Workflow:
    flow = start(title, "Puts the subject of one picture naturally into another.",
                 [NAMES_TIP, "The result has the size of {image}, so the background comes first.",
                  "Splitting layers is experimental: ask for the subject on a plain white background."])
    back, front = picture(flow, "meadow", "image: the background"), picture(flow, "teapot", "image1: the subject")
    save(flow, box(flow, boxes.EDIT, image=back["IMAGE"], image1=front["IMAGE"],
                   instruction="Blend the teapot of {image1} naturally into the grass of {image}."))
    return flow


def reference(title: str) -> Workflow:
    flow = start(title, "A new picture made of three: the cat, the hat and the place.",
                 ["Give every picture one part to play. " + NAMES_TIP, "*width* and *height* are those of the new picture."])
    cat, hat, place = (picture(flow, name, title) for name, title in (
        ("cat", "image: the subject"), ("hat", "image1: what it wears"), ("meadow", "image2: the place")))
    save(flow, box(flow, boxes.REFERENCE, image=cat["IMAGE"], image1=hat["IMAGE"], image2=place["IMAGE"], width=512, height=384,
                   instruction="The cat of {image} wears the straw hat of {image1} and sits in the meadow of {image2}."))
    return flow


def try_on(title: str) -> Workflow:
    flow = start(title, "Dresses the person of {image} in the garment of {image1}.",
                 ["Mask all of the old garment, with a little room around it.", MASK_TIP])
    person = picture(flow, "portrait", "image: the person, with mask", masked=True)
    garment = picture(flow, "shirt", "image1: the garment")
    save(flow, box(flow, boxes.INPAINT, image=person["IMAGE"], mask=person["MASK"], image1=garment["IMAGE"],
                   instruction="Dress the person in {image} in the striped shirt of {image1}."))
    return flow


def conversation(title: str) -> Workflow:
    flow = start(title, "Three turns. Each box continues the conversation: picture, memory and models.",
                 ["For a fourth turn add *Next Turn (ACE)*, connect one wire, and a Save Image to see the answer.",
                  "{image} is the last answer, {previous.image} the picture that the turn before started from, "
                  "{previous2.image} the one before that.",
                  "It remembers five earlier turns and nine pictures in all; the oldest are forgotten first.", EXPERIMENT])
    first = box(flow, boxes.EDIT, "Turn 1", image=picture(flow, "portrait")["IMAGE"],
                instruction="{image} put on round glasses")
    second = box(flow, boxes.NEXT_TURN, "Turn 2", conversation=first["conversation"],
                 instruction="Change the background of {image} to a starry night sky.")
    third = box(flow, boxes.NEXT_TURN, "Turn 3", conversation=second["conversation"],
                instruction="Take off the glasses in {image}: the face as it was in {previous2.image}.")
    save(flow, first, "After turn 1")
    save(flow, third, "After turn 3")
    return flow


def teach(title: str) -> Workflow:
    flow = start(title, "Learns your subject from a folder of pictures, then asks for it by its name.",
                 ["**Examples:** put ten to twenty pictures of one size, such as 512 × 512, into *input/my subject*. Beside "
                  "each, a text file of the same name says what it shows: 1.png and 1.txt, \"a zibble on a table\".",
                  "Press R, choose the folder as *examples*, press **Run**. Name the subject as your texts do.",
                  "Another instruction does not learn again, and *strength* 0 shows the model as it was.",
                  "Not learned? More *steps*. Everything looks like the examples? Fewer, or less *strength*.",
                  "**An edit** instead: put the pictures before it into *input/my subject/control*, under the same names. "
                  "Connect Load Image to *Ask* and set its size to 0.",
                  "The LoRA is saved in *output/loras*. In *models/loras*, every LoRA loader takes it.",
                  "This is a first try. *python -m training* learns faster and better: see docs/training.md."])
    taught = box(flow, boxes.TEACH)
    asked = box(flow, boxes.ASK, instruction="a zibble on a beach", **{name: taught[name] for name in ("model", "clip", "vae")})
    flow.add("SaveLoRA", lora=taught["lora"], steps=taught["steps"], prefix="loras/my subject")
    save(flow, asked)
    return flow


def step_by_step(title: str) -> Workflow:
    """The only workflow with groups: one per stage of the paper."""
    flow = start(title, "What the boxes hold: the four stages of the paper, each a node.",
                 ["**LCU assembly.** The Condition Unit holds a turn, the Long-context Unit adds it to the turns before.",
                  "**Condition tokenizing.** T5 reads the texts and the image names, the VAE the pictures.",
                  "**Image indicator embedding.** The names are tied to their pictures.",
                  "**Long-context sampling.** The sampler makes the answer; core's samplers work too."])
    with flow.group("Read me") as group:
        group.nodes.append(flow.nodes[0])
    with flow.group("Models", below=True, columns=1):
        models = {"model": flow.add("ACEEditorLoadModel", model_name=DIT.name),
                  "clip": flow.add("ACEEditorLoadTextEncoder", text_encoder_name=T5.name),
                  "vae": flow.add("VAELoader", vae_name=VAE.name)}
    with flow.group("Picture"):
        before = picture(flow, "coffee", masked=True)
    chain = graph.turn("turn", "Remove what is indicated by the mask from {image}.", [["image", 0]], {0: ["mask", 0]},
                       name_image=True)
    given = models | {"image": before["IMAGE"], "mask": before["MASK"]}
    for stage, parts in (("1 · LCU assembly", ("unit", "lcu")), ("2 · Condition tokenizing", ("tokens",)),
                         ("3 · Image indicator embedding", ("indicator",)), ("4 · Long-context sampling", ("latent", "image"))):
        with flow.group(stage, columns=1, below=stage[0] != "2"):
            given |= flow.add_graph({f"turn {part}": chain[f"turn {part}"] for part in parts}, given)
    with flow.group("Result", columns=1):
        kept = flow.add("ACEEditorKeepUntouched", original=before["IMAGE"], result=given["turn image"], mask=before["MASK"])
        save(flow, kept)
    return flow


def refine(title: str) -> Workflow:
    flow = start(title, "The 1024 px model edits, FLUX.1-dev sharpens: a little noise is added and FLUX removes it.",
                 ["*denoise* 0.2 keeps the picture; 0.4 invents more.",
                  "The makers put the instruction, without {image}, before the quality words. A description of the finished "
                  "picture does as well.",
                  "A smaller picture is enlarged to a megapixel. A larger one is only rounded down to multiples of 16; "
                  "FLUX then needs more memory.",
                  "For a picture from words alone the makers leave ACE out: connect Load Image to the refiner, describe the "
                  "picture, and set *denoise* to 1. Only the shape of the loaded picture then counts."],
                 (DIT_1024, T5, VAE, FLUX, CLIP_L, FLUX_VAE),
                 MEMORY + " FLUX.1-dev takes 23.8 GB in bfloat16. Its license forbids commercial use.")
    before = picture(flow, "coffee")
    made = box(flow, boxes.EDIT, image=before["IMAGE"], model_name=DIT_1024.name,
               instruction="{image} change the coffee to green tea")
    save(flow, box(flow, boxes.REFINE, image=made, text=f"Change the coffee to green tea. {boxes.QUALITY}"))
    return flow


WORKFLOWS = {
    "ACE Start here": start_here,
    "ACE Talk to your pictures": talk,
    "ACE What the model sees": what_the_model_sees,
    "ACE Text to image": text_to_image,
    "ACE Edit": edit("coffee", "Change the color of the cup and the saucer in {image} to deep blue.",
                     "Changes a picture by words: color, pose, background, expression, hair, style.",
                     "Choose your own picture on Load Image, and press Run.", "Answers have about 512 × 512 pixels. For the "
                     "photograph's own size use *ACE Edit at full size*.", "Short forms work too, such as: {image} blue cup.",
                     "One change at a time works best. Go on with *ACE Conversation*."),
    "ACE Fast": fast,
    "ACE Edit at full size": full_size,
    "ACE Face edit": edit("portrait", "{image} surprised, raised eyebrows, open mouth",
                          "Changes a face: expression, hair, glasses, gaze.", "The person stays the same."),
    "ACE Style from a picture": style,
    "ACE Analysis": analysis,
    "ACE Controllable generation": controllable,
    "ACE Add or replace an object": edit(
        "rocket", "Add a bright full moon to {image} within the space marked by the mask.",
        "Adds something where the mask is white, or replaces what is there.",
        "Without a mask: Replace the cat in {image} with a red fox.", masked=True),
    "ACE Remove an object": edit(
        "coffee", "Remove what is indicated by the mask from {image}.", "Takes out what the mask covers and fills the place.",
        "Do not name the object; the mask says what it is.", "Include the shadow in the mask, or it stays.", masked=True),
    "ACE Text in pictures": edit(
        "sign", 'Write the text "O P E N" in the mask area of {image}.', "Writes letters where the mask is.",
        "Spell the words in capitals with spaces between the letters.",
        "To remove lettering, mask it and write: Remove any text in the mask area of {image}.", masked=True),
    "ACE Inpaint": inpaint,
    "ACE Outpaint": outpaint,
    "ACE Detail of a large photograph": detail,
    "ACE Mask from words": mask_from_words,
    "ACE Fuse layers": fuse,
    "ACE Reference": reference,
    "ACE Try-on": try_on,
    "ACE Conversation": conversation,
    "ACE Teach a subject": teach,
    "ACE Step by step": step_by_step,
    "ACE Refine with FLUX": refine,
}
