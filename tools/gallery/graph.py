"""A workflow as a few lines of Python.

    flow = Workflow("Sky", note="What it does …")
    with flow.group("1 · Models"):
        vae = flow.add("VAELoader", vae_name="…")
    with flow.group("2 · Result"):
        flow.add("VAEDecode", samples=latent, vae=vae)

Inputs are given by name: another node's output becomes a link, anything else a widget's value.
"""

from __future__ import annotations

import copy
import json
import math
import re
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .models import Model, by_name

ROOT = Path(__file__).resolve().parents[2]
NODES: dict[str, dict] = json.loads(Path(__file__).with_name("nodes.json").read_text(encoding="utf-8"))
PACK = "comfyui-ace-editor"
PACK_VERSION = re.search(r'^version = "(.+)"', (ROOT / "pyproject.toml").read_text(encoding="utf-8"), re.MULTILINE)[1]
CORE = {"cnr_id": "comfy-core", "ver": "0.30.0"}
OURS = {"cnr_id": PACK, "ver": PACK_VERSION}
SLOT_HEIGHT = 20


class DescriptionError(ValueError):
    """A description that no workflow can be made of."""


@dataclass(frozen=True)
class Output:
    """Slot `slot` of a node. value: what a widget that it feeds shows, if it enters a box."""

    node: Node | Boundary
    slot: int
    type: str
    value: Any = None


@dataclass(eq=False)
class Boundary:
    """Where values enter a subgraph; it stands for ComfyUI's input node."""

    id: int = -10


@dataclass(eq=False)
class Node:
    id: int
    type: str
    title: str | None
    saved: dict  # as the page serializes it, without links
    values: list
    size: list[float]
    incoming: dict[int, Output] = field(default_factory=dict)  # input slot → where it comes from
    pos: tuple[float, float] = (0, 0)

    def __getitem__(self, name: str | int) -> Output:
        """An output by its name or number. Raises DescriptionError."""
        outputs = self.saved["outputs"]
        names = [slot["name"] for slot in outputs]
        if name not in names and not (isinstance(name, int) and name < len(names)):
            raise DescriptionError(f"{self.type} has no output {name!r}; it has {', '.join(names) or 'none'}.")
        slot = name if isinstance(name, int) else names.index(name)
        return Output(self, slot, outputs[slot]["type"])


@dataclass(eq=False)
class Group:
    title: str
    color: str
    below: bool  # under the group before it instead of to its right
    columns: int | None  # at most so many; later stages go under earlier ones
    nodes: list[Node] = field(default_factory=list)
    bounding: tuple[float, float, float, float] = (0, 0, 0, 0)


def grow(slots: list[dict], linked: set[str]) -> None:
    """Behind the last of the slots "values.a", "values.b", … that the page grows, one stays free."""
    for i, slot in enumerate(slots):
        stem, letter = slot["name"][:-1], slot["name"][-1]
        following = stem + chr(ord(letter) + 1)
        if stem.endswith(".") and slot["name"] in linked and all(other["name"] != following for other in slots):
            slots.insert(i + 1, slot | {"label": following[-1], "localized_name": following, "name": following})
            return


