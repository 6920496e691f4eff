"""Workflows that change a picture: semantic and element editing, text, repainting, conversation, refinement."""

from __future__ import annotations

from collections.abc import Callable

from ..graph import Workflow
from ..models import CLIP_L, DIT, FLUX, FLUX_VAE, T5, VAE
from .parts import ASK, LOAD, MAKE, PICTURES, RESULT, RESULT_SIZE, SEED, ask, box, compare, example, make, show, start

KEEP_TIP = "ACE Keep Untouched puts everything outside the mask back, pixel for pixel; `feather` softens the seam inwards."


def simple(picture: str, instruction: str, about: str, *tips: str) -> Callable[[str], Workflow]:
    """One picture, one instruction, no mask."""
    def describe(title: str) -> Workflow:
        flow, models = start(title, about, tips)
        with flow.group("2 · Picture", PICTURES):
            before = example(flow, picture)
        show(flow, make(flow, models, ask(flow, instruction, [before["image"]])), before["image"])
        return flow
    return describe


def masked(picture: str, instruction: str, about: str, *tips: str, blank: bool = False, feather: int = 8
           ) -> Callable[[str], Workflow]:
    """One picture with a mask; everything outside the mask stays as it was."""
    def describe(title: str) -> Workflow:
        flow, models = start(title, about, (*tips, KEEP_TIP))
        with flow.group("2 · Picture and mask", PICTURES, columns=1):
            before = example(flow, picture)
            flow.add("MaskPreview", title="The mask", size=(300, 280), mask=before["mask"])
        result = make(flow, models, ask(flow, instruction, [before["image"]], [before["mask"]], blank))
        with flow.group("5 · Keep the rest", PICTURES):
            kept = flow.add("ACEEditorKeepUntouched", original=before["image"], result=result, mask=before["mask"],
                            feather=feather)
        show(flow, kept, before["image"], 6)
        return flow
    return describe


def phrased(picture: str, task: str, what: str, how: str, about: str, *tips: str) -> Callable[[str], Workflow]:
    """The instruction is written by ACE Instruction."""
    def describe(title: str) -> Workflow:
        flow, models = start(title, about, tips)
        with flow.group("2 · Picture and task", PICTURES):
            before = example(flow, picture)
            text = flow.add("ACEEditorInstruction", size=(340, 220), task=task, what=what, how=how)
        show(flow, make(flow, models, ask(flow, text, [before["image"]])), before["image"])
        return flow
    return describe


def style(title: str) -> Workflow:
    flow, models = start(title, "Repaints `{image}` in the manner of `{image1}`.",
                         ["The result has the size of `{image}`: the target is the first picture.",
                          "For a style in words alone, use the template General edit: *turn {image} into a watercolour*."])
    with flow.group("2 · Content and style", PICTURES):
        content, look = example(flow, "cat.jpg", "image: content"), example(flow, "swirls.jpg", "image1: style")
    unit = ask(flow, "repaint {image} in the style of {image1}", [content["image"], look["image"]])
    show(flow, make(flow, models, unit), content["image"])
    return flow


def detail(title: str) -> Workflow:
    flow, models = start(title, "A small edit of a large picture: only the surroundings of the mask go through the model, in "
                         "full sharpness, and are stitched back. Every pixel outside the mask is bit-identical.",
                         ["`margin` is how much of the surroundings the model sees.",
                          "The picture is enlarged here only to have a large one; connect Load Image instead."])
    with flow.group("2 · A large picture", PICTURES, columns=1):
        picture = example(flow, "cat.jpg")
        large = flow.add("ImageScaleBy", image=picture["image"], upscale_method="lanczos", scale_by=3)
    with flow.group("3 · Crop around the mask", PICTURES):
        crop = flow.add("ACEEditorCropAroundMask", image=large, mask=picture["mask"])
    unit = ask(flow, "{image} make the eye bright blue", [crop["image"]], [crop["mask"]], number=4)
    result = make(flow, models, unit, 5)
    with flow.group("6 · Stitch back", PICTURES):
        kept = flow.add("ACEEditorKeepUntouched", original=large, result=result, mask=picture["mask"], window=crop["window"],
                        feather=16)
    show(flow, kept, large, 7)
    return flow


def outpainting(title: str) -> Workflow:
    flow, models = start(title, "Continues a picture beyond its borders.",
                         ["`left` … `bottom` are parts of the picture's width and height; 0.25 is a quarter.",
                          "The canvas must fit the token budget: with `shrink_to_fit` the picture becomes smaller.",
                          "Describe what should be seen in the new room if it does not follow from the picture."])
    with flow.group("2 · Picture", PICTURES):
        picture = example(flow, "rocket.jpg")
    with flow.group("3 · Room around it", PICTURES):
        padded = flow.add("ACEEditorPadForOutpainting", image=picture["image"], model=models.model, left=0.25, top=0.25,
                          right=0.25, bottom=0.25)
    unit = ask(flow, "extend {image} beyond its borders: night sky above, launch site below", [padded["image"]],
               [padded["mask"]], True, 4)
    result = make(flow, models, unit, 5)
    with flow.group("6 · Keep the picture", PICTURES):
        kept = flow.add("ACEEditorKeepUntouched", original=padded["image"], result=result, mask=padded["mask"])
    show(flow, kept, padded["image"], 7)
    return flow


