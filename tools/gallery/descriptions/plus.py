"""ACE++ workflows: FLUX.1-Fill with one of the LoRAs, or the full fine-tune (FFT). Core's nodes do most of the work."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..graph import Node, Output, Workflow
from ..models import CLIP_L, FLUX_VAE, HUB, T5, Model, register
from .parts import ABOUT_ACE, ASK, KEEP_TIP, LOAD, MAKE, PICTURES, RESULT, RESULT_SIZE, SEED, add_note, box, example, show
from .parts import start as start_ace

PLUS = f"{HUB}/ali-vilab/ACE_Plus/resolve/main"
FILL = Model("flux1-fill-dev.safetensors", f"{HUB}/black-forest-labs/FLUX.1-Fill-dev/resolve/main/flux1-fill-dev.safetensors",
             "diffusion_models")
FFT = Model("ace_plus_fft.safetensors", f"{PLUS}/ace_plus_fft.safetensors", "diffusion_models")
PORTRAIT = Model("comfyui_portrait_lora64.safetensors", f"{PLUS}/portrait/comfyui_portrait_lora64.safetensors", "loras")
SUBJECT = Model("comfyui_subject_lora16.safetensors", f"{PLUS}/subject/comfyui_subject_lora16.safetensors", "loras")
LOCAL = Model("comfyui_local_lora16.safetensors", f"{PLUS}/local_editing/comfyui_local_lora16.safetensors", "loras")
REDUX = Model("flux1-redux-dev.safetensors", f"{HUB}/black-forest-labs/FLUX.1-Redux-dev/resolve/main/"
              "flux1-redux-dev.safetensors", "style_models")
SIGCLIP = Model("sigclip_vision_patch14_384.safetensors", f"{HUB}/Comfy-Org/sigclip_vision_384/resolve/main/"
                "sigclip_vision_patch14_384.safetensors", "clip_vision")
register(FILL, FFT, PORTRAIT, SUBJECT, LOCAL, REDUX, SIGCLIP)

GUIDANCE, STEPS = 50.0, 28
MEMORY = ("**Memory.** FLUX.1-Fill and the FFT take 23.8 GB in bfloat16. For Fill with a LoRA, `weight_dtype` fp8_e4m3fn in "
          "the loader halves that. Avoid fp8 with the FFT: people report noise and red pictures. FLUX.1's license is "
          "non-commercial.")
SIZE_TIP = "Any size works. A canvas over `token_budget` is shrunk as a whole; *ACE++ Crop Result* returns the original size."
BRACES_TIP = "The instruction is in a text node of its own, because *CLIP Text Encode* would remove the braces of `{image}`."


@dataclass
class Parts:
    """What the steps of a workflow share. lora: None for the full fine-tune."""

    flow: Workflow
    lora: Model | None
    model: Node
    clip: Node
    vae: Node


def start(title: str, about: str, tips: Sequence[str], lora: Model | None, more: Sequence[Model] = ()) -> Parts:
    """A workflow with its note and loaders."""
    flow = Workflow(title)
    weights = (FILL, lora) if lora else (FFT,)
    add_note(flow, title, about, tips, (*weights, *more, CLIP_L, T5, FLUX_VAE), MEMORY)
    with flow.group("1 · Models", LOAD, columns=1):
        return load(flow, lora)


def load(flow: Workflow, lora: Model | None) -> Parts:
    model = flow.add("UNETLoader", unet_name=FILL.name if lora else FFT.name, weight_dtype="default")
    if lora:
        model = flow.add("LoraLoaderModelOnly", model=model, lora_name=lora.name)
    clip = flow.add("DualCLIPLoader", clip_name1=CLIP_L.name, clip_name2=T5.name, type="flux", device="default")
    return Parts(flow, lora, model, clip, flow.add("VAELoader", vae_name=FLUX_VAE.name))


def instruct(parts: Parts, text: str, number: int = 3) -> Node:
    """The instruction with ACE++'s guidance. Braces need a text node of their own."""
    flow = parts.flow
    with flow.group(f"{number} · Instruction", ASK, columns=1):
        source = flow.add("PrimitiveStringMultiline", title="Instruction", size=(400, 160), value=text) if "{" in text else text
        encoded = flow.add("CLIPTextEncode", size=(400, 140), clip=parts.clip, text=source)
        return flow.add("FluxGuidance", conditioning=encoded, guidance=GUIDANCE)


