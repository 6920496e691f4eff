"""ACE++ on FLUX.1-Fill: canvas, conditioning, and crop. Core's nodes load, guide and sample."""

import logging

from comfy_api.latest import io

from ..ace_model import plus
from ..ace_model.comfyui.plus import AUTO, WEIGHTS, conditioning, encode_text
from .masks import WindowType
from .types import CATEGORY, within_limits

LayoutType = io.Custom("ACE_PLUS_LAYOUT")  # ace_model.plus.Layout
MOVED = ("original", "mask", "feather")  # inputs of version 0.1.0 before its release
REFERENCE_SLOTS = [f"reference{i or ''}" for i in range(plus.MAX_REFERENCES)]
FITS = ["match height", "keep size"]


class PlusCanvasNode(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="ACEEditorPlusCanvas",
            display_name="ACE++ Canvas",
            category=CATEGORY,
            description="Puts references on the left and the picture to edit on the right, side by side, as ACE++ reads them. "
                        "Every border falls between two tokens.",
            search_aliases=["ACE plus", "ACE_Plus", "LCU++", "flux fill reference", "in-context canvas", "try-on",
                            "face swap"],
            inputs=[
                *(io.Image.Input(slot, optional=True,
                                 tooltip="A person, thing, garment or logo to use in the result. References stand left to "
                                         "right on the canvas. A batch makes a batch of canvases.")
                  for slot in REFERENCE_SLOTS),
                io.Image.Input("image", optional=True,
                               tooltip="The picture to edit. Not connected: a new picture is generated from the references. "
                                       "Alpha is dropped."),
                io.Mask.Input("mask", optional=True,
                              tooltip="White = generate here. A mask of another size is resized to the image. Not connected, "
                                      "or all black: everywhere."),
                io.Int.Input("width", default=0, min=0, max=8192,
                             tooltip="Width of the result in pixels, any number. 0: as wide as the image, or as the first "
                                     "reference if there is no image. An image of another shape is cropped around its "
                                     "center."),
                io.Int.Input("height", default=0, min=0, max=8192,
                             tooltip="Height of the result in pixels. Works like width."),
                io.Combo.Input("reference_fit", options=FITS, default=FITS[0],
                               tooltip="match height: references become as high as the picture, as in the training of the "
                                       "LoRAs. keep size: they keep their own size, up to 0.8 of that height, on gray, as "
                                       "in the training of the full fine-tune (FFT)."),
                io.Float.Input("fill_strength", default=1.0, min=0.0, max=1.0, step=0.05, round=0.01,
                               tooltip="How much the image is grayed out under the mask. 1: fully, to repaint (place, try on, "
                                       "swap, replace). 0.5: half, for the local editing LoRA over a control map. 0: not "
                                       "at all, for the FFT with the image as a guide (upscale, recolor, depth, contour)."),
                io.Int.Input("token_budget", default=plus.TOKEN_BUDGET, min=16, max=65536, step=plus.BUDGET_STEP,
                             tooltip="The most tokens (16×16 pixels) the whole canvas may have; a larger one is shrunk. Try "
                                     "2048 to 8192: more is sharper, but slower and needs more memory."),
            ],
            outputs=[
                io.Image.Output(display_name="canvas", tooltip="For ACE++ Conditioning."),
                io.Mask.Output(display_name="mask", tooltip="Where the model generates, for ACE++ Conditioning."),
                LayoutType.Output(display_name="layout", tooltip="For ACE++ Crop Result."),
                io.Int.Output(display_name="width", tooltip="Width of the canvas, for ModelSamplingFlux."),
                io.Int.Output(display_name="height", tooltip="Height of the canvas, for ModelSamplingFlux."),
            ],
        )

    @classmethod
    @within_limits
    def execute(cls, width, height, reference_fit, fill_strength, token_budget, image=None, mask=None, **slots
                ) -> io.NodeOutput:
        slots = {name.rpartition(".")[2]: value for name, value in slots.items()}  # saved before 0.1.0: references.reference
        unknown = slots.keys() - set(REFERENCE_SLOTS)
        if unknown:
            raise plus.PlusError(f"{', '.join(sorted(unknown))}: there is no such slot. A canvas takes at most "
                                 f"{plus.MAX_REFERENCES} references, {REFERENCE_SLOTS[0]} to {REFERENCE_SLOTS[-1]}.")
        references = {slot: slots[slot] for slot in REFERENCE_SLOTS if slots.get(slot) is not None}
        keep_size = reference_fit == FITS[1]
        made = plus.make_canvas(list(references.values()), image, mask, width, height, keep_size, fill_strength, token_budget,
                                tuple(references))
        if image is not None and fill_strength == 1 and bool(plus.crop(made.mask, made.layout).all()):
            logging.warning("ACE Editor: ACE++ Canvas blanks the whole image, because it has no mask and fill_strength is "
                            "1. Connect a mask, or lower fill_strength so that the model sees the image.")
        return io.NodeOutput(made.pixels, made.mask, made.layout, made.layout.canvas[1], made.layout.canvas[0])


