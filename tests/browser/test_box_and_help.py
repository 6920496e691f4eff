"""The blueprint "ACE Edit" is in the node library and runs; help pages and Chinese names show."""

import time

import pytest

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
    before = len(server._get("/history"))
    tab.get_by_test_id("queue-button").click()
    deadline = time.monotonic() + 120
    while len(history := server._get("/history")) == before:
        assert time.monotonic() < deadline, "the page submitted nothing"
        time.sleep(0.1)
    entry = list(history.values())[-1]
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


@pytest.fixture
def spoken(page):
    """spoken(language) → the page in that language, until the end of the test."""
    def speak(language):
        page.tab.evaluate("language => app.extensionManager.setting.set('Comfy.Locale', language)", language)
        page.reload()
        return page.tab
    yield speak
    speak("en")


@pytest.mark.parametrize("language", ["en", "zh", "ja"])
def test_names_and_tooltips(spoken, language):
    """In Chinese our translation, in any other language the English of the schemas; placeholders as one types them."""
    tab = spoken(language)
    node = tab.evaluate("""() => {
        app.graph.clear()
        const node = LiteGraph.createNode('ACEEditorConditionUnit')
        Object.assign(app.canvas.ds, {scale: 1, offset: [0, 0]})
        node.pos = [700, 350]
        app.graph.add(node)
        return {title: node.title, widget: node.widgets[0].label ?? node.widgets[0].name}
    }""")
    about = definitions("zh" if language == "zh" else "en")["ACEEditorConditionUnit"]
    assert node["title"] == about["display_name"]
    assert node["widget"] == about["inputs"]["instruction"]["name"]
    tooltip = about["inputs"]["name_image"]["tooltip"]
    assert "{image}" in tooltip and shown_at(tab, "name_image") == tooltip
    assert shown_at(tab, None) == about["description"]


def shown_at(tab, widget: str | None) -> str:
    """The tooltip that opens over a widget of the only node, or over its title."""
    x, y = tab.evaluate("""name => {
        const node = app.graph._nodes[0], at = app.canvas.canvas.getBoundingClientRect()
        app.canvas.draw(true, true)
        const y = name ? node.widgets.find(widget => widget.name === name).last_y + 10 : -15
        return [at.left + node.pos[0] + 80, at.top + node.pos[1] + y]
    }""", widget)
    tab.mouse.move(x - 3, y - 2)
    tab.mouse.move(x, y)
    tip = tab.locator(".node-tooltip")
    tip.wait_for()
    text = tip.inner_text()
    tab.mouse.move(5, 500)
    tip.wait_for(state="hidden")
    return text
