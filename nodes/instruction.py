"""Ready-made instructions for every task."""

from comfy_api.latest import io, ui

from ..starters.phrasings import PHRASINGS, TASKS, PhrasingError, phrase, phrasings
from .types import CATEGORY

MOST = max(len(choices) for subtasks in PHRASINGS.values() for choices in subtasks.values())


class InstructionNode(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="ACEEditorInstruction",
            display_name="ACE Instruction",
            category=CATEGORY,
            description="Writes an instruction for you: pick a task and fill in the blanks. After a run the node shows the "
                        "text.",
            search_aliases=["ACE prompt template", "ACE task", "instruction template", "phrasing"],
            inputs=[
                io.Combo.Input("task", options=list(TASKS),
                               tooltip="The kind of work, then the task. (mask): connect a mask too. (experimental): no "
                                       "published example shows that ACE learned it."),
                io.Int.Input("phrasing", default=1, min=1, max=MOST,
                             tooltip="Which of the task's phrasings to use. If one does not work, try another."),
                io.String.Input("what", default="", dynamic_prompts=False,
                                tooltip="Fills the blank [what]: the subject, a caption of the picture you want, or the text "
                                        "to write."),
                io.String.Input("how", default="", dynamic_prompts=False,
                                tooltip="Fills the blank [how], if the phrasing has one: what it should become or do."),
            ],
            outputs=[io.String.Output(display_name="instruction", tooltip="Connect it to instruction of ACE Condition Unit.")],
        )

    @classmethod
    def validate_inputs(cls, task=None):
        """Instead of ComfyUI's own check of the list: names from before are good, too."""
        try:
            phrasings(TASKS[0] if task is None else str(task))  # None: it comes over a link, which execute follows
        except PhrasingError as error:
            return str(error)
        return True

    @classmethod
    def execute(cls, task, phrasing, what, how) -> io.NodeOutput:
        text = phrase(task, phrasing, what, how)
        return io.NodeOutput(text, ui=ui.PreviewText(text))