class PlusConditioningNode(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="ACEEditorPlusConditioning",
            display_name="ACE++ Conditioning",
            category=CATEGORY,
            description="Adds the canvas and its mask to the conditioning of core's Flux: FLUX.1-Fill with one of ACE++'s "
                        "LoRAs, or the full fine-tune (FFT). Sample with guidance 50, cfg 1 and denoise 1.",
            search_aliases=["ACE plus", "ACE_Plus", "inpaint model conditioning", "flux fill conditioning"],
            inputs=[
                io.Model.Input("model", tooltip="The model that goes to the sampler: FLUX.1-Fill with a LoRA, or "
                                                "ace_plus_fft. This node only checks it."),
                io.Conditioning.Input("positive", tooltip="The instruction, from ACE++ Text Encode."),
                io.Conditioning.Input("negative", tooltip="An empty text. With cfg 1 it has no effect."),
                io.Vae.Input("vae", tooltip="The VAE of FLUX.1: ae.safetensors."),
                io.Image.Input("canvas", tooltip="From ACE++ Canvas."),
                io.Mask.Input("mask", tooltip="From ACE++ Canvas."),
                io.Combo.Input("weights", options=list(WEIGHTS), default=AUTO,
                               tooltip="auto: whatever the model needs. Choose one to get an error when the wrong model is "
                                       "connected. LoRA: the model reads the canvas and its mask (384 inputs). FFT: it reads "
                                       "the kept part, the part to modify, and the mask (448 inputs)."),
                io.Int.Input("batch_size", default=1, min=1, max=64, tooltip="How many results to make from each "
                                                                             "canvas."),
            ],
            outputs=[
                io.Conditioning.Output(display_name="positive", tooltip="For KSampler."),
                io.Conditioning.Output(display_name="negative", tooltip="For KSampler."),
                io.Latent.Output(display_name="latent", tooltip="Empty, in the size of the canvas."),
            ],
        )

    @classmethod
    @within_limits
    def execute(cls, model, positive, negative, vae, canvas, mask, weights, batch_size) -> io.NodeOutput:
        return io.NodeOutput(*conditioning(model, positive, negative, vae, canvas, mask, weights, batch_size))


class PlusCropNode(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="ACEEditorPlusCropResult",
            display_name="ACE++ Crop Result",
            category=CATEGORY,
            description="Cuts the edited picture out of the sampled canvas, to the pixel, and resizes it to the size set in "
                        "ACE++ Canvas. ACE Keep Untouched pastes it into the original.",
            search_aliases=["ACE plus", "ACE_Plus", "uncrop", "crop result"],
            inputs=[
                io.Image.Input("image", tooltip="The whole sampled canvas from VAE Decode."),
                LayoutType.Input("layout", tooltip="From the ACE++ Canvas that this image was made from."),
            ],
            outputs=[io.Image.Output(display_name="image",
                                     tooltip="The result. You can also connect it to an ACE Condition Unit."),
                     WindowType.Output(display_name="window",
                                       tooltip="Its place in the original, for ACE Keep Untouched.")],
        )

    @classmethod
    def execute(cls, image, layout, **old) -> io.NodeOutput:
        pasted = [name for name in MOVED if old.get(name) is not None and name != "feather"]
        if pasted:
            raise plus.PlusError(f"{' and '.join(pasted)} moved from ACE++ Crop Result to ACE Keep Untouched: add that node, "
                                 "and connect image to its result, window to its window, and the original and mask to it.")
        return io.NodeOutput(plus.restore(image, layout), layout.window)


class PlusTextEncodeNode(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="ACEEditorPlusTextEncode",
            display_name="ACE++ Text Encode",
            category=CATEGORY,
            description="Encodes an instruction as ACE++ was trained to read it: image names are single words, T5 reads 512 "
                        "tokens, and guidance is set.",
            search_aliases=["ACE plus", "ACE_Plus", "clip text encode flux", "prompt", "instruction", "flux guidance",
                            "image placeholder"],
            inputs=[
                io.Clip.Input("clip", tooltip="FLUX.1's: DualCLIPLoader with clip_l, t5xxl and type flux."),
                io.String.Input("text", multiline=True, dynamic_prompts=False, placeholder="The item in {image} stands on a "
                                                                                           "table …",
                                tooltip="The instruction. {image}, {image1} to {image9}, {mask}, {ref_image}, {caption} and "
                                        "<img> are single words to the model; everything else is plain text, brackets "
                                        "and weights too. The authors' diffusers script numbers {image} 32100; their "
                                        "training says 32101, and so does this node."),
                io.Float.Input("guidance", default=50.0, min=0.0, max=100.0, step=0.1, round=0.01,
                               tooltip="Distilled guidance; the authors use 50. No FluxGuidance is needed."),
            ],
            outputs=[io.Conditioning.Output(display_name="conditioning",
                                            tooltip="For positive of ACE++ Conditioning.")],
        )

    @classmethod
    @within_limits
    def execute(cls, clip, text, guidance) -> io.NodeOutput:
        return io.NodeOutput(encode_text(clip, text, guidance))
