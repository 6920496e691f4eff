"""Places a workflow's nodes left to right by data flow: groups side by side, columns inside a group, nodes in a column."""

from __future__ import annotations

from .graph import Group, Node, Workflow

TITLE = 30  # a node's title bar is drawn above its position
GAP_X, GAP_Y = 60, 56  # nodes are taller in ComfyUI's other drawing, Nodes 2.0
PADDING = 20  # between a group's frame and its nodes
HEADER = 44  # a group's title
GROUP_GAP = 50
COLUMNS = 3  # and one more, so that the page opens a workflow at a zoom at which one can read it
TALLEST = 900  # a column that is no higher with the note below it takes the note; else that stands on the left


def arrange(flow: Workflow) -> None:
    """Give every node a position and every group its frame. Nodes outside groups stand left of them."""
    grouped = {id(node) for group in flow.groups for node in group.nodes}
    loose = [node for node in flow.nodes if id(node) not in grouped]
    x = y = widest = 0
    if loose:
        notes = [node for node in loose if node.type == "MarkdownNote"]
        stacks = columns([node for node in loose if node not in notes])
        if COLUMNS <= len(stacks) <= COLUMNS + 1 and height_of([*stacks[0], *notes]) <= TALLEST:
            stacks[0] += notes
        else:
            stacks = [*([notes] if notes else []), *folded(stacks, COLUMNS)]
        widest, _ = place_columns(stacks, x, HEADER)
    for group in flow.groups:
        if not group.below:
            x, y, widest = x + (widest + GROUP_GAP if widest else 0), 0, 0
        width, height = place_group(group, x, y)
        y, widest = y + height + GROUP_GAP, max(widest, width)


def place_group(group: Group, x: float, y: float) -> tuple[float, float]:
    """Place the group with its top left corner at (x, y); return its width and height in pixels."""
    width, height = place_columns(folded(columns(group.nodes), group.columns), x + PADDING, y + HEADER)
    size = width + 2 * PADDING, height + HEADER + PADDING
    group.bounding = (x, y, *size)
    return size


def place_columns(stacks: list[list[Node]], x: float, y: float) -> tuple[float, float]:
    """Place stacks of nodes from (x, y) on; return the width and height they take, title bars included."""
    left = x
    for stack in stacks:
        top = y
        for node in stack:
            node.pos = (left, top + TITLE)
            top += TITLE + node.size[1] + GAP_Y
        left += max(node.size[0] for node in stack) + GAP_X
    return left - GAP_X - x, max(map(height_of, stacks), default=0)


def height_of(stack: list[Node]) -> float:
    """Of nodes on top of each other, title bars included."""
    return sum(TITLE + node.size[1] + GAP_Y for node in stack) - GAP_Y


def folded(stacks: list[list[Node]], most: int | None) -> list[list[Node]]:
    """At most `most` stacks: neighbours are put on top of each other, as evenly as their number allows."""
    if most is None or len(stacks) <= most:
        return stacks
    out: list[list[Node]] = [[] for _ in range(most)]
    for i, stack in enumerate(stacks):
        out[i * most // len(stacks)] += stack
    return out


def columns(nodes: list[Node]) -> list[list[Node]]:
    """Nodes by the longest way to them inside the set: sources first. The saved result stands last; several stand below what
    they save."""
    inside = {id(node) for node in nodes}
    depth: dict[int, int] = {}

    def deep(node: Node) -> int:
        if id(node) not in depth:
            before = [output.node for output in node.incoming.values() if id(output.node) in inside]
            depth[id(node)] = max((deep(source) + 1 for source in before), default=0)
        return depth[id(node)]

    stacks: dict[int, list[Node]] = {}
    saved = [node for node in nodes if node.type == "SaveImage"]
    columns_of_saved = {id(node): deep(node) - 1 if len(saved) > 1 else max(map(deep, nodes)) for node in saved}
    for node in nodes:
        stacks.setdefault(columns_of_saved.get(id(node), deep(node)), []).append(node)
    return [stacks[level] for level in sorted(stacks)]
