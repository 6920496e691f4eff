"""Room around a picture, a window around its mask, and the way back with every other pixel untouched."""

import logging

from comfy_api.latest import io

from ..ace_model import canvas
from .types import CATEGORY

WindowType = io.Custom("ACE_WINDOW")  # ace_model.canvas.Window


class OutpaintCanvasNode(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        def room(side):
            return io.Float.Input(side, default=0.25, min=0.0, max=4.0, step=0.05, round=0.01,
                                  tooltip=f"Room to add on the {side}, as a part of the picture's "
                                          f"{'width' if side in ('left', 'right') else 'height'}: 0.25 is a quarter.")

        return io.Schema(
            node_id="ACEEditorOutpaintCanvas",
            display_name="ACE Outpaint Canvas",
            category=CATEGORY,
            description="Puts black room around a picture and gives the mask of the room: what outpainting needs.",
            search_aliases=["outpaint", "pad image for outpainting", "extend image", "uncrop"],
            inputs=[
                io.Image.Input("image", tooltip="The picture to extend."),
                *(room(side) for side in canvas.SIDES),
                io.Int.Input("token_budget", default=1024, min=16, max=16384, step=16,
                             tooltip="Most tokens (16×16 pixels) the canvas may have; the same as in ACE Condition "
                                     "Tokenizer."),
                io.Boolean.Input("shrink_to_fit", default=True,
                                 tooltip="Make the picture smaller if the canvas is over the budget. Off: an error instead."),
            ],
            outputs=[io.Image.Output(display_name="image", tooltip="The canvas, its sides multiples of 16."),
                     io.Mask.Output(display_name="mask", tooltip="White where the room is.")],
        )

    @classmethod
    def execute(cls, image, left, top, right, bottom, token_budget, shrink_to_fit) -> io.NodeOutput:
        return io.NodeOutput(*canvas.outpaint(image, left, top, right, bottom, token_budget, shrink_to_fit))


class CropAroundMaskNode(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="ACEEditorCropAroundMask",
            display_name="ACE Crop Around Mask",
            category=CATEGORY,
            description="Cuts out the masked part with some surroundings, so that a small edit of a large picture is made "
                        "in full sharpness. ACE Keep Untouched puts the result back.",
            search_aliases=["crop and stitch", "inpaint crop", "masked crop", "zoom to mask"],
            inputs=[
                io.Image.Input("image", tooltip="The whole picture."),
                io.Mask.Input("mask", tooltip="White = edit here. Of several masks one window is made that holds them all."),
                io.Float.Input("margin", default=0.5, min=0.0, max=8.0, step=0.05, round=0.01,
                               tooltip="Surroundings on each side that the model sees, as a part of the masked region's "
                                       "longer side."),
                io.Int.Input("min_size", default=256, min=16, max=4096, step=16,
                             tooltip="Least width and height of the window in pixels; ACE draws poorly in very small "
                                     "pictures."),
            ],
            outputs=[io.Image.Output(display_name="image", tooltip="For ACE Condition Unit."),
                     io.Mask.Output(display_name="mask", tooltip="For ACE Condition Unit."),
                     WindowType.Output(display_name="window", tooltip="Where it was: for ACE Keep Untouched.")],
        )

    @classmethod
    def execute(cls, image, mask, margin, min_size) -> io.NodeOutput:
        mask = fitted(mask, image, "image")
        window = canvas.window_around(mask, margin, min_size)
        rows, columns = window.slices
        return io.NodeOutput(image[:, rows, columns], mask[:, rows, columns], window)


class KeepUntouchedNode(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="ACEEditorKeepUntouched",
            display_name="ACE Keep Untouched",
            category=CATEGORY,
            description="Lays the result over the original under the mask only. Outside the mask every pixel stays "
                        "exactly what it was.",
            search_aliases=["composite", "paste back", "stitch", "restore background", "blend inpaint"],
            inputs=[
                io.Image.Input("original", tooltip="The whole picture before the edit."),
                io.Image.Input("result", tooltip="The decoded result; it is brought to the size of its place."),
                io.Mask.Input("mask", tooltip="White = take the result. The mask of the whole picture, not of the crop."),
                io.Int.Input("feather", default=8, min=0, max=256,
                             tooltip="Pixels over which original and result blend, counted inwards from the mask's border."),
                WindowType.Input("window", optional=True, tooltip="From ACE Crop Around Mask, if the result is of a crop."),
            ],
            outputs=[io.Image.Output(display_name="image", tooltip="As large as the original.")],
        )

    @classmethod
    def execute(cls, original, result, mask, feather, window=None) -> io.NodeOutput:
        return io.NodeOutput(canvas.keep_untouched(original, result, fitted(mask, original, "original"), feather, window))


def fitted(mask, image, name: str):
    """The mask in the picture's size; a warning if it had another."""
    height, width = image.shape[1:3]
    if mask.shape[-2:] != (height, width) and mask.any():
        logging.warning("ACE Editor: mask is %d×%d, %s is %d×%d: the mask is resized (nearest).", *mask.shape[:-3:-1], name,
                        width, height)
    return canvas.fit_mask(mask, height, width)