def conversation(title: str) -> Workflow:
    flow, models = start(title, "Three turns. Each box takes the picture of the turn before and its conversation, so later "
                         "instructions can speak of earlier pictures.",
                         ["`{image}` is this turn's picture, `{previous.image}` the one of the turn before.",
                          "`lcu` → `history` is the memory. Without it every turn starts anew.",
                          "Nine pictures fit in all; older turns are forgotten first."])
    turns = ("put round glasses on the face in {image}", "replace the background of {image} with a starry night sky",
             "take the glasses in {image} off again, the face as it was in {previous.image}")
    with flow.group("2 · Picture", PICTURES):
        picture = example(flow, "portrait.jpg")
    last, history = picture["image"], {}
    for i, instruction in enumerate(turns, 1):
        with flow.group(f"{i + 2} · Turn {i}", ASK, columns=1):
            made = box(flow, models, instruction, f"Turn {i}", seed=SEED + i, image=last, **history)
            last, history = made["IMAGE"], {"history": made["lcu"]}
            flow.add("SaveImage", size=RESULT_SIZE, images=last, filename_prefix=f"ACE/Turn {i}")
    with flow.group("6 · First and last", RESULT, columns=1):
        compare(flow, picture["image"], last)
    return flow


def refine(title: str) -> Workflow:
    flow, models = start(title, "ACE edits, FLUX.1-dev sharpens: the result is enlarged to a megapixel, a little noise is "
                         "added, and FLUX removes it (SDEdit).",
                         ["`denoise` 0.2 keeps the picture; 0.4 invents more.",
                          "The second prompt is the instruction as a caption, without `{image}`."],
                         (DIT, T5, VAE, FLUX, CLIP_L, FLUX_VAE))
    with flow.group("1b · FLUX", LOAD, below=True):
        flux = flow.add("UNETLoader", unet_name=FLUX.name, weight_dtype="default")
        clip = flow.add("DualCLIPLoader", clip_name1=CLIP_L.name, clip_name2=T5.name, type="flux", device="default")
        vae = flow.add("VAELoader", vae_name=FLUX_VAE.name)
    with flow.group("2 · Picture", PICTURES):
        picture = example(flow, "coffee.jpg")
    made = make(flow, models, ask(flow, "turn the coffee in {image} into green tea", [picture["image"]]))
    with flow.group("5 · Enlarge and encode", PICTURES, columns=1):
        large = flow.add("ImageScaleToTotalPixels", image=made, upscale_method="lanczos", megapixels=1.0, resolution_steps=16)
        latent = flow.add("VAEEncode", pixels=large, vae=vae)
    with flow.group("Caption", ASK, below=True, columns=1):
        text = flow.add("CLIPTextEncode", clip=clip, text="a red cup of green tea on a wooden table, photograph")
        positive = flow.add("FluxGuidance", conditioning=text, guidance=3.5)
    with flow.group("6 · Refine", MAKE, columns=2):
        latent = flow.add("SamplerCustomAdvanced", noise=flow.add("RandomNoise", noise_seed=SEED),
                          guider=flow.add("BasicGuider", model=flux, conditioning=positive),
                          sampler=flow.add("KSamplerSelect", sampler_name="euler"), latent_image=latent,
                          sigmas=flow.add("BasicScheduler", model=flux, scheduler="simple", steps=30, denoise=0.2))
        refined = flow.add("VAEDecode", samples=latent["output"], vae=vae)
    show(flow, refined, made, 7)
    return flow


WORKFLOWS = {
    "Face edit": simple(
        "portrait.jpg", "let the person in {image} look surprised, with raised eyebrows and an open mouth",
        "Changes a face: expression, hair, glasses, gaze. The person stays the same.",
        "One change at a time works best; chain more with the template Conversation in three turns."),
    "General edit": phrased(
        "coffee.jpg", "Semantic editing: colour", "the cup and the saucer", "deep blue",
        "Changes colour, pose, background or light by words. *ACE Instruction* offers a phrasing for every task.",
        "Type an instruction of your own: disconnect the text and write in the condition unit."),
    "Style from a second image": style,
    "Add an object": masked(
        "rocket.jpg", "{image} add a bright full moon in the marked region of the sky",
        "Adds something where the mask is white.", "The mask says where and how large."),
    "Remove an object": masked(
        "coffee.jpg", "remove the spoon from {image}", "Takes something out and fills the place with what must be behind it.",
        "Include the shadow in the mask, or it stays."),
    "Replace an object": phrased(
        "cat.jpg", "Element editing: replace object", "the cat", "a red fox",
        "Replaces one thing by another of about the same size and pose. No mask is needed.",
        "For a replacement of another shape, mask the place and use Inpainting."),
    "Write text": masked(
        "sign.jpg", 'write "O P E N" in the marked region of {image}', "Writes letters where the mask is.",
        "Spell the words with spaces between the letters; *ACE Instruction* does it for you.",
        "Short words in a large mask are read best."),
    "Remove text": masked(
        "sign with text.jpg", 'remove the text "O P E N" from {image}', "Removes lettering and restores what is under it.",
        "Cover all letters with the mask."),
    "Inpainting": masked(
        "cat.jpg", "fill the blank region of {image} with the cat's eye", "Fills a region that the model does not get to see.",
        "`blank_masked` is on: the pixels under the mask are black for the model.",
        "Describe what belongs there, not what was there.", blank=True),
    "Inpaint a detail of a large picture": detail,
    "Outpainting": outpainting,
    "Conversation in three turns": conversation,
    "Refine with FLUX": refine,
}
