"""A box made of nodes: ComfyUI's subgraph, as a part of a workflow or as a blueprint in the node library."""

from __future__ import annotations

import uuid
from collections.abc import Sequence

from .graph import NODES, Boundary, Node, Output, Workflow
from .layout import arrange
from .write import NAMESPACE, groups_json, nodes_json, workflow_json

SIDE = 160  # pixels between the inner nodes and the boxes where values enter and leave


class Subgraph(Workflow):
    """Describe the inside as a workflow; `take` makes an input, `give` an output.

    An input that feeds a widget shows that widget on the box; its value there starts as the inner node's.
    """

    def __init__(self, title: str, number: int, description: str = "", aliases: Sequence[str] = (),
                 category: str = "ACE Editor"):
        """number: from 1, no two boxes of the pack share it: ids of nodes and links inside count from number · 100 on, for a
        page renumbers what occurs twice in a workflow. aliases: more words to find the box by."""
        super().__init__(title)
        self.id = str(uuid.uuid5(NAMESPACE, f"subgraph {title}"))
        self.description, self.aliases, self.category = description, list(aliases), category
        self.first_id = number * 100 + 1
        self.takes: list[dict] = []
        self.gives: list[tuple[str, Output]] = []
        self.entrance = Boundary()

    def take(self, name: str, type: str, value=None) -> Output:
        """value: what the widget that it feeds starts with; None: the inner node's own default."""
        self.takes.append({"name": name, "type": type})
        return Output(self.entrance, len(self.takes) - 1, type, value)

    def give(self, name: str, output: Output | Node) -> None:
        self.gives.append((name, output[0] if isinstance(output, Node) else output))

    @property
    def links(self):
        inner = super().links
        return inner + [(self.first_id + len(inner) + i, output, None, i) for i, (_, output) in enumerate(self.gives)]

    def targets(self, number: int) -> list[tuple[Node, dict]]:
        """What input `number` feeds: (inner node, its input slot)."""
        return [(node, node.saved["inputs"][slot]) for _, output, node, slot in self.links
                if output.node is self.entrance and output.slot == number]

    def widget_value(self, number: int):
        """(inner node, widget name, its value) of the first widget that input `number` feeds, or None."""
        for node, slot in self.targets(number):
            if "widget" in slot:
                names = [widget["name"] for widget in NODES[node.type]["widgets"]]
                return node, slot["widget"]["name"], node.values[names.index(slot["widget"]["name"])]
        return None

    def shape(self, number: int) -> dict:
        """How the page draws input `number`: with the shape of optional slots, if it feeds no others."""
        slots = [slot for _, slot in self.targets(number)]
        return {"shape": slots[0]["shape"]} if all("shape" in slot and "widget" not in slot for slot in slots) else {}

    def as_node_type(self) -> dict:
        """The box, in the form of an entry of nodes.json."""
        inputs, widgets = [], []
        for number, take in enumerate(self.takes):
            slot = {"localized_name": take["name"], "name": take["name"], "type": take["type"], "link": None}
            if found := self.widget_value(number):
                slot["widget"] = {"name": take["name"]}
                widgets.append({"name": take["name"], "default": found[2]})
            else:
                slot |= self.shape(number)
            inputs.append(slot)
        outputs = [{"localized_name": name, "name": name, "type": output.type, "links": None}
                   for name, output in self.gives]
        return {"inputs": inputs, "outputs": outputs, "widgets": widgets, "core": False,
                "properties": {"previewExposures": []}, "size": [400, 120 + 20 * len(inputs)]}

    def definition(self, last: dict[str, int]) -> dict:
        """The inside, for a workflow's `definitions.subgraphs`; last: the highest ids of the whole workflow."""
        arrange(self)
        nodes = nodes_json(self)
        right = max(node.pos[0] + node.size[0] for node in self.nodes)
        links = self.links
        return {
            "id": self.id, "version": 1, "revision": 0, "name": self.title,
            "state": {**last, "lastRerouteId": 0},
            "config": {}, "extra": {}, "widgets": [], "description": self.description,
            "inputNode": {"id": -10, "bounding": [-SIDE - 120, 0, 120, 40 + 20 * len(self.takes)]},
            "outputNode": {"id": -20, "bounding": [right + SIDE, 0, 120, 40 + 20 * len(self.gives)]},
            "inputs": [self._end(take["name"], take["type"], i, [-SIDE - 20, 20 + 20 * i], [
                link for link, output, _, _ in links if output.node is self.entrance and output.slot == i])
                | self.shape(i) for i, take in enumerate(self.takes)],
            "outputs": [self._end(name, output.type, i, [right + SIDE + 20, 20 + 20 * i], [
                link for link, _, target, slot in links if target is None and slot == i])
                for i, (name, output) in enumerate(self.gives)],
            "nodes": nodes, "groups": groups_json(self),
            "links": [{"id": link, "origin_id": output.node.id, "origin_slot": output.slot,
                       "target_id": target.id if target else -20, "target_slot": slot, "type": output.type}
                      for link, output, target, slot in links],
        }

    def _end(self, name: str, type: str, number: int, pos: list[float], links: list[int]) -> dict:
        return {"id": str(uuid.uuid5(NAMESPACE, f"{self.title} {name} {number}")), "name": name, "type": type,
                "linkIds": links, "localized_name": name, "pos": pos}


def blueprint(subgraph: Subgraph) -> dict:
    """The box alone, as ComfyUI's node library reads it from subgraphs/."""
    flow = Workflow(subgraph.title)
    flow.add_subgraph(subgraph)
    content = workflow_json(flow)
    content["definitions"]["subgraphs"][0]["category"] = subgraph.category
    content["extra"] |= {"BlueprintDescription": subgraph.description, "BlueprintSearchAliases": subgraph.aliases}
    return content
