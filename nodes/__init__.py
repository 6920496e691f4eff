"""The pack's nodes, in menu order."""

from comfy_api.latest import ComfyExtension

from .condition import ConditionUnitNode, LongContextUnitNode
from .load import LoadModelNode, LoadTextEncoderNode
from .sample import GuidanceNode, SamplerNode, SchedulerNode
from .tokenize import ConditionTokenizerNode, ImageIndicatorNode

NODES = [
    LoadModelNode,
    LoadTextEncoderNode,
    ConditionUnitNode,
    LongContextUnitNode,
    ConditionTokenizerNode,
    ImageIndicatorNode,
    SamplerNode,
    GuidanceNode,
    SchedulerNode,
]


class ACEEditorExtension(ComfyExtension):
    async def get_node_list(self):
        return NODES


async def comfy_entrypoint() -> ACEEditorExtension:
    return ACEEditorExtension()
