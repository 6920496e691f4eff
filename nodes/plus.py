"""ACE++ on FLUX.1-Fill: canvas, conditioning, and the way back. Core's nodes load, guide and sample."""

import logging

from comfy_api.latest import io

from ..ace_model import plus
from ..ace_model.comfyui.plus import AUTO, WEIGHTS, conditioning
from .masks import WindowType
from .types import CATEGORY

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
            description="Lays references and the picture to edit side by side, as ACE++ reads them: references left, "
                        "the picture right, every border on a token.",
            search_aliases=["ACE plus", "ACE_Plus", "LCU++", "flux fill reference", "in-context canvas", "try-on",
                            "face swap"],
            inputs=[
                io.Autogrow.Input("references", template=io.Autogrow.TemplateNames(
                    io.Image.Input("reference", tooltip="A person, thing, garment or logo the result takes after."),
                    names=REFERENCE_SLOTS, min=0), tooltip="Pictures the result takes after, left to right; a new slot "
                                                           "appears as you connect. A batch makes a batch of "
                                                           "canvases."),
                io.Image.Input("image", optional=True,
                               tooltip="The picture to edit. None: generate a picture from the references. Alpha is "
                                       "dropped."),
                io.Mask.Input("mask", optional=True,
                              tooltip="White = generate here; as large as the image. Nothing connected, or all black: "
                                      "everywhere."),
                io.Int.Input("width", default=0, min=0, max=8192,
                             tooltip="Width of the result in pixels; any number. 0: the image's, else the first "
                                     "reference's. An image of another shape is cropped around its centre."),
                io.Int.Input("height", default=0, min=0, max=8192,
                             tooltip="Height of the result in pixels, like width."),
                io.Combo.Input("reference_fit", options=FITS, default=FITS[0],
                               tooltip="match height: references get the picture's height, as the LoRA models learned "
                                       "it. keep size: they keep their size up to 0.8 of it, on grey, as the full "
                                       "fine-tune (FFT) learned it."),
                io.Float.Input("fill_strength", default=1.0, min=0.0, max=1.0, step=0.05, round=0.01,
                               tooltip="How far the image is blanked under the mask. 1: repaint (place, try on, swap, "
                                       "replace). 0.5: local editing LoRA, keeps the structure. 0: FFT with the image "
                                       "as guide (upscale, recolour, depth, contour)."),
                io.Int.Input("token_budget", default=plus.TOKEN_BUDGET, min=16, max=65536, step=16,
                             tooltip="Most tokens (16×16 pixels) of the whole canvas; a larger one is shrunk. 2048 to "
                                     "8192: more is sharper, slower and needs more memory."),
            ],
            outputs=[
                io.Image.Output(display_name="canvas", tooltip="For ACE++ Conditioning."),
                io.Mask.Output(display_name="mask", tooltip="For ACE++ Conditioning: where the model generates."),
                LayoutType.Output(display_name="layout", tooltip="For ACE++ Crop Result."),
                io.Int.Output(display_name="width", tooltip="Width of the canvas, for ModelSamplingFlux."),
                io.Int.Output(display_name="height", tooltip="Height of the canvas, for ModelSamplingFlux."),
            ],
        )

    @classmethod
    def execute(cls, width, height, reference_fit, fill_strength, token_budget, references=None, image=None,
                mask=None) -> io.NodeOutput:
        references = [each for each in (references or {}).values() if each is not None]
        keep_size = reference_fit == FITS[1]
        made = plus.make_canvas(references, image, mask, width, height, keep_size, fill_strength, token_budget)
        if image is not None and fill_strength == 1 and bool(plus.crop(made.mask, made.layout).all()):
            logging.warning("ACE Editor: ACE++ Canvas blanks the whole image, as there is no mask and fill_strength is "
                            "1. Connect a mask, or lower fill_strength to let the model see the image.")
        return io.NodeOutput(made.pixels, made.mask, made.layout, made.layout.canvas[1], made.layout.canvas[0])


class PlusConditioningNode(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="ACEEditorPlusConditioning",
            display_name="ACE++ Conditioning",
            category=CATEGORY,
            description="Gives core's Flux the canvas and mask: FLUX.1-Fill with one of ACE++'s LoRAs, or the full "
                        "fine-tune (FFT). Sample with guidance 50, cfg 1, denoise 1.",
            search_aliases=["ACE plus", "ACE_Plus", "inpaint model conditioning", "flux fill conditioning"],
            inputs=[
                io.Model.Input("model", tooltip="The model that will sample; it is only looked at. FLUX.1-Fill with a "
                                                "LoRA, or ace_plus_fft."),
                io.Conditioning.Input("positive", tooltip="The instruction, from CLIP Text Encode and FluxGuidance "
                                                          "(50)."),
                io.Conditioning.Input("negative", tooltip="An empty text; at cfg 1 it is not used."),
                io.Vae.Input("vae", tooltip="FLUX.1's: ae.safetensors."),
                io.Image.Input("canvas", tooltip="From ACE++ Canvas."),
                io.Mask.Input("mask", tooltip="From ACE++ Canvas."),
                io.Combo.Input("weights", options=list(WEIGHTS), default=AUTO,
                               tooltip="What the model was trained to read. LoRA: the canvas and its mask (384 "
                                       "inputs). FFT: what is kept and what is to be modified apart, and the mask "
                                       "(448). auto: as the model needs."),
                io.Int.Input("batch_size", default=1, min=1, max=64, tooltip="How many results to make of each "
                                                                             "canvas."),
            ],
            outputs=[
                io.Conditioning.Output(display_name="positive", tooltip="For KSampler."),
                io.Conditioning.Output(display_name="negative", tooltip="For KSampler."),
                io.Latent.Output(display_name="latent", tooltip="Empty, of the canvas's size."),
            ],
        )

    @classmethod
    def execute(cls, model, positive, negative, vae, canvas, mask, weights, batch_size) -> io.NodeOutput:
        return io.NodeOutput(*conditioning(model, positive, negative, vae, canvas, mask, weights, batch_size))


class PlusCropNode(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="ACEEditorPlusCropResult",
            display_name="ACE++ Crop Result",
            category=CATEGORY,
            description="Cuts the edited picture out of the sampled canvas, exactly, and returns it at the size that was asked "
                        "for. ACE Keep Untouched pastes it into the original.",
            search_aliases=["ACE plus", "ACE_Plus", "uncrop", "crop result"],
            inputs=[
                io.Image.Input("image", tooltip="The whole sampled canvas, from VAE Decode."),
                LayoutType.Input("layout", tooltip="From the ACE++ Canvas this image was made from."),
            ],
            outputs=[io.Image.Output(display_name="image",
                                     tooltip="The result. It can also go on as the image of an ACE Condition Unit."),
                     WindowType.Output(display_name="window",
                                       tooltip="Its place in the edited picture: for ACE Keep Untouched.")],
        )

    @classmethod
    def execute(cls, image, layout, **old) -> io.NodeOutput:
        pasted = [name for name in MOVED if old.get(name) is not None and name != "feather"]
        if pasted:
            raise plus.PlusError(f"{' and '.join(pasted)} moved from ACE++ Crop Result to ACE Keep Untouched: connect this "
                                 "node's image and window to result and window there, with the original and the mask.")
        return io.NodeOutput(plus.restore(image, layout), layout.window)
