"""A good phrasing for every task."""

from comfy_api.latest import io, ui

from ..starters.phrasings import PHRASINGS, TASKS, phrase
from .types import CATEGORY

MOST = max(len(choices) for subtasks in PHRASINGS.values() for choices in subtasks.values())


class InstructionNode(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="ACEEditorInstruction",
            display_name="ACE Instruction",
            category=CATEGORY,
            description="Writes the instruction for a task: choose the task, fill in what is meant. The text is shown on the "
                        "node after a run.",
            search_aliases=["ACE prompt template", "ACE task", "instruction template", "phrasing"],
            inputs=[
                io.Combo.Input("task", options=list(TASKS), tooltip="What kind of work, and which."),
                io.Int.Input("phrasing", default=1, min=1, max=MOST,
                             tooltip="Which of the task's phrasings. If one does not help, another often does."),
                io.String.Input("what", default="", dynamic_prompts=False,
                                tooltip="Fills [what] of the phrasing: the thing spoken of, or the words to write."),
                io.String.Input("how", default="", dynamic_prompts=False,
                                tooltip="Fills [how] of the phrasing, if it has that gap: what it should become or do."),
            ],
            outputs=[io.String.Output(display_name="instruction", tooltip="For the instruction of ACE Condition Unit.")],
        )

    @classmethod
    def execute(cls, task, phrasing, what, how) -> io.NodeOutput:
        text = phrase(task, phrasing, what, how)
        return io.NodeOutput(text, ui=ui.PreviewText(text))
