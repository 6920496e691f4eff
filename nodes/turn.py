"""A turn (condition unit), and a conversation (long-context condition unit)."""

import logging

from comfy_api.latest import io
from server import PromptServer

from ..ace_model.images import ImageError
from ..ace_model.lcu import (
    DEFAULT_ROUNDS,
    MAX_IMAGES,
    ConditionUnit,
    LCUError,
    LongContextUnit,
    check_length,
    check_placeholders,
    name_image,
    placeholder,
)
from ..ace_model.masks import fit_mask
from .types import CATEGORY, ConditionUnitType, Conversation, ConversationType, LongContextUnitType, within_limits

IMAGE_SLOTS = [placeholder(i).strip("{}") for i in range(MAX_IMAGES)]  # image, image1, … image8
MASK_SLOTS = [slot.replace("image", "mask") for slot in IMAGE_SLOTS]


def picture_slots(number: int) -> tuple:
    """A picture and its mask, side by side: fixed slots, so that pulling one out moves no other."""
    image, mask, name = IMAGE_SLOTS[number], MASK_SLOTS[number], placeholder(number)
    return (io.Image.Input(image, optional=True, tooltip=f"The picture that the instruction calls {name}."),
            io.Mask.Input(mask, optional=True,
                          tooltip=f"Where to edit {name}: white. Nothing connected, or all black: everywhere."))


class ConditionUnitNode(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="ACEEditorConditionUnit",
            display_name="ACE Condition Unit",
            category=CATEGORY,
            description="One turn: an instruction with its images and masks. Refer to each image by its slot's name: {image}, "
                        "{image1}, …",
            search_aliases=["ACE instruction", "ACE prompt", "edit instruction", "CU", "text encode ACE", "edit image",
                            "image editing", "inpaint", "outpaint", "remove object", "style transfer", "chat edit",
                            "multi-turn"],
            inputs=[
                io.String.Input("instruction", multiline=True, dynamic_prompts=False, default="",
                                placeholder="{image} turn the sky into a sunset",
                                tooltip="What to do. {image} is the picture in slot image, {image1} the one in slot image1, "
                                        "and so on. {previous.image} is the picture of the turn before, {previous2.image1} "
                                        "the second picture two turns back."),
                *(slot for i in range(MAX_IMAGES) for slot in picture_slots(i)),
                io.Boolean.Input("blank_masked", default=False,
                                 tooltip="Hides the pixels under the masks from the model, for inpainting, outpainting and "
                                         "try-on. Needs a mask."),
                io.Boolean.Input("name_image", default=True,
                                 tooltip="Puts “{image} ” in front if the instruction names no image, as the official tools "
                                         "do."),
            ],
            outputs=[ConditionUnitType.Output(display_name="unit", tooltip="For ACE Condition Tokenizer, or for ACE "
                                                                            "Long-context Unit in a conversation.")],
        )

    @classmethod
    def validate_inputs(cls, instruction=None):
        """Mistyped names stop the run before any model is loaded, and the page frames the box and names its instruction."""
        try:
            check_length(instruction or "")
            check_placeholders(instruction or "", None)
        except LCUError as error:
            return str(error)
        return True

    @classmethod
    def execute(cls, instruction, blank_masked, name_image, **slots) -> io.NodeOutput:
        slots = {name.rpartition(".")[2]: value for name, value in slots.items()}  # saved before 0.1.0: images.image1, …
        unknown = slots.keys() - {*IMAGE_SLOTS, *MASK_SLOTS}
        if unknown:  # ComfyUI passes on what a graph names, whether the node has such a slot or not
            raise LCUError(f"{', '.join(sorted(unknown))} is not a slot: ACE takes at most {MAX_IMAGES} images in one turn, in "
                           f"{IMAGE_SLOTS[0]} to {IMAGE_SLOTS[-1]}, with masks in {MASK_SLOTS[0]} to {MASK_SLOTS[-1]}. "
                           "Disconnect the others.")
        return io.NodeOutput(condition_unit(instruction, one_each(slots, IMAGE_SLOTS), one_each(slots, MASK_SLOTS),
                                            blank_masked, name_image))


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
                                     f"together have at most {MAX_IMAGES} images: beyond that the oldest turns are "
                                     "forgotten, too."),
            ],
            hidden=[io.Hidden.unique_id],
            outputs=[LongContextUnitType.Output(display_name="lcu", tooltip="For ACE Condition Tokenizer, and for history of "
                                                                           "the next turn.")],
        )

    @classmethod
    @within_limits
    def execute(cls, unit, max_rounds, history=None) -> io.NodeOutput:
        before = history or LongContextUnit()
        lcu = before.then(unit, max_rounds)
        if lcu.forgotten:
            kept = len(lcu.turns) - 1
            text = (f"Remembers {kept} of {kept + lcu.forgotten} earlier turns: at most {max_rounds}, and {MAX_IMAGES} images "
                    "in all.")
            logging.info("ACE Editor: %s", text)
            PromptServer.instance.send_progress_text(text, cls.hidden.unique_id)  # on the node
        return io.NodeOutput(lcu)


class PackConversationNode(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="ACEEditorPackConversation",
            display_name="ACE Pack Conversation",
            category=CATEGORY,
            description="Puts a turn's answer, the conversation so far and its models on one wire, for the next turn.",
            search_aliases=["ACE chat", "multi-turn", "conversation"],
            inputs=[
                io.Image.Input("image", tooltip="The answer of this turn, from VAE Decode or ACE Keep Untouched."),
                LongContextUnitType.Input("lcu", tooltip="This turn and those before it, from ACE Long-context Unit."),
                io.Model.Input("model", tooltip="The model that made the answer, LoRAs included."),
                io.Clip.Input("clip", tooltip="Its text encoder."),
                io.Vae.Input("vae", tooltip="Its VAE."),
            ],
            outputs=[ConversationType.Output(display_name="conversation", tooltip="For the next turn.")],
        )

    @classmethod
    def execute(cls, image, lcu, model, clip, vae) -> io.NodeOutput:
        return io.NodeOutput(Conversation(image, lcu, model, clip, vae))


class UnpackConversationNode(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="ACEEditorUnpackConversation",
            display_name="ACE Unpack Conversation",
            category=CATEGORY,
            description="Takes the last answer, the history and the models back off the wire.",
            search_aliases=["ACE chat", "multi-turn", "conversation"],
            inputs=[ConversationType.Input("conversation", tooltip="From the turn before.")],
            outputs=[io.Image.Output(display_name="image", tooltip="The last answer."),
                     LongContextUnitType.Output(display_name="history", tooltip="For ACE Long-context Unit."),
                     io.Model.Output(display_name="model", tooltip="The model, with the LoRAs it had."),
                     io.Clip.Output(display_name="clip", tooltip="Its text encoder."),
                     io.Vae.Output(display_name="vae", tooltip="Its VAE.")],
        )

    @classmethod
    def execute(cls, conversation) -> io.NodeOutput:
        return io.NodeOutput(*conversation)


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


def one_each(batches: dict, slots: list[str]) -> list:
    """ComfyUI's batches of one → single pictures in slot order, None where nothing is connected. Raises ImageError."""
    out = []
    for slot in slots:
        batch = batches.get(slot)
        if batch is not None and batch.ndim > 2:
            if len(batch) != 1:
                kind, way = ("masks", "connect a single mask") if slot in MASK_SLOTS else (
                    "pictures", "pick one with Get Image from Batch, or connect each picture to its own slot")
                raise ImageError(f"{slot} is a batch of {len(batch)} {kind}, but this slot takes one: {way}.")
            batch = batch[0]
        out.append(batch)
    return out
