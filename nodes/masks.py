"""Pad a picture, crop around its mask, and paste the result back with every other pixel untouched."""

from comfy_api.latest import io

from ..ace_model import masks, outpaint, paste
from ..ace_model.comfyui.loader import defaults_of
from .types import BUDGET_TOOLTIP, CATEGORY, MODEL_TOOLTIP, within_limits

WindowType = io.Custom("ACE_WINDOW")  # ace_model.paste.Window


class PadForOutpaintingNode(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        def room(side):
            return io.Float.Input(side, default=0.25, min=0.0, max=4.0, step=0.05, round=0.01,
                                  tooltip=f"Room to add on the {side}, as a fraction of the picture's "
                                          f"{'width' if side in ('left', 'right') else 'height'}: 0.25 is a quarter.")

        return io.Schema(
            node_id="ACEEditorPadForOutpainting",
            display_name="ACE Pad for Outpainting",
            category=CATEGORY,
            description="Adds room around a picture and a mask of that room, ready for outpainting.",
            search_aliases=["outpaint", "pad image for outpainting", "extend image", "uncrop", "ACE Outpaint Canvas"],
            inputs=[
                io.Image.Input("image", tooltip="The picture to extend."),
                *(room(side) for side in outpaint.SIDES),
                io.Int.Input("token_budget", default=0, min=0, max=16384, step=16, tooltip=BUDGET_TOOLTIP),
                io.Boolean.Input("shrink_to_fit", default=True,
                                 tooltip="Shrinks the picture if the padded size is over the budget. Off: you get an error "
                                         "instead."),
                io.Model.Input("model", optional=True, tooltip=MODEL_TOOLTIP),
            ],
            outputs=[io.Image.Output(display_name="image", tooltip="The padded picture. Its sides are multiples of 16."),
                     io.Mask.Output(display_name="mask", tooltip="White where room was added.")],
        )

    @classmethod
    @within_limits
    def execute(cls, image, left, top, right, bottom, token_budget, shrink_to_fit, model=None) -> io.NodeOutput:
        budget = token_budget or defaults_of(model).token_budget
        return io.NodeOutput(*outpaint.add_room(image, left, top, right, bottom, budget, shrink_to_fit))


class CropAroundMaskNode(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="ACEEditorCropAroundMask",
            display_name="ACE Crop Around Mask",
            category=CATEGORY,
            description="Cuts out the masked region with some surroundings, so that a small edit of a large picture stays "
                        "sharp. ACE Keep Untouched puts the result back.",
            search_aliases=["crop and stitch", "inpaint crop", "masked crop", "zoom to mask"],
            inputs=[
                io.Image.Input("image", tooltip="The whole picture."),
                io.Mask.Input("mask", tooltip="White = edit here. A batch of masks shares one window around all of them."),
                io.Float.Input("margin", default=0.5, min=0.0, max=8.0, step=0.05, round=0.01,
                               tooltip="How much of the surroundings the model sees on each side, as a fraction of the masked "
                                       "region's longer side."),
                io.Int.Input("min_size", default=256, min=16, max=4096, step=16,
                             tooltip="Smallest width and height of the window in pixels. ACE draws poorly in very small "
                                     "pictures."),
            ],
            outputs=[io.Image.Output(display_name="image", tooltip="The crop, for ACE Condition Unit."),
                     io.Mask.Output(display_name="mask", tooltip="The crop's mask, for ACE Condition Unit."),
                     WindowType.Output(display_name="window", tooltip="The crop's place in the picture, for ACE Keep "
                                                                       "Untouched.")],
        )

    @classmethod
    @within_limits
    def execute(cls, image, mask, margin, min_size) -> io.NodeOutput:
        mask = masks.fit_mask(mask, *image.shape[1:3])
        window = paste.window_around(mask, margin, min_size)
        return io.NodeOutput(window.of(image), window.of(mask), window)


class KeepUntouchedNode(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="ACEEditorKeepUntouched",
            display_name="ACE Keep Untouched",
            category=CATEGORY,
            description="Pastes the result into the original where the mask is white. Every pixel farther from the mask than "
                        "grow plus feather stays exactly as it was.",
            search_aliases=["composite", "paste back", "stitch", "restore background", "blend inpaint"],
            inputs=[
                io.Image.Input("original", optional=True,
                               tooltip="The whole picture before the edit. Not connected: the result passes through."),
                io.Image.Input("result", tooltip="The edited picture. It is resized to fit."),
                io.Mask.Input("mask", optional=True,
                              tooltip="White = use the result. Connect the mask of the whole picture, not of the crop. Not "
                                      "connected, or all black: everywhere, so the result passes through."),
                io.Int.Input("feather", default=8, min=0, max=256,
                             tooltip="How many pixels result and original blend over, outside the grown mask."),
                io.Int.Input("grow", default=8, min=0, max=256, optional=True,
                             tooltip="How many pixels the mask grows before the blend, so that no outline of a removed thing "
                                     "stays."),
                WindowType.Input("window", optional=True,
                                 tooltip="From ACE Crop Around Mask or ACE++ Crop Result, if the result shows only part of the "
                                         "picture."),
            ],
            outputs=[io.Image.Output(display_name="image", tooltip="The finished picture: with a mask as large as the "
                                                                     "original, else the result as it is.")],
        )

    @classmethod
    @within_limits
    def execute(cls, result, feather, grow=8, original=None, mask=None, window=None) -> io.NodeOutput:
        if original is None:
            return io.NodeOutput(result)
        return io.NodeOutput(paste.paste(original, result, mask, grow, feather, window))
