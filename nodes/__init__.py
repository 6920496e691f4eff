"""The pack's nodes, in menu order."""

from comfy_api.latest import ComfyExtension

from .canvas import CropAroundMaskNode, KeepUntouchedNode, OutpaintCanvasNode
from .condition import ConditionUnitNode, LongContextUnitNode
from .example import ExampleImageNode
from .instruction import InstructionNode
from .load import LoadModelNode, LoadTextEncoderNode
from .plus import PlusCanvasNode, PlusConditioningNode, PlusCropNode
from .sample import GuidanceNode, SamplerNode, SchedulerNode
from .tokenize import ConditionTokenizerNode, ImageIndicatorNode

NODES = [
    LoadModelNode,
    LoadTextEncoderNode,
    ExampleImageNode,
    InstructionNode,
    ConditionUnitNode,
    LongContextUnitNode,
    ConditionTokenizerNode,
    ImageIndicatorNode,
    SamplerNode,
    GuidanceNode,
    SchedulerNode,
    OutpaintCanvasNode,
    CropAroundMaskNode,
    KeepUntouchedNode,
    PlusCanvasNode,
    PlusConditioningNode,
    PlusCropNode,
]


class ACEEditorExtension(ComfyExtension):
    async def get_node_list(self):
        return NODES


async def comfy_entrypoint() -> ACEEditorExtension:
    return ACEEditorExtension()
