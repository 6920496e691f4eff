"""What the pack's nodes share: the types that travel between them, their menu category, words that occur twice."""

from comfy_api.latest import io

CATEGORY = "ACE Editor"

ConditionUnitType = io.Custom("ACE_CONDITION_UNIT")  # ace_model.lcu.ConditionUnit
LongContextUnitType = io.Custom("ACE_LONG_CONTEXT_UNIT")  # ace_model.lcu.LongContextUnit
TokensType = io.Custom("ACE_TOKENS")  # ace_model.comfyui.conditioning.ConditionTokens

BUDGET_TOOLTIP = ("Most tokens (16×16 pixels) of one picture; larger ones are shrunk. 0 takes the model's own: 1024 for the "
                  "512px model, 4096 for the 1024px model.")
MODEL_TOOLTIP = ("Tells which model's token budget 0 stands for; nothing else of it is used. Not connected: the 512px model's.")
