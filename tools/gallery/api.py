"""Workflows → the API format that ComfyUI executes: boxes unpacked, notes left out, widgets by name.

The browser tests compare it with what ComfyUI's own page submits.
"""

from __future__ import annotations

from typing import Any

from .graph import NODES, Boundary, Node, Output, Workflow
from .subgraph import Subgraph

NOTES = {"MarkdownNote", "Note"}
ONLY_ON_SCREEN = {"control_after_generate", "upload"}


def api_graph(flow: Workflow, prefix: str = "", given: dict[str, Any] | None = None, into: dict | None = None) -> dict:
    """{node id: {"class_type", "inputs"}}; nodes inside boxes have ids such as "7:101".

    prefix, given: for a box's inside, its id and what its inputs receive.
    """
    graph = {} if into is None else into
    for node in flow.nodes:
        if node.type in flow.subgraphs:
            inner = flow.subgraphs[node.type]
            api_graph(inner, f"{prefix}{node.id}:", inputs_of(flow, node, inner.as_node_type(), prefix, given), graph)
        elif node.type not in NOTES:
            inputs = inputs_of(flow, node, NODES[node.type], prefix, given)
            graph[f"{prefix}{node.id}"] = {"class_type": node.type, "inputs": inputs}
    return graph


def inputs_of(flow: Workflow, node: Node, known: dict, prefix: str, given: dict[str, Any] | None) -> dict[str, Any]:
    """Values and links of a node's inputs by name."""
    names = [widget["name"] for widget in known["widgets"]]
    inputs = {name: value for name, value in zip(names, node.values, strict=True) if name not in ONLY_ON_SCREEN}
    for slot, output in node.incoming.items():
        name = node.saved["inputs"][slot]["name"]
        value = source(flow, output, prefix, given)
        if value is None:
            inputs.pop(name, None)
        else:
            inputs[name] = value
    return inputs


def source(flow: Workflow, output: Output, prefix: str, given: dict[str, Any] | None):
    """[node id, slot], or the value that a box passes in, or None if nothing is connected there."""
    if isinstance(output.node, Boundary):
        return (given or {}).get(flow.takes[output.slot]["name"])
    inner = flow.subgraphs.get(output.node.type)
    if isinstance(inner, Subgraph):
        return source(inner, inner.gives[output.slot][1], f"{prefix}{output.node.id}:", None)
    return [f"{prefix}{output.node.id}", output.slot]
