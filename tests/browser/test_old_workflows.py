"""Workflows saved before nodes were renamed: ComfyUI's page offers to swap the nodes, and nothing is lost."""

import json
from pathlib import Path

import pytest

from tools.comfy_server import PromptError

OLD = Path(__file__).with_name("old")
PAD, INDICATOR, SAMPLER, KEEP = "6", "10", "11", "13"  # node ids in outpainting.json


def read(name: str) -> dict:
    return json.loads((OLD / name).read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def swapped(session):
    """The page with the old outpainting workflow, its nodes swapped as a user does it; what the page said before."""
    session.load(read("outpainting.json"))
    before = session.complaints()
    session.see_errors()
    session.tab.get_by_role("button", name="Replace All").click()
    session.tab.wait_for_function("() => app.graph._nodes.every(node => !node.has_errors)")
    return before


def test_old_nodes_are_named(swapped):
    assert {"node ACEEditorOutpaintCanvas", "node ACEEditorImageIndicator"} <= set(swapped)


def test_swapped_nodes_keep_values_and_links(page, swapped):
    assert page.complaints() == []
    graph = page.prompt()
    assert graph[PAD]["class_type"] == "ACEEditorPadForOutpainting"
    assert graph[PAD]["inputs"] == {"image": ["5", 0], "left": 0.5, "top": 0.0, "right": 0.1, "bottom": 0.2,
                                    "token_budget": 512, "shrink_to_fit": True}
    assert graph[INDICATOR]["class_type"] == "ACEEditorImageIndicatorEmbedding"
    assert graph[INDICATOR]["inputs"] == {"tokens": ["9", 0], "batch_size": 2}
    taken = graph[SAMPLER]["inputs"]
    assert [taken[name] for name in ("positive", "negative", "latent")] == [[INDICATOR, slot] for slot in range(3)]
    assert (taken["reuse_context"], taken["sampler"]) == (1, "euler"), "what it was saved without"
    kept = graph[KEEP]["inputs"]
    assert (kept["original"], kept["mask"], kept["feather"], kept["grow"]) == ([PAD, 0], [PAD, 1], 5, 8)
    assert {(PAD, 0), (PAD, 1)} <= {tuple(value) for value in graph["7"]["inputs"].values() if isinstance(value, list)}


def test_swapped_nodes_know_where_their_outputs_lead(page, swapped):
    saved = {str(node["id"]): node for node in page.serialized()["nodes"]}
    assert all(slot["links"] for key in (PAD, INDICATOR) for slot in saved[key]["outputs"])


def test_swapped_workflow_runs_and_opens_again(page, server, swapped):
    graph = page.prompt()
    assert server.run(graph)["14"]["images"]
    page.load(page.serialized())
    assert page.complaints() == [] and page.prompt() == graph
    assert page.errors == []


def test_old_crop_result_opens_and_says_what_to_do(page, server):
    page.load(read("try_on.json"))
    assert page.complaints() == []
    with pytest.raises(PromptError, match="original and mask moved from .* to ACE Keep Untouched") as caught:
        server.run(page.prompt())
    assert caught.value.node_type == "ACEEditorPlusCropResult"