class Workflow:
    """Nodes, links and groups; `tools.gallery.layout` places them, `tools.gallery.write` turns them into JSON."""

    def __init__(self, title: str, note: str = ""):
        self.title, self.note = title, note
        self.nodes: list[Node] = []
        self.groups: list[Group] = []
        self.subgraphs: dict[str, Any] = {}
        self.first_id = 1
        self._group: Group | None = None

    @contextmanager
    def group(self, title: str, color: str = "#3f789e", below: bool = False, columns: int | None = None):
        """Nodes added inside belong to this titled frame. below: under the frame before it; columns: at most so many."""
        self._group = Group(title, color, below, columns)
        self.groups.append(self._group)
        yield self._group
        self._group = None

    def add(self, type: str, /, title: str | None = None, size: tuple[float, float] | None = None, **inputs) -> Node:
        """A node. Raises DescriptionError for an unknown type, input, or a missing choice."""
        if type not in NODES:
            raise DescriptionError(f"{type} is not in tools/gallery/nodes.json: start ComfyUI, then "
                                   f"python -m tools.gallery.capture --url ADDRESS {type}")
        return self._place(type, NODES[type], title, size, inputs)

    def add_subgraph(self, subgraph, title: str | None = None, size: tuple[float, float] | None = None, **inputs) -> Node:
        """A box that holds a `Subgraph`."""
        self.subgraphs[subgraph.id] = subgraph
        return self._place(subgraph.id, subgraph.as_node_type(), title, size, inputs)

    def add_graph(self, graph: dict[str, dict], given: dict[str, Output | Node], size: dict[str, tuple] | None = None
                  ) -> dict[str, Node]:
        """Nodes of an API-format graph (ace_model.comfyui.graph), in its order. given: what its links to other ids mean;
        size: of nodes, by id. Returns the nodes by id."""
        placed: dict[str, Node] = {}

        def value(of):
            if not isinstance(of, list):
                return of
            name, slot = of
            source = placed.get(name) or given[name]
            return source[slot] if isinstance(source, Node) else source

        for key, one in graph.items():
            inputs = {name: value(of) for name, of in one["inputs"].items()}
            placed[key] = self.add(one["class_type"], size=(size or {}).get(key), **inputs)
        return placed

    def _place(self, type: str, known: dict, title, size, inputs: dict) -> Node:
        saved = copy.deepcopy({key: known[key] for key in ("inputs", "outputs", "properties")})
        widgets = {widget["name"]: copy.deepcopy(widget["default"]) for widget in known["widgets"]}
        if "control_after_generate" in widgets:
            widgets["control_after_generate"] = "fixed"
        links = {}
        for name, value in inputs.items():
            if isinstance(value, (Output, Node)):
                links[name] = value
                if name in widgets and getattr(value, "value", None) is not None:
                    widgets[name] = value.value
            elif name in widgets:
                widgets[name] = value
            else:
                raise DescriptionError(f"{type} has no input {name}; it has "
                                       f"{', '.join([*widgets, *(slot['name'] for slot in saved['inputs'])])}.")
        grow(saved["inputs"], set(links))
        node = Node(self.first_id + len(self.nodes), type, title, saved, list(widgets.values()), self._size(known, saved, size))
        self._connect(node, links)
        linked = {name for name in links if name in widgets}
        unset = [name for name, value in widgets.items() if value is None and name not in linked]
        if unset:
            raise DescriptionError(f"{type} needs a choice for {', '.join(unset)}.")
        saved["properties"] |= CORE if known["core"] else OURS
        models = [model.entry() for model in map(by_name, widgets.values()) if isinstance(model, Model)]
        if models:
            saved["properties"]["models"] = models
        for key in ("color", "bgcolor"):
            if key in known:
                saved[key] = known[key]
        self.nodes.append(node)
        if self._group:
            self._group.nodes.append(node)
        return node

    def _size(self, known: dict, saved: dict, size) -> list[float]:
        rows = [max(sum("widget" not in slot for slot in slots["inputs"]), len(slots["outputs"])) for slots in (known, saved)]
        smallest = [known["size"][0], known["size"][1] + SLOT_HEIGHT * (rows[1] - rows[0])]
        return [math.ceil(max(have, want)) for have, want in zip(smallest, size or (0, 0), strict=True)]

    def _connect(self, node: Node, links: dict[str, Output | Node]) -> None:
        names = [slot["name"] for slot in node.saved["inputs"]]
        for name, source in links.items():
            if name not in names:
                raise DescriptionError(f"{node.type} has no input {name}; it has {', '.join(names)}.")
            output = source[0] if isinstance(source, Node) else source
            wanted = node.saved["inputs"][names.index(name)]["type"]
            if output.type not in wanted.split(",") and "*" not in (output.type, wanted):
                raise DescriptionError(f"{node.type}.{name} takes {wanted}, not {output.type}.")
            node.incoming[names.index(name)] = output

    @property
    def links(self) -> list[tuple[int, Output, Node, int]]:
        """(link id, from, to, input slot), in the order of the receiving nodes."""
        ends = [(node, slot) for node in self.nodes for slot in sorted(node.incoming)]
        return [(i, node.incoming[slot], node, slot) for i, (node, slot) in enumerate(ends, self.first_id)]
