"""The ACE++ workflows: FLUX.1-Fill with one of the LoRAs, or the full fine-tune (FFT)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ..graph import Output, Workflow
from ..models import CLIP_L, FFT, FILL, FLUX_VAE, LOCAL, PORTRAIT, REDUX, SIGLIP, SUBJECT, T5, Model
from . import boxes
from .ace import MASK_TIP
from .parts import box, picture, save, start

MEMORY = ("**Memory.** FLUX.1-Fill and the FFT are 23.8 GB in bfloat16. The box loads Fill as it is; open it to choose "
          "fp8, which halves that. People report noise and red pictures with the FFT in fp8. "
          "FLUX.1's license forbids commercial use.")
REDUX_TIP = ("Redux steadies pattern and cut: use the box *Reference Edit with Redux (ACE++)* with *redux_strength* 1 and "
             "*strength_type* multiply.")


def begin(title: str, about: str, tips: Sequence[str], *weights: Model) -> Workflow:
    return start(title, about, tips, (*weights, CLIP_L, T5, FLUX_VAE), MEMORY)


def generate(reference: str, text: str, about: str, lora: Model, *tips: str) -> Callable[[str], Workflow]:
    """A new picture that takes after a reference."""
    def describe(title: str) -> Workflow:
        flow = begin(title, about, (*tips, "*width* and *height* are those of the new picture."), FILL, lora)
        save(flow, box(flow, boxes.PLUS_REFERENCE, reference=picture(flow, reference, "reference")["IMAGE"],
                       lora_name=lora.name, width=1024, height=1024, instruction=text))
        return flow
    return describe


def place(reference: str, name: str, size: tuple[int, int], text: str, about: str, lora: Model, *tips: str
          ) -> Callable[[str], Workflow]:
    """Something from a reference enters a picture where its mask is."""
    def describe(title: str) -> Workflow:
        flow = begin(title, about, (*tips, MASK_TIP), FILL, lora)
        taken, before = picture(flow, reference, "reference"), picture(flow, name, "image, with mask", True)
        save(flow, box(flow, boxes.PLUS_REFERENCE, reference=taken["IMAGE"], image=before["IMAGE"], mask=before["MASK"],
                       lora_name=lora.name, width=size[0], height=size[1], instruction=text))
        return flow
    return describe


def with_redux(title: str) -> Workflow:
    flow = begin(title, "The person of the reference in a new scene. Redux looks at the reference as well, which fixes "
                 "details that the words leave open.",
                 ["*redux_strength* 0.2 with *attn_bias* is what the makers use for a new picture. To put the reference into "
                  "a picture of yours, connect *image* and *mask* and use 1 with *multiply*.",
                  "For things, clothes and logos choose the subject LoRA on the box.",
                  "Begin with *Maintain the facial features.* Then describe the new picture."], FILL, PORTRAIT, REDUX, SIGLIP)
    save(flow, box(flow, boxes.PLUS_REDUX, reference=picture(flow, "portrait", "reference")["IMAGE"], width=1024, height=1024,
                   instruction="Maintain the facial features. The woman wears a yellow raincoat on a sailing boat, gray sea, "
                               "overcast sky."))
    return flow


def local(title: str) -> Workflow:
    flow = begin(title, "Changes what is under the mask, along the contours that are there.",
                 ["*fill_strength* 0.5 follows the contours, as long as the instruction speaks of them. 1 repaints from "
                  "nothing: then just describe what should appear, for example: A silver fork lies beside the cup.",
                  "Other maps work too: depth, gray, a mosaic. Put their node in the place of Canny and Invert Image.",
                  "For maps the makers' README says 0.5, their ComfyUI node 0: try both.", MASK_TIP], FILL, LOCAL)
    before = picture(flow, "coffee", masked=True)
    mapped = flow.add("ImageCompositeMasked", title="Contours inside the mask", destination=before["IMAGE"],
                      source=contours(flow, before["IMAGE"]), mask=before["MASK"])
    save(flow, box(flow, boxes.PLUS_LOCAL, image=mapped, mask=before["MASK"], width=1184, height=800, fill_strength=0.5,
                   instruction='Following the mask, restore part of the image from the contours {image} in accordance with the '
                               'description: "a golden spoon with an engraved handle".'))
    return flow


def full_fine_tune(title: str) -> Workflow:
    flow = begin(title, "The full fine-tune instead of a LoRA: puts the thing in the reference into a picture where the mask "
                 "is, or makes a new picture of it.",
                 ["For a new picture, delete *image, with mask* and describe the whole picture. *width* and *height* are its "
                  "size.",
                  "The makers recommend the LoRAs, which are steadier: *ACE++ Place an object*, *ACE++ Subject*.", MASK_TIP],
                 FFT)
    before, taken = picture(flow, "sign", "image, with mask", True), picture(flow, "teapot", "reference")  # as on the box
    save(flow, box(flow, boxes.PLUS_FFT, image=before["IMAGE"], reference=taken["IMAGE"], mask=before["MASK"], width=1024,
                   height=768, instruction="The teapot is printed on the sign."))
    return flow


def whole(name: str, prepare: Callable[[Workflow, Output], Output], size: tuple[int, int], text: str, about: str, *tips: str
          ) -> Callable[[str], Workflow]:
    """The whole picture is repainted after what it shows, by the full fine-tune."""
    def describe(title: str) -> Workflow:
        flow = begin(title, about, tips, FFT)
        seen = prepare(flow, picture(flow, name)["IMAGE"])
        save(flow, box(flow, boxes.PLUS_FFT, image=seen, width=size[0], height=size[1], fill_strength=0.0, instruction=text))
        return flow
    return describe


def mosaic(flow: Workflow, image: Output) -> Output:
    """The authors' super-resolution sample is a nearest-neighbor mosaic."""
    return flow.add("ImageScaleBy", image=image, upscale_method="nearest-exact", scale_by=8)["IMAGE"]


