"""Workflows that change a picture: semantic and element editing, text, repainting, conversation, refinement."""

from __future__ import annotations

from collections.abc import Callable

from ..graph import Workflow
from ..models import CLIP_L, DIT, FLUX, FLUX_VAE, T5, VAE
from .parts import (
    ASK,
    KEEP_TIP,
    LOAD,
    MAKE,
    PICTURES,
    RESULT,
    RESULT_SIZE,
    SEED,
    ask,
    box,
    compare,
    example,
    make,
    show,
    start,
)


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
    """One picture with a mask; everything away from the mask stays as it was."""
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
    """ACE Instruction writes the instruction."""
    def describe(title: str) -> Workflow:
        flow, models = start(title, about, tips)
        with flow.group("2 · Picture and task", PICTURES):
            before = example(flow, picture)
            text = flow.add("ACEEditorInstruction", size=(340, 220), task=task, what=what, how=how)
        show(flow, make(flow, models, ask(flow, text, [before["image"]])), before["image"])
        return flow
    return describe


def style(title: str) -> Workflow:
    flow, models = start(title, "Repaints `{image}` in the style of `{image1}`.",
                         ["The result is as large as `{image}`, the first picture.",
                          "To describe a style in words, use the template General edit: *turn {image} into a watercolor*."])
    with flow.group("2 · Content and style", PICTURES):
        content, look = example(flow, "cat.jpg", "image: content"), example(flow, "swirls.jpg", "image1: style")
    unit = ask(flow, "repaint {image} in the style of {image1}", [content["image"], look["image"]])
    show(flow, make(flow, models, unit), content["image"])
    return flow


def detail(title: str) -> Workflow:
    flow, models = start(title, "Edits a small part of a large picture. The model sees only the surroundings of the mask, in "
                         "full sharpness, and the result is pasted back. Every pixel farther from the mask than `grow` plus "
                         "`feather` stays exactly as it was.",
                         ["`margin` sets how much of the surroundings the model sees.",
                          "This workflow enlarges an example to get a large picture. Connect Load Image instead."])
    with flow.group("2 · A large picture", PICTURES, columns=1):
        picture = example(flow, "cat.jpg")
        large = flow.add("ImageScaleBy", image=picture["image"], upscale_method="lanczos", scale_by=3)
    with flow.group("3 · Crop around the mask", PICTURES):
        crop = flow.add("ACEEditorCropAroundMask", image=large, mask=picture["mask"])
    unit = ask(flow, "{image} make the eye bright blue", [crop["image"]], [crop["mask"]], number=4)
    result = make(flow, models, unit, 5)
    with flow.group("6 · Paste back", PICTURES):
        kept = flow.add("ACEEditorKeepUntouched", original=large, result=result, mask=picture["mask"], window=crop["window"],
                        feather=16)
    show(flow, kept, large, 7)
    return flow


def outpainting(title: str) -> Workflow:
    flow, models = start(title, "Continues a picture beyond its borders.",
                         ["`left`, `top`, `right` and `bottom` are fractions of the picture's width or height: 0.25 is a "
                          "quarter.",
                          "If the padded picture is over the token budget, `shrink_to_fit` makes the picture smaller.",
                          "Describe what should appear in the new room, unless the picture makes it obvious.",
                          "*ACE Keep Untouched* keeps the old picture and blends the seam inside it."])
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
    flow, models = start(title, "Three turns. Each box gets the picture and the conversation of the turn before, so later "
                         "instructions can refer to earlier pictures.",
                         ["`{image}` is this turn's picture, `{previous.image}` is the one of the turn before.",
                          "Connect `lcu` to `history` of the next box. Without it, each turn forgets the others.",
                          "A conversation holds at most nine pictures. `max_rounds` says how many earlier turns it keeps."])
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
    flow, models = start(title, "ACE edits, then FLUX.1-dev refines: the result is enlarged to a megapixel, gets a little "
                         "noise, and FLUX removes it (SDEdit).",
                         ["`denoise` 0.2 keeps the picture; 0.4 invents more.",
                          "The second prompt describes the result as a caption, without `{image}`."],
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
        "Make one change at a time. For several, use the template Conversation in three turns."),
    "General edit": phrased(
        "coffee.jpg", "Semantic editing: colour", "the cup and the saucer", "deep blue",
        "Changes color, pose, background or light. *ACE Instruction* has a phrasing for every task.",
        "To write your own instruction, disconnect *ACE Instruction* and type in *ACE Condition Unit*."),
    "Style from a second image": style,
    "Add an object": masked(
        "rocket.jpg", "{image} add a bright full moon in the marked region of the sky",
        "Adds something where the mask is white.", "The mask sets the place and the size."),
    "Remove an object": masked(
        "coffee.jpg", "remove the spoon from {image}", "Removes something and fills the place with what is behind it.",
        "Mask its shadow as well, or the shadow stays."),
    "Replace an object": phrased(
        "cat.jpg", "Element editing: replace object", "the cat", "a red fox",
        "Replaces one thing with another of about the same size and pose. Needs no mask.",
        "If the new thing has another shape, mask the place and use the template Inpainting."),
    "Write text": masked(
        "sign.jpg", 'write "O P E N" in the marked region of {image}', "Writes letters where the mask is white.",
        "Put spaces between the letters. *ACE Instruction* does it for you.",
        "Short words in a large mask work best."),
    "Remove text": masked(
        "sign with text.jpg", 'remove the text "O P E N" from {image}', "Removes letters and restores what is under them.",
        "Mask all of the letters."),
    "Inpainting": masked(
        "cat.jpg", "fill the blank region of {image} with the cat's eye",
        "Fills a masked region without seeing what was there.",
        "`blank_masked` is on, which hides the pixels under the mask from the model.",
        "Describe what should be there, not what was there.", blank=True),
    "Inpaint a detail of a large picture": detail,
    "Outpainting": outpainting,
    "Conversation in three turns": conversation,
    "Refine with FLUX": refine,
}
