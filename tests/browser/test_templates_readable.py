"""Every template can be read as it opens, in both frontends and both ways of drawing nodes. Slots keep their names in them."""

import json
import re
from itertools import combinations

import pytest

from starters.pictures import file_of
from tools.comfy_server import PromptError
from tools.gallery.api import api_graph
from tools.gallery.build import workflows
from tools.gallery.descriptions.boxes import BOXES
from tools.gallery.graph import PACK
from tools.gallery.help import definitions

FLOWS = {title: describe(title) for title, describe in workflows().items()}
SHOWS_ALL = "ACE Step by step"  # for those who study the graph
BY_HAND = {False: ("ACE Start here", "ACE Outpaint", "ACE++ Try-on"), True: ("ACE Reference",)}
SMALLEST_ZOOM, MOST_NODES = 0.6, 7  # below 0.57 ComfyUI leaves out text
OURS = re.compile("|".join(map(re.escape, (PACK, "ACEEditor", "duplicate subgraph link ID", *(box.title for box in BOXES),
                                           *(about["display_name"] for about in definitions("en").values())))), re.IGNORECASE)

PICTURES_SHOWN = """() => LiteGraph.vueNodesMode
    ? [...document.querySelectorAll('[data-node-id] img')].every(image => image.complete)
    : app.graph._nodes.filter(node => node.type === 'LoadImage').every(node => node.imgs?.[0]?.complete)"""


@pytest.mark.parametrize("nodes_2", [False, True], ids=["classic", "Nodes 2.0"])
def test_templates_are_readable(frontends, nodes_2):
    page, _ = frontends
    page.nodes_2(nodes_2)
    by_hand = {title: opened_by_hand(page, title) for title in BY_HAND[nodes_2]}
    wrong, zooms = {}, {}
    for title in FLOWS:
        page.errors.clear()
        page.warnings.clear()
        page.load(page.template(title))
        zooms[title] = zoom(page)
        page.tab.wait_for_function(PICTURES_SHOWN)  # nodes may grow with them
        page.settle()
        if found := faults(page, title, zooms[title]):
            wrong[title] = found
    low, high = (f"{pick(zooms.values()):.3f} ({pick(zooms, key=zooms.get)})" for pick in (min, max))
    print(f"zoom from {low} to {high}")
    assert {title: zooms[title] for title in by_hand} == pytest.approx(by_hand, rel=0.001)
    assert wrong == {}, json.dumps(wrong, indent=1)


def zoom(page) -> float:
    return page.tab.evaluate("() => app.canvas.ds.scale")


def opened_by_hand(page, title: str) -> float:
    """The zoom at which the template dialog shows a template."""
    page.open_template(title)
    page.tab.wait_for_timeout(300)
    return zoom(page)


def faults(page, title: str, seen: float) -> list[str]:
    """What is wrong with the template that is open."""
    frames = page.frames()
    found = [f"zoom {seen:.3f}"] * (seen < SMALLEST_ZOOM)
    found += [f"{len(frames)} nodes"] * (len(frames) > MOST_NODES and title != SHOWS_ALL)
    found += [f"{a} covers {b}" for a, b in combinations(frames, 2) if overlap(frames[a], frames[b])]
    found += [f"error: {text[:200]}" for text in page.errors]
    found += [f"warning: {text[:200]}" for text in page.warnings if OURS.search(text)]
    submitted = {key: {"class_type": node["class_type"], "inputs": node["inputs"]} for key, node in page.prompt().items()}
    return found + ["the page would submit another graph"] * (submitted != api_graph(FLOWS[title]))


def overlap(a: list[float], b: list[float], least: float = 1) -> bool:
    """Whether two frames (x, y, width, height) share more than `least` pixels in both directions."""
    return all(min(a[i] + a[i + 2], b[i] + b[i + 2]) - max(a[i], b[i]) > least for i in (0, 1))


def test_templates_open_on_a_core_without_blueprints(frontends):
    """They bring their boxes along. Only the node library lacks them there."""
    page, _ = frontends
    address = "**/global_subgraphs"
    page.tab.route(address, lambda route: route.fulfill(status=404, body="404: Not Found"))
    try:
        page.reload()
        page.errors.clear()
        for title in ("ACE Conversation", "ACE++ Local edit"):
            page.load(page.template(title))
            assert not page.complaints() and not page.errors
            submitted = {key: {"class_type": node["class_type"], "inputs": node["inputs"]}
                         for key, node in page.prompt().items()}
            assert submitted == api_graph(FLOWS[title])
        assert not {box.title for box in BOXES} & set(page.search_library("edit image"))
    finally:
        page.tab.unroute(address)
        page.reload()


THREE_PICTURES = """files => {
    app.graph.clear()
    const add = type => { const node = LiteGraph.createNode(type); app.graph.add(node); return node }
    const unit = add('ACEEditorConditionUnit')
    const connect = (node, output, input) =>
        node.connect(output, unit, unit.inputs.findIndex(slot => slot.name === input))
    files.forEach((file, i) => {
        const picture = add('LoadImage'), number = i || ''
        picture.widgets[0].value = file
        connect(picture, 0, `image${number}`)
        if (i) connect(picture, 1, `mask${number}`)
    })
    unit.widgets.find(widget => widget.name === 'instruction').value = '{image1} like {image2}'
    unit.connect(0, add('PreviewAny'), 0)
    return String(unit.id)
}"""
TAKE_AWAY = {
    "detached": "unit => app.graph.getNodeById(unit).disconnectInput(0)",
    "deleted": "unit => app.graph.remove(app.graph.getNodeById(unit).getInputNode(0))",
}


@pytest.mark.parametrize("how", TAKE_AWAY)
def test_slots_stay_when_the_first_picture_goes(frontends, how):
    """Pictures, masks and names stay together, and the gap is refused by name."""
    page, server = frontends
    page.nodes_2(False)
    unit = page.tab.evaluate(THREE_PICTURES, [file_of("cat"), file_of("cat", True), file_of("coffee", True)])
    before = page.prompt()[unit]["inputs"]
    assert {"image", "image1", "mask1", "image2", "mask2"} <= before.keys()
    page.tab.evaluate(TAKE_AWAY[how], unit)
    page.settle()
    graph = page.prompt()
    assert graph[unit]["inputs"] == {name: value for name, value in before.items() if name != "image"}
    with pytest.raises(PromptError, match=r"image\d is connected, but image is not") as caught:
        server.run(graph)
    assert caught.value.node_type == "ACEEditorConditionUnit"


def test_a_mistyped_name_is_shown_on_the_box(frontends):
    """Nothing runs; the page names the box and its instruction, and the details say what was meant."""
    page, server = frontends
    page.nodes_2(False)
    page.load(page.template("ACE Edit"))
    page.set_widget("Image Edit (ACE)", "instruction", "make the cup in {imgae} blue")
    page.tab.get_by_test_id("queue-button").click()
    page.tab.get_by_text("Image Edit (ACE) rejected the value for instruction").first.wait_for()
    framed = page.tab.evaluate("() => app.graph._nodes.filter(node => node.has_errors).map(node => node.title)")
    page.see_errors()
    page.tab.get_by_label("Info for Image Edit (ACE) - instruction").first.click()
    page.tab.get_by_text("did you mean {image}?").first.wait_for(timeout=5000)
    assert framed == ["Image Edit (ACE)"]
    page.errors.clear()  # the refusal, 400, is one
    page.load(page.template("ACE Edit"))
