"""The blueprint "ACE Edit" is in the node library and runs; help pages and Chinese names show."""

import time

import pytest

from tools import tiny_models
from tools.gallery.help import DOCS, definitions
from tools.gallery.models import DIT, T5, VAE

WIRE = """([dit, t5, vae]) => {
    const box = app.graph._nodes.find(node => node.isSubgraphNode?.())
    const add = (type, value) => {
        const node = LiteGraph.createNode(type)
        app.graph.add(node)
        if (value) node.widgets[0].value = value
        return node
    }
    const connect = (node, output, target, input) =>
        node.connect(output, target, target.inputs.findIndex(slot => slot.name === input))
    connect(add('ACEEditorLoadModel', dit), 0, box, 'model')
    connect(add('ACEEditorLoadTextEncoder', t5), 0, box, 'clip')
    connect(add('VAELoader', vae), 0, box, 'vae')
    const picture = add('ACEEditorExampleImage', 'toy scene.png')
    connect(picture, 0, box, 'image')
    connect(picture, 1, box, 'mask')
    box.widgets.find(widget => widget.name === 'instruction').value = 'make the star in {image} green'
    box.widgets.find(widget => widget.name === 'steps').value = 2
    connect(box, 0, add('SaveImage'), 'images')
}"""


@pytest.fixture(scope="module")
def models():
    return tiny_models.write


def test_the_box_is_found_and_runs(page, server):
    tab = page.tab
    tab.evaluate("() => app.graph.clear()")
    tab.get_by_label("Node Library (n)").click()
    tab.get_by_placeholder("Search...", exact=True).first.fill("ACE Edit")
    tab.get_by_text("ACE Edit", exact=True).first.click()
    tab.mouse.move(1000, 500)  # the box hangs on the pointer until it is put down
    tab.mouse.click(1000, 500)
    tab.wait_for_function("() => app.graph._nodes.some(node => node.isSubgraphNode?.())")
    tab.evaluate(WIRE, [DIT.name, T5.name, VAE.name])
    tab.get_by_test_id("queue-button").click()
    deadline = time.monotonic() + 120
    while not (history := server._get("/history")) or "outputs" not in next(iter(history.values())):
        assert time.monotonic() < deadline, "the page submitted nothing"
        time.sleep(0.3)
    entry = next(iter(history.values()))
    assert entry["status"]["status_str"] == "success" and any("images" in out for out in entry["outputs"].values())
    assert page.errors == []


@pytest.mark.parametrize("name", definitions("en"))
def test_help_is_served(page, name):
    for path in (f"{name}.md", f"{name}/zh.md", f"wiring/{name}.svg"):
        text = (DOCS / path).read_text(encoding="utf-8")
        served = page.tab.evaluate("async url => (await fetch(url)).text()", f"/extensions/comfyui-ace-editor/docs/{path}")
        assert served == text


def test_help_shows_with_its_picture(page):
    tab = page.tab
    tab.evaluate("""() => {
        app.graph.clear()
        const node = LiteGraph.createNode('ACEEditorSampler')
        Object.assign(app.canvas.ds, {scale: 1, offset: [0, 0]})
        node.pos = [700, 350]
        app.graph.add(node)
        app.canvas.selectNode(node)
    }""")
    tab.get_by_test_id("info-button").first.click()
    tab.get_by_role("heading", name="Settings that work").wait_for()
    picture = tab.locator("img[src*='wiring/ACEEditorSampler.svg']").first
    assert picture.evaluate("async image => { await image.decode(); return image.naturalWidth }") > 100


def test_names_and_tooltips_in_chinese(page):
    tab = page.tab
    tab.evaluate("() => app.extensionManager.setting.set('Comfy.Locale', 'zh')")
    tab.reload()
    tab.wait_for_function("() => window.app?.graph && window.LiteGraph?.registered_node_types?.ACEEditorConditionUnit")
    node = tab.evaluate("""() => {
        const node = LiteGraph.createNode('ACEEditorConditionUnit')
        app.graph.add(node)
        return {title: node.title, widget: node.widgets[0].label ?? node.widgets[0].name, tip: node.widgets[0].tooltip}
    }""")
    about = definitions("zh")["ACEEditorConditionUnit"]
    assert node["title"] == about["display_name"]
    assert node["widget"] == about["inputs"]["instruction"]["name"]
    assert "{image}" in (node["tip"] or about["inputs"]["instruction"]["tooltip"])