def make(parts: Parts, positive: Node, references: Sequence[Output] = (), number: int = 4, original: Output | None = None,
         mask: Output | None = None, **canvas) -> Node:
    """Canvas, sampling and crop; the finished picture, pasted into the original if there is a mask."""
    flow, pictures = parts.flow, {"image": original, "mask": mask}
    fit = "match height" if parts.lora else "keep size"
    with flow.group(f"{number} · Canvas", PICTURES):
        laid = flow.add("ACEEditorPlusCanvas", references=references, reference_fit=fit, **canvas,
                        **{name: output for name, output in pictures.items() if output is not None})
    with flow.group(f"{number + 1} · Sampling", MAKE, columns=3):
        shifted = flow.add("ModelSamplingFlux", model=parts.model, width=laid["width"], height=laid["height"])
        negative = flow.add("ConditioningZeroOut", conditioning=positive)
        cond = flow.add("ACEEditorPlusConditioning", model=shifted, positive=positive, negative=negative, vae=parts.vae,
                        canvas=laid["canvas"], mask=laid["mask"])
        latent = flow.add("KSampler", model=shifted, positive=cond["positive"], negative=cond["negative"],
                          latent_image=cond["latent"], seed=SEED, steps=STEPS, cfg=1.0, sampler_name="euler",
                          scheduler="simple", denoise=1.0)
        decoded = flow.add("VAEDecode", samples=latent, vae=parts.vae)
        crop = flow.add("ACEEditorPlusCropResult", image=decoded, layout=laid["layout"])
        if mask is None:
            return crop
        return flow.add("ACEEditorKeepUntouched", original=original, result=crop["image"], window=crop["window"], mask=mask)


def generate(picture: str, text: str, about: str, lora: Model | None, *tips: str):
    """A new picture with the subject of a reference."""
    def describe(title: str) -> Workflow:
        parts = start(title, about, (*tips, "Set the result's size in `width` and `height` of *ACE++ Canvas*.", SIZE_TIP), lora)
        with parts.flow.group("2 · Reference", PICTURES):
            reference = example(parts.flow, picture)
        result = make(parts, instruct(parts, text), [reference["image"]], width=1024, height=1024)
        show(parts.flow, result, reference["image"], 6)
        return parts.flow
    return describe


def place(references: Sequence[str], picture: str, text: str, about: str, lora: Model | None, *tips: str):
    """Puts something from references into a picture where its mask is white."""
    def describe(title: str) -> Workflow:
        parts = start(title, about, (*tips, KEEP_TIP, SIZE_TIP), lora)
        with parts.flow.group("2 · References and picture", PICTURES, columns=1):
            taken = [example(parts.flow, name, f"Reference {i}")["image"] for i, name in enumerate(references, 1)]
            before = example(parts.flow, picture, "The picture with mask")
        result = make(parts, instruct(parts, text), taken, original=before["image"], mask=before["mask"])
        show(parts.flow, result, before["image"], 6)
        return parts.flow
    return describe


def inside(picture: str, text: str, about: str, lora: Model | None, strength: float, *tips: str):
    """Changes a picture under its mask, without a reference."""
    def describe(title: str) -> Workflow:
        parts = start(title, about, (*tips, KEEP_TIP, SIZE_TIP), lora)
        with parts.flow.group("2 · Picture and mask", PICTURES, columns=1):
            before = example(parts.flow, picture)
            parts.flow.add("MaskPreview", title="The mask", size=(300, 280), mask=before["mask"])
        result = make(parts, instruct(parts, text), original=before["image"], mask=before["mask"], fill_strength=strength)
        show(parts.flow, result, before["image"], 6)
        return parts.flow
    return describe