def contours(flow: Workflow, image: Output) -> Output:
    """Black lines on white, as in the authors' samples; core's Canny draws white on black."""
    traced = flow.add("Canny", image=image, low_threshold=0.2, high_threshold=0.5)
    return flow.add("ImageInvert", size=(230, 0), image=traced)["IMAGE"]


WORKFLOWS = {
    "ACE++ Portrait": generate(
        "portrait", "Maintain the facial features. The woman wears a dark green coat and smiles in a snowy street at dusk.",
        "The person of the reference in a new scene.", PORTRAIT,
        "Begin with *Maintain the facial features.* Then describe the new picture."),
    "ACE++ Portrait with Redux": with_redux,
    "ACE++ Subject": generate(
        "teapot", "The teal teapot stands on a mossy rock beside a waterfall, morning light, photograph.",
        "The thing in the reference in a new scene: a product, a logo, a figure.", SUBJECT,
        "Describe the whole new picture and name the thing in it."),
    "ACE++ Try-on": place(
        "shirt", "portrait", (1024, 1024), "The woman wears a blue and white striped shirt.",
        "Dresses a person in the garment of the reference.", SUBJECT, "Mask all of the old garment, with a little room.",
        REDUX_TIP),
    "ACE++ Place an object": place(
        "teapot", "rocket", (1280, 832), "The teapot hangs in the night sky like a moon.",
        "Puts the thing in the reference into a picture where the mask is.", SUBJECT,
        "The mask should have about the shape of the thing."),
    "ACE++ Face swap": place(
        "portrait", "toy figure", (1024, 1024), "The person faces the camera.",
        "Gives the person in a picture the face of the reference.", PORTRAIT,
        "Mask the face and the hair. A reference cropped to the head works best."),
    "ACE++ Local edit": local,
    "ACE++ Reference with the FFT": full_fine_tune,
    "ACE++ Upscale": whole(
        "toy scene", mosaic, (1024, 1024), "{image} shows a red star and a blue striped ball above a meadow, crisp and clean.",
        "Enlarges a small picture by the full fine-tune. It is scaled up first; ACE++ paints the detail.",
        "Describe the picture: the words say what the mosaic shows.",
        "Recolor a black-and-white picture the same way: connect it instead of the scaled one."),
    "ACE++ Follow contours": whole(
        "teapot", contours, (1040, 880), "{image} A round blue teapot with a golden knob, studio photograph.",
        "Paints a picture that follows contours, by the full fine-tune.",
        "Contours are black lines on white. A depth map works too: connect it directly."),
}
