"""A turn (condition unit), and a conversation (long-context condition unit)."""

from comfy_api.latest import io

from ..ace_model.images import ImageError
from ..ace_model.lcu import DEFAULT_ROUNDS, MAX_IMAGES, ConditionUnit, LCUError, LongContextUnit, name_image, placeholder
from ..ace_model.masks import fit_mask
from .types import CATEGORY, ConditionUnitType, LongContextUnitType

IMAGE_SLOTS = [placeholder(i).strip("{}") for i in range(MAX_IMAGES)]  # image, image1, … image8
MASK_SLOTS = [slot.replace("image", "mask") for slot in IMAGE_SLOTS]


class ConditionUnitNode(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="ACEEditorConditionUnit",
            display_name="ACE Condition Unit",
            category=CATEGORY,
            description="One turn: an instruction with its images and masks. Refer to each image by its slot's name: {image}, "
                        "{image1}, …",
            search_aliases=["ACE instruction", "ACE prompt", "edit instruction", "CU", "text encode ACE"],
            inputs=[
                io.String.Input("instruction", multiline=True, dynamic_prompts=False, default="",
                                placeholder="{image} turn the sky into a sunset",
                                tooltip="What to do. {image} is the picture in slot image, {image1} the one in slot image1, "
                                        "and so on. {previous.image} is the picture of the turn before, {previous2.image1} "
                                        "the second picture two turns back."),
                io.Autogrow.Input("images", template=io.Autogrow.TemplateNames(
                    io.Image.Input("image", tooltip="One picture. Use the slot's name in the instruction."),
                    names=IMAGE_SLOTS, min=0), tooltip="The pictures for the instruction. A new slot appears when you "
                                                       "connect one. Not connected: text to image."),
                io.Autogrow.Input("masks", template=io.Autogrow.TemplateNames(
                    io.Mask.Input("mask", tooltip="White = edit here. Not connected, or all black: everywhere."),
                    names=MASK_SLOTS, min=0), tooltip="mask is for image, mask1 for image1, and so on."),
                io.Boolean.Input("blank_masked", default=False,
                                 tooltip="Hides the pixels under the masks from the model, for inpainting, outpainting and "
                                         "try-on. Needs a mask."),
                io.Boolean.Input("name_image", default=True,
                                 tooltip="Puts “{image} ” in front if the instruction names none of the connected images, as "
                                         "the official tools do."),
            ],
            outputs=[ConditionUnitType.Output(display_name="unit", tooltip="For ACE Condition Tokenizer, or for ACE "
                                                                            "Long-context Unit in a conversation.")],
        )

    @classmethod
    def execute(cls, instruction, blank_masked, name_image, images=None, masks=None, **unknown) -> io.NodeOutput:
        if unknown:  # a tenth image comes in here: ComfyUI passes on slots that the node does not have
            raise LCUError(f"{', '.join(sorted(unknown))} is not a slot: ACE takes at most {MAX_IMAGES} images in one turn, in "
                           f"{IMAGE_SLOTS[0]} to {IMAGE_SLOTS[-1]}, with masks in {MASK_SLOTS[0]} to {MASK_SLOTS[-1]}. "
                           "Disconnect the others.")
        images, masks = one_each(images, IMAGE_SLOTS), one_each(masks, MASK_SLOTS)
        return io.NodeOutput(condition_unit(instruction, images, masks, blank_masked, name_image))


class LongContextUnitNode(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="ACEEditorLongContextUnit",
            display_name="ACE Long-context Unit",
            category=CATEGORY,
            description="A conversation: adds this turn to the earlier ones, so that the model remembers them. Connect lcu to "
                        "history of the next turn.",
            search_aliases=["LCU", "ACE history", "ACE chat", "multi-turn edit", "conversation"],
            inputs=[
                ConditionUnitType.Input("unit", tooltip="The current turn, from ACE Condition Unit."),
                LongContextUnitType.Input("history", optional=True,
                                          tooltip="The earlier turns: lcu of the turn before. Not connected: a new "
                                                  "conversation."),
                io.Int.Input("max_rounds", default=DEFAULT_ROUNDS, min=0, max=MAX_IMAGES,
                             tooltip="How many earlier turns to remember; older ones are forgotten. 0 forgets all. All turns "
                                     f"together may have {MAX_IMAGES} images."),
            ],
            outputs=[LongContextUnitType.Output(display_name="lcu", tooltip="For ACE Condition Tokenizer, and for history of "
                                                                           "the next turn.")],
        )

    @classmethod
    def execute(cls, unit, max_rounds, history=None) -> io.NodeOutput:
        return io.NodeOutput((history or LongContextUnit()).then(unit, max_rounds))


def condition_unit(instruction, images: list, masks: list, blank: bool, name: bool) -> ConditionUnit:
    """Slots → ConditionUnit. Slots must be filled in order, and a mask needs its image. Raises LCUError."""
    filled = [i for i, image in enumerate(images) if image is not None]
    if filled and filled[-1] >= len(filled):
        gap = next(i for i in range(len(images)) if images[i] is None)
        raise LCUError(f"{IMAGE_SLOTS[filled[-1]]} is connected, but {IMAGE_SLOTS[gap]} is not: fill the slots in order, "
                       "because the instruction names pictures by their slots.")
    for i, mask in enumerate(masks):
        if mask is not None and i >= len(filled):
            raise LCUError(f"{MASK_SLOTS[i]} is connected, but {IMAGE_SLOTS[i]} is not: connect that image, or disconnect the "
                           "mask.")
    masks = [mask if mask is None else fit_mask(mask, *image.shape[:2], MASK_SLOTS[i], IMAGE_SLOTS[i])
             for i, (image, mask) in enumerate(zip(images, masks, strict=True))]
    if name:
        instruction = name_image(instruction, len(filled))
    return ConditionUnit(instruction, images[:len(filled)], masks[:len(filled)], blank)


def one_each(batches: dict | None, slots: list[str]) -> list:
    """ComfyUI's batches of one → single pictures in slot order, None where nothing is connected. Raises ImageError."""
    out = []
    for slot in slots:
        batch = (batches or {}).get(slot)
        if batch is not None and batch.ndim > 2:
            if len(batch) != 1:
                raise ImageError(f"{slot} is a batch of {len(batch)} pictures, but this slot takes one: pick one with Get "
                                 "Image from Batch, or connect each picture to its own slot.")
            batch = batch[0]
        out.append(batch)
    return out
