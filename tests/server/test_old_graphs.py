"""API-format graphs with the ids that nodes had before they were renamed still run, with the same result."""

import copy

import graphs
import pytest
import torch

from tools.comfy_server import PromptError

OLD_IDS = {"ACEEditorImageIndicatorEmbedding": "ACEEditorImageIndicator",
           "ACEEditorPadForOutpainting": "ACEEditorOutpaintCanvas"}


def aged(graph: dict) -> dict:
    """The graph as it was written before: old ids, the second text encoder wire, and _meta, which ComfyUI needs to swap."""
    out = copy.deepcopy(graph)
    for node in out.values():
        kind = node["class_type"]
        node["class_type"] = OLD_IDS.get(kind, kind)
        if kind == "ACEEditorImageIndicatorEmbedding":
            node["inputs"]["clip"] = ["clip", 0]
        node["_meta"] = {"title": kind}
    return out


def outpainting() -> dict:
    """The whole request on a picture with room around it."""
    room = {"left": 0.5, "top": 0.0, "right": 0.25, "bottom": 0.0, "token_budget": 64, "shrink_to_fit": True}
    graph = graphs.edit()
    pad = {"class_type": "ACEEditorPadForOutpainting", "inputs": {"image": ["load a.png", 0], **room}}
    for inputs in (node["inputs"] for node in graph.values()):
        inputs |= {name: ["pad", 0] for name, value in inputs.items() if value == ["load a.png", 0]}
    return {**graph, "pad": pad}


def test_old_ids_run_with_the_same_result(run):
    assert torch.equal(run(aged(outpainting())), run(outpainting()))


OLD_TASKS = {  # as the list named them before → what they write today with every gap filled
    "Semantic editing: colour": "change the color of the sky in {image} to dark red",
    "Controllable generation: colourise": 'turn the grayscale {image} into a colorful image in accordance with the caption '
                                          '"the sky"',
    "Semantic editing: lighting": "show {image} in the light of the sky",
    "Layer editing: split layers, subject": "cut out the sky from {image} and put it on a plain white background",
    "Conversation: undo a part": "bring back the sky in {image} as it was in {previous.image}"}


def asked(task: str) -> dict:
    gaps = {"what": "the sky", "how": "dark red"}
    return {"text": {"class_type": "ACEEditorInstruction", "inputs": {"task": task, "phrasing": 1, **gaps}},
            "show": {"class_type": "PreviewAny", "inputs": {"source": ["text", 0]}}}


@pytest.mark.parametrize("task", OLD_TASKS)
def test_tasks_of_before_write_the_instructions_of_today(server, task):
    assert server.run(asked(task))["show"]["text"] == [OLD_TASKS[task]]


def test_a_task_that_never_was_is_refused_before_the_run(server):
    with pytest.raises(PromptError, match="task.*there is no task “Semantic editing: mood”: choose one of Semantic editing: "
                                          "expression") as caught:
        server.run(asked("Semantic editing: mood"))
    assert caught.value.node_id == "text"
