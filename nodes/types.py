"""Types that travel between the pack's nodes."""

from comfy_api.latest import io

CATEGORY = "ACE Editor"

ConditionUnitType = io.Custom("ACE_CONDITION_UNIT")  # ace_model.lcu.ConditionUnit
LongContextUnitType = io.Custom("ACE_LONG_CONTEXT_UNIT")  # ace_model.lcu.LongContextUnit
TokensType = io.Custom("ACE_TOKENS")  # ace_model.comfyui.conditioning.ConditionTokens