def guided(picture: str, text: str, about: str, prepare, *tips: str):
    """Repaints the whole picture with the image as a guide. prepare(flow, image) → what the model sees."""
    def describe(title: str) -> Workflow:
        parts = start(title, about, (*tips, BRACES_TIP, SIZE_TIP), None)
        with parts.flow.group("2 · Picture", PICTURES, columns=1):
            seen = prepare(parts.flow, example(parts.flow, picture)["image"])
        result = make(parts, instruct(parts, text), original=seen, fill_strength=0.0)
        show(parts.flow, result, seen, 6)
        return parts.flow
    return describe


def as_it_is(flow: Workflow, image: Output) -> Output:
    return image


def enlarged(flow: Workflow, image: Output) -> Output:
    return flow.add("ImageScaleBy", image=image, upscale_method="lanczos", scale_by=8)["IMAGE"]


def gray(flow: Workflow, image: Output) -> Output:
    return flow.add("MaskToImage", mask=flow.add("ImageToMask", image=image, channel="green"))["IMAGE"]


def contours(flow: Workflow, image: Output) -> Output:
    return flow.add("Canny", image=image, low_threshold=0.2, high_threshold=0.5)["IMAGE"]


def redux(title: str) -> Workflow:
    parts = start(title, "Try-on with Redux. The prompt also describes the garment's look, which helps to keep its pattern and "
                  "cut.", ["If the model ignores the prompt, lower `strength` of *Apply Style Model*.", KEEP_TIP],
                  SUBJECT, (REDUX, SIGCLIP))
    flow = parts.flow
    with flow.group("1b · Redux", LOAD, below=True, columns=1):
        style = flow.add("StyleModelLoader", style_model_name=REDUX.name)
        vision = flow.add("CLIPVisionLoader", clip_name=SIGCLIP.name)
    with flow.group("2 · Garment and person", PICTURES, columns=1):
        garment, person = example(flow, "shirt.jpg", "The garment"), example(flow, "portrait.jpg", "The person with mask")
    positive = instruct(parts, "The person wears this striped shirt.")
    with flow.group("3b · The garment's look", ASK, below=True, columns=1):
        look = flow.add("CLIPVisionEncode", clip_vision=vision, image=garment["image"], crop="center")
        positive = flow.add("StyleModelApply", conditioning=positive, style_model=style, clip_vision_output=look,
                            strength=0.6, strength_type="multiply")
    result = make(parts, positive, [garment["image"]], original=person["image"], mask=person["mask"])
    show(flow, result, person["image"], 6)
    return flow


def conversation(title: str) -> Workflow:
    flow, models = start_ace(title, "Three turns: ACE, ACE++, ACE. ACE++ makes the picture of the second turn. It joins the "
                             "conversation like any other picture, so the third turn can refer to it and to earlier ones.",
                             ["The condition unit of turn 2 only records the request and its pictures for later turns. "
                              "ACE++ itself reads the canvas.", MEMORY],
                             (*ABOUT_ACE, FILL, SUBJECT, CLIP_L, FLUX_VAE))
    with flow.group("1b · ACE++", LOAD, below=True, columns=1):
        parts = load(flow, SUBJECT)
    with flow.group("2 · Pictures", PICTURES, columns=1):
        person, garment = example(flow, "portrait.jpg", "The person with mask"), example(flow, "shirt.jpg", "The garment")
    with flow.group("3 · Turn 1: ACE", ASK, columns=1):
        first = box(flow, models, "put round glasses on the face in {image}", "Turn 1", image=person["image"])
    positive = instruct(parts, "The person wears this striped shirt.", 4)
    dressed = make(parts, positive, [garment["image"]], 5, original=first["IMAGE"], mask=person["mask"])
    with flow.group("7 · Remember turn 2", ASK, columns=1):
        unit = flow.add("ACEEditorConditionUnit", size=(420, 220), images=[first["IMAGE"], garment["image"]],
                        instruction="dress the person in {image} in the shirt of {image1}")
        lcu = flow.add("ACEEditorLongContextUnit", unit=unit, history=first["lcu"])
    with flow.group("8 · Turn 3: ACE", ASK, columns=1):
        third = box(flow, models, "turn the background of {image} into a beach", "Turn 3", SEED + 2, image=dressed, history=lcu)
    with flow.group("9 · Results", RESULT):
        flow.add("SaveImage", size=RESULT_SIZE, images=dressed, filename_prefix=f"ACE/{title} turn 2")
        flow.add("SaveImage", size=RESULT_SIZE, images=third["IMAGE"], filename_prefix=f"ACE/{title} turn 3")
    return flow


