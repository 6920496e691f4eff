"""The pack's nodes, in menu order."""

import logging
from pathlib import Path

import folder_paths
from comfy_api.latest import ComfyAPI, ComfyExtension, io

from ..ace_model.comfyui import register
from ..starters import pictures
from .check import CheckModelNode
from .conversation import (
    ConversationAnswerNode,
    ConversationBranchNode,
    ConversationNode,
    ConversationTurnsNode,
    RecordPictureNode,
)
from .encode import ConditionTokenizerNode, ImageIndicatorNode
from .engine import MakePairsNode, PairPicturesNode
from .inspect import InspectorNode
from .instruction import InstructionNode
from .load import LoadModelNode, LoadTextEncoderNode
from .masks import CropAroundMaskNode, KeepUntouchedNode, PadForOutpaintingNode
from .plus import PlusCanvasNode, PlusConditioningNode, PlusCropNode, PlusTextEncodeNode
from .sample import ContextReuseNode, GuidanceNode, SamplerNode, SchedulerNode
from .training import TrainingExamplesNode
from .turn import ConditionUnitNode, LongContextUnitNode, PackConversationNode, UnpackConversationNode

NODES = [
    LoadModelNode,
    LoadTextEncoderNode,
    InstructionNode,
    ConditionUnitNode,
    LongContextUnitNode,
    PackConversationNode,
    UnpackConversationNode,
    ConditionTokenizerNode,
    ImageIndicatorNode,
    SamplerNode,
    GuidanceNode,
    SchedulerNode,
    ContextReuseNode,
    PadForOutpaintingNode,
    CropAroundMaskNode,
    KeepUntouchedNode,
    PlusCanvasNode,
    PlusConditioningNode,
    PlusCropNode,
    PlusTextEncodeNode,
    ConversationNode,
    ConversationTurnsNode,
    ConversationAnswerNode,
    ConversationBranchNode,
    RecordPictureNode,
    InspectorNode,
    CheckModelNode,
    TrainingExamplesNode,
    PairPicturesNode,
    MakePairsNode,
]


def same(*names: str) -> list[dict[str, str]]:
    """Inputs that kept their names."""
    return [{"new_id": name, "old_id": name} for name in names]


def outputs(number: int) -> list[dict[str, int]]:
    """Outputs that kept their places. Without them the page forgets where they lead."""
    return [{"new_idx": i, "old_idx": i} for i in range(number)]


# Nodes that were renamed: workflows saved with the old ones open with the new ones. CHANGELOG.md lists them.
ROOM = ("left", "top", "right", "bottom", "token_budget", "shrink_to_fit")
REPLACEMENTS = [
    io.NodeReplace("ACEEditorPadForOutpainting", "ACEEditorOutpaintCanvas", list(ROOM), same("image", *ROOM),
                   outputs(2)),
    io.NodeReplace("ACEEditorImageIndicatorEmbedding", "ACEEditorImageIndicator", ["batch_size"],
                   same("tokens", "batch_size"), outputs(3)),
]


class ACEEditorExtension(ComfyExtension):
    async def on_load(self):
        register()
        folder = Path(folder_paths.get_input_directory())
        try:
            pictures.install(folder)
        except OSError as error:
            logging.warning("ACE's example pictures cannot be written to %s (%s): templates open without them.", folder, error)
        for replacement in REPLACEMENTS:
            await ComfyAPI().node_replacement.register(replacement)

    async def get_node_list(self):
        return NODES


async def comfy_entrypoint() -> ACEEditorExtension:
    return ACEEditorExtension()
