"""What the nodes share: the types of their links, their menu category, repeated tooltips."""

from typing import Any, NamedTuple

from comfy_api.latest import io

CATEGORY = "ACE Editor"

ConditionUnitType = io.Custom("ACE_CONDITION_UNIT")  # ace_model.lcu.ConditionUnit
LongContextUnitType = io.Custom("ACE_LONG_CONTEXT_UNIT")  # ace_model.lcu.LongContextUnit
ConversationType = io.Custom("ACE_CONVERSATION")  # Conversation
TokensType = io.Custom("ACE_TOKENS")  # ace_model.comfyui.conditioning.ConditionTokens


class Conversation(NamedTuple):
    """What the next turn needs, on one wire: the answer (B, H, W, C), the turns so far, and the models that made it."""

    image: Any
    lcu: Any
    model: Any
    clip: Any
    vae: Any


BUDGET_TOOLTIP = ("The most tokens (16×16 pixels) one picture may have; larger pictures are shrunk. 0: the model's own budget, "
                  "which is 1024 for the 512px model and 4096 for the 1024px model.")
MODEL_TOOLTIP = "Only tells the node what token_budget 0 stands for. Not connected: the 512px model's budget."