WORKFLOWS = {
    "ACE++ Portrait": generate(
        "portrait.jpg", "Maintain the facial features. The woman wears a dark green coat and smiles in a snowy street at dusk.",
        "Puts the person of the reference into a new scene.", PORTRAIT,
        "Begin with *Maintain the facial features.*, as in training. Then describe the new picture."),
    "ACE++ Subject": generate(
        "teapot.jpg", "The teal teapot stands on a mossy rock beside a waterfall, morning light, photograph.",
        "Puts the thing in the reference into a new scene: a product, a logo, a figure.", SUBJECT,
        "Describe the whole new picture, and name the thing in it."),
    "ACE++ Place an object": place(
        ["teapot.jpg"], "rocket.jpg", "The teapot hangs in the night sky like a moon.",
        "Puts the thing in the reference into a picture where the mask is white.", SUBJECT,
        "Give the mask about the shape of the thing."),
    "ACE++ Logo": place(
        ["swirls.jpg"], "sign.jpg", "The painting is printed on the wooden sign.",
        "Prints a logo or pattern on something.", SUBJECT, "Mask the surface to print on."),
    "ACE++ Try-on": place(
        ["shirt.jpg"], "portrait.jpg", "The person wears this striped shirt.",
        "Dresses a person in the garment of the reference.", SUBJECT,
        "Mask all of the old garment and a little around it."),
    "ACE++ Try-on with Redux": redux,
    "ACE++ Face swap": place(
        ["portrait.jpg"], "toy figure.png", "{image}, the person faces the camera.",
        "Gives the person in a picture the face of the reference.", PORTRAIT,
        "Mask the face and the hair. A reference cropped to the head works best.", BRACES_TIP),
    "ACE++ Several references": place(
        ["hat.jpg", "shirt.jpg"], "portrait.jpg", "The person wears this striped shirt and holds this straw hat.",
        "Uses two references on one canvas, from left to right.", SUBJECT,
        "A new slot appears when you connect a reference. All of them share the token budget, so each gets smaller.",
        "The published weights were trained with one reference. More than one is an experiment."),
    "ACE++ Local editing": inside(
        "coffee.jpg", "A silver fork.", "Changes what is under the mask, but keeps its structure: `fill_strength` is 0.5.",
        LOCAL, 0.5, "Describe what should be there in the result."),
    "ACE++ Regional repaint": inside(
        "cat.jpg", "A bright blue eye.",
        "Repaints a masked region with the full fine-tune. `fill_strength` 1 hides what was there.",
        None, 1.0, "Describe what should be there in the result."),
    "ACE++ Super-resolution": guided(
        "toy scene.png", "{image} shows a red star and a blue striped ball above a meadow, crisp and clean.",
        "Adds detail to a small or blurred picture with the full fine-tune. The picture is enlarged first.", enlarged,
        "Describe the picture, so that the model knows what the blurred parts are."),
    "ACE++ Recolour": guided(
        "portrait.jpg", "{image} An astronaut in an orange suit in front of a flag and a rocket, natural colors.",
        "Colors a black-and-white picture with the full fine-tune.", gray,
        "This workflow turns an example gray. Connect your own picture directly to *ACE++ Canvas*."),
    "ACE++ Depth-guided": guided(
        "room depth.png", "{image} A gallery with three marble balls on a polished floor, soft light from above.",
        "Makes a picture that follows a depth map, with the full fine-tune. White is near.", as_it_is,
        "To get the depth map of a photograph, use ComfyUI's blueprint Image Depth Estimation (Depth Anything 3)."),
    "ACE++ Contour-guided": guided(
        "teapot.jpg", "{image} A silver teapot on a linen cloth, studio photograph.",
        "Makes a picture that follows the contours of another, with the full fine-tune.", contours,
        "Core's *Canny* draws the contours. Your own sketch works, too, with white lines on black."),
    "ACE++ in a conversation": conversation,
}
