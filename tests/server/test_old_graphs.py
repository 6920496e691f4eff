"""API-format graphs with the ids that nodes had before they were renamed still run, with the same result."""

import copy

import graphs
import torch

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
