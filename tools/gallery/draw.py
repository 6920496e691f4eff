"""Pictures of wiring as SVG: a node and its neighbors, drawn like ComfyUI draws them."""

from __future__ import annotations

from html import escape

from .graph import Node, Workflow
from .layout import columns

COLORS = {"MODEL": "#b39ddb", "CLIP": "#ffd500", "VAE": "#ff6e6e", "IMAGE": "#64b5f6", "MASK": "#81c784",
          "LATENT": "#ff9cf9", "CONDITIONING": "#ffa931", "SIGMAS": "#cdffcd", "STRING": "#77ff77", "INT": "#29699c"}
OTHER, ROW, BAR, WIDTH, GAP_X, GAP_Y, EDGE = "#9aa4b2", 20, 28, 190, 44, 20, 10


def neighborhood(flow: Workflow, type: str) -> list[Node]:
    """The first node of a type and those linked to it, in the workflow's order."""
    center = next(node for node in flow.nodes if node.type == type)
    near = {id(center), *(id(output.node) for output in center.incoming.values())}
    near |= {id(target) for _, output, target, _ in flow.links if output.node is center}
    return [node for node in flow.nodes if id(node) in near]


def sockets(node: Node) -> list[int]:
    """Input slots worth drawing: those that are no widgets, and linked widgets."""
    return [i for i, slot in enumerate(node.saved["inputs"]) if "widget" not in slot or i in node.incoming]


def svg(flow: Workflow, type: str, names: dict[str, str]) -> str:
    """The neighborhood of a node type, itself highlighted. names: display names by type."""
    nodes = neighborhood(flow, type)
    inside = {id(node) for node in nodes}
    place, bottom, x = {}, 0, EDGE
    for stack in columns(nodes):
        y = EDGE
        for node in stack:
            rows = max(len(sockets(node)), len(node.saved["outputs"]), 1)
            place[id(node)] = (x, y, BAR + rows * ROW + 10)
            y += BAR + rows * ROW + 10 + GAP_Y
        bottom, x = max(bottom, y - GAP_Y + EDGE), x + WIDTH + GAP_X
    width = x - GAP_X + EDGE
    shapes = [link(place, output, target, slot) for _, output, target, slot in flow.links
              if target is not None and id(output.node) in inside and id(target) in inside]
    shapes += [box(node, place[id(node)], names.get(node.type, node.type), node.type == type) for node in nodes]
    return (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {bottom}" width="{width}" height="{bottom}" '
            f'font-family="sans-serif" font-size="13"><rect width="100%" height="100%" rx="8" fill="#1b1c20"/>'
            f'{"".join(shapes)}</svg>\n')


def box(node: Node, at: tuple[float, float, float], title: str, highlighted: bool) -> str:
    x, y, height = at
    edge = "#f5b301" if highlighted else "#4a4d55"
    parts = [f'<rect x="{x}" y="{y}" width="{WIDTH}" height="{height}" rx="7" fill="#33353b" stroke="{edge}" '
             f'stroke-width="{2 if highlighted else 1}"/>',
             f'<text x="{x + 12}" y="{y + 19}" fill="#f2f2f2" font-weight="bold">{escape(title)}</text>']
    for row, slot in enumerate(sockets(node)):
        slot = node.saved["inputs"][slot]
        parts.append(socket(x, y + BAR + ROW * row + 10, slot["type"], slot.get("label", slot["name"]), "start", 12))
    for row, slot in enumerate(node.saved["outputs"]):
        parts.append(socket(x + WIDTH, y + BAR + ROW * row + 10, slot["type"], slot["name"], "end", -12))
    return "".join(parts)


def socket(x: float, y: float, kind: str, name: str, anchor: str, offset: int) -> str:
    return (f'<circle cx="{x}" cy="{y}" r="5" fill="{COLORS.get(kind, OTHER)}"/>'
            f'<text x="{x + offset}" y="{y + 4}" fill="#d0d3d9" text-anchor="{anchor}">{escape(name)}</text>')


def link(place: dict, output, target: Node, slot: int) -> str:
    x1, y1, _ = place[id(output.node)]
    x2, y2, _ = place[id(target)]
    x1, y1 = x1 + WIDTH, y1 + BAR + ROW * output.slot + 10
    y2 += BAR + ROW * sockets(target).index(slot) + 10
    bend = max(40, (x2 - x1) / 2)
    return (f'<path d="M{x1} {y1} C{x1 + bend} {y1} {x2 - bend} {y2} {x2} {y2}" fill="none" stroke-width="3" '
            f'stroke="{COLORS.get(output.type, OTHER)}" opacity="0.9"/>')
