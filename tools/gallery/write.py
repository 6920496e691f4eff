"""Workflows → the JSON that ComfyUI's page writes (format 0.4)."""

from __future__ import annotations

import json
import uuid
from pathlib import Path

from ..files import replace_file
from .graph import Node, Workflow
from .layout import arrange

NAMESPACE = uuid.UUID("1b0f5cf2-6f0d-5a0e-9d57-3f1a52a6ce10")
FORMAT = 0.4


def workflow_json(flow: Workflow) -> dict:
    """A whole workflow in UI format."""
    arrange(flow)
    graphs = [flow, *flow.subgraphs.values()]
    out = {
        "id": str(uuid.uuid5(NAMESPACE, flow.title)),
        "revision": 0,
        "last_node_id": max(node.id for graph in graphs for node in graph.nodes),  # ids count over boxes too
        "last_link_id": max((link for graph in graphs for link, *_ in graph.links), default=0),
        "nodes": nodes_json(flow),
        "links": [[i, output.node.id, output.slot, node.id, slot, output.type] for i, output, node, slot in flow.links],
        "groups": groups_json(flow),
        "config": {},
        "extra": {},
        "version": FORMAT,
    }
    if flow.subgraphs:
        last = {"lastGroupId": max(len(graph.groups) for graph in graphs), "lastLinkId": out["last_link_id"],
                "lastNodeId": max(node.id for subgraph in flow.subgraphs.values() for node in subgraph.nodes)}
        out["definitions"] = {"subgraphs": [subgraph.definition(last) for subgraph in flow.subgraphs.values()]}
    return out


def nodes_json(flow: Workflow) -> list[dict]:
    """Every node as the page serializes it: links filled in, slots numbered, in execution order."""
    order = {id(node): i for i, node in enumerate(execution_order(flow))}
    return [node_json(flow, node, order[id(node)]) for node in flow.nodes]


def node_json(flow: Workflow, node: Node, order: int) -> dict:
    into = {slot: i for i, _, target, slot in flow.links if target is node}
    out_of: dict[int, list[int]] = {}
    for i, output, _, _ in flow.links:
        if output.node is node:
            out_of.setdefault(output.slot, []).append(i)
    saved = node.saved
    out = {
        "id": node.id,
        "type": node.type,
        "pos": [round(v, 2) for v in node.pos],
        "size": [round(v, 2) for v in node.size],
        "flags": {},
        "order": order,
        "mode": 0,
        "inputs": [slot | {"link": into.get(i)} for i, slot in enumerate(saved["inputs"])],
        "outputs": [slot | {"links": out_of.get(i)} for i, slot in enumerate(saved["outputs"])],
    }
    if node.title:
        out["title"] = node.title
    out |= {"properties": saved["properties"], "widgets_values": node.values}
    return out | {key: saved[key] for key in ("color", "bgcolor") if key in saved}


def execution_order(flow: Workflow) -> list[Node]:
    """Sources first, each node as soon as its last input is ready; what waits for a box's entrance comes last. The page numbers
    nodes in this order."""
    waiting = {id(node): len(node.incoming) for node in flow.nodes}
    ready = [node for node in flow.nodes if not waiting[id(node)]]
    order = []
    while ready:
        node = ready.pop(0)
        order.append(node)
        for slot in range(len(node.saved["outputs"])):
            for _, output, target, _ in flow.links:
                if output.node is node and output.slot == slot and target:
                    waiting[id(target)] -= 1
                    if not waiting[id(target)]:
                        ready.append(target)
    return order + [node for node in flow.nodes if node not in order]


def groups_json(flow: Workflow) -> list[dict]:
    return [{"id": i, "title": group.title, "bounding": [round(v, 2) for v in group.bounding], "color": group.color,
             "flags": {}} for i, group in enumerate(flow.groups, 1)]


def dump(content: dict) -> str:
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"


def save(content: dict, path: Path) -> None:
    replace_file(path, lambda temporary: temporary.write_text(dump(content), encoding="utf-8"))
