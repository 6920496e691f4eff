"""What the nodes share: the types of their links, their menu category, repeated tooltips."""

from functools import wraps
from typing import Any, NamedTuple

from comfy_api.latest import io

from ..ace_model.errors import LimitError

CATEGORY = "ACE Editor"

ConditionUnitType = io.Custom("ACE_CONDITION_UNIT")  # ace_model.lcu.ConditionUnit
LongContextUnitType = io.Custom("ACE_LONG_CONTEXT_UNIT")  # ace_model.lcu.LongContextUnit
ConversationType = io.Custom("ACE_CONVERSATION")  # Conversation
TokensType = io.Custom("ACE_TOKENS")  # ace_model.comfyui.conditioning.ConditionTokens


def within_limits(execute):
    """For a node's `execute`: raise LimitError for a number outside its widget's limits. ComfyUI checks only what is typed."""
    @wraps(execute)
    def checked(cls, **values):
        for widget in cls.define_schema().inputs:
            value, number = values.get(widget.id), isinstance(widget, io.Int.Input | io.Float.Input)
            if number and isinstance(value, int | float) and not widget.min <= value <= widget.max:  # NaN fails, too
                raise LimitError(f"{widget.id} is {value}, but must be between {widget.min} and {widget.max}: look at what is "
                                 "connected to it.")
        return execute(cls, **values)
    return checked


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
