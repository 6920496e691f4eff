"""Condition tokenizing and image indicator embedding: from a conversation to conditioning."""

from comfy_api.latest import io

from ..ace_model.comfyui.conditioning import conditioning, empty_latent, tokenize
from ..ace_model.comfyui.loader import defaults_of
from ..ace_model.lcu import MAX_IMAGES
from .types import (
    BUDGET_TOOLTIP,
    CATEGORY,
    MODEL_TOOLTIP,
    ConditionUnitType,
    LongContextUnitType,
    TokensType,
    within_limits,
)


class ConditionTokenizerNode(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="ACEEditorConditionTokenizer",
            display_name="ACE Condition Tokenizer",
            category=CATEGORY,
            description="Encodes a turn, or a whole conversation: its texts and image names with the text encoder, its "
                        "images with the VAE, and its masks.",
            search_aliases=["ACE encode", "LCU encode", "ACE tokens"],
            inputs=[
                io.MultiType.Input("lcu", [LongContextUnitType, ConditionUnitType],
                                   tooltip="The conversation from ACE Long-context Unit, or a single turn straight from ACE "
                                           "Condition Unit."),
                io.Clip.Input("clip", tooltip="T5 v1.1 from Load ACE Text Encoder, or from core's Load CLIP with type pixart."),
                io.Vae.Input("vae", tooltip="The VAE of Stable Diffusion 1.x, for instance "
                                            "vae-ft-mse-840000-ema-pruned.safetensors."),
                io.String.Input("negative_instruction", multiline=True, dynamic_prompts=False, default="",
                                tooltip="What to steer away from. It replaces the last instruction only; images and earlier "
                                        "turns stay. You can leave it empty."),
                io.Int.Input("width", default=0, min=0, max=4096, step=16,
                             tooltip="Width of the result in pixels, a multiple of 16. 0: as wide as the target image."),
                io.Int.Input("height", default=0, min=0, max=4096, step=16,
                             tooltip="Height of the result in pixels, a multiple of 16. 0: as high as the target image."),
                io.Int.Input("target_image", default=0, min=0, max=MAX_IMAGES - 1, advanced=True,
                             tooltip="Which image of this turn gives the result its size and mask: 0 for image, 1 for "
                                     "image1, …"),
                io.Int.Input("token_budget", default=0, min=0, max=16384, step=16, tooltip=BUDGET_TOOLTIP),
                io.Model.Input("model", optional=True, tooltip=MODEL_TOOLTIP),
            ],
            outputs=[TokensType.Output(display_name="tokens", tooltip="For ACE Image Indicator."),
                     io.Int.Output(display_name="width", tooltip="Width of the result in pixels."),
                     io.Int.Output(display_name="height", tooltip="Height of the result in pixels.")],
        )

    @classmethod
    @within_limits
    def execute(cls, lcu, clip, vae, negative_instruction, width, height, target_image, token_budget, model=None
                ) -> io.NodeOutput:
        budget = token_budget or defaults_of(model).token_budget
        tokens = tokenize(lcu, clip, vae, width, height, target_image, budget, negative_instruction)
        return io.NodeOutput(tokens, tokens.size[1], tokens.size[0])


class ImageIndicatorNode(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="ACEEditorImageIndicatorEmbedding",
            display_name="ACE Image Indicator",
            category=CATEGORY,
            description="Links the names {image}, {image1}, … to the images. Gives a sampler all it needs: positive, negative "
                        "and an empty latent of the right size.",
            search_aliases=["ACE conditioning", "image indicator embedding", "ACE positive negative"],
            inputs=[
                TokensType.Input("tokens", tooltip="From ACE Condition Tokenizer."),
                io.Int.Input("batch_size", default=1, min=1, max=64, tooltip="How many results to make at once, each from its "
                                                                             "own noise."),
            ],
            outputs=[
                io.Conditioning.Output(display_name="positive", tooltip="For ACE Sampler or core's samplers."),
                io.Conditioning.Output(display_name="negative", tooltip="For the same sampler. It differs from positive only "
                                                                      "in the last text."),
                io.Latent.Output(display_name="latent", tooltip="Empty, in the size of the result. To start from a picture "
                                                                "(denoise below 1), connect VAE Encode to the sampler "
                                                                "instead."),
            ],
        )

    @classmethod
    @within_limits
    def execute(cls, tokens, batch_size) -> io.NodeOutput:
        positive, negative = conditioning(tokens)
        return io.NodeOutput(positive, negative, empty_latent(tokens.size, batch_size))
