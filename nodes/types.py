"""What the nodes share: the types of their links, their menu category, repeated tooltips."""

from comfy_api.latest import io

CATEGORY = "ACE Editor"

ConditionUnitType = io.Custom("ACE_CONDITION_UNIT")  # ace_model.lcu.ConditionUnit
LongContextUnitType = io.Custom("ACE_LONG_CONTEXT_UNIT")  # ace_model.lcu.LongContextUnit
TokensType = io.Custom("ACE_TOKENS")  # ace_model.comfyui.conditioning.ConditionTokens

BUDGET_TOOLTIP = ("The most tokens (16×16 pixels) one picture may have; larger pictures are shrunk. 0: the model's own budget, "
                  "which is 1024 for the 512px model and 4096 for the 1024px model.")
MODEL_TOOLTIP = "Only tells the node what token_budget 0 stands for. Not connected: the 512px model's budget."
