"""The instruction editor on nodes and boxes, in both frontends and both ways of drawing nodes: a person clicks and types."""

import pytest

START = "ACE Start here"
AT = """value => {
    const area = [...document.querySelectorAll('textarea')].find(a => a.value === value && a.getBoundingClientRect().width)
    if (!area) return null
    const {x, y, width, height} = area.getBoundingClientRect()
    return [x + width / 2, y + height / 2]
}"""
VALUE = """title => app.graph._nodes.find(n => n.title === title).widgets.find(w => w.name === 'instruction').value"""
UNIT = """() => {
    app.graph.clear()
    const unit = LiteGraph.createNode('ACEEditorConditionUnit')
    app.graph.add(unit)
    unit.pos = [700, 200]
    for (const [slot, y] of [['image', 100], ['image1', 500]]) {
        const load = LiteGraph.createNode('LoadImage')
        app.graph.add(load)
        load.pos = [200, y]
        load.connect(0, unit, unit.inputs.findIndex(input => input.name === slot))
    }
    unit.title = 'Unit'
    return app.graph.serialize()
}"""


def click(page, value):
    """Click the text area that shows this; the editor over it."""
    page.tab.wait_for_function(f"value => ({AT})(value) !== null", arg=value)
    page.tab.mouse.click(*page.tab.evaluate(AT, value))
    editor = page.tab.locator(".ace-over")
    editor.wait_for()
    return editor


@pytest.fixture(params=[False, True], ids=["classic", "nodes 2.0"])
def drawn(frontends, request):
    page, server = frontends
    page.nodes_2(request.param)
    page.errors.clear()  # core's own, at its start
    yield page
    assert page.errors == []


def test_on_boxes(drawn):
    """Chips with the connected pictures, the earlier turn's too; what is typed is in the box and in the graph that runs."""
    page = drawn
    page.load(page.template(START))
    first, second = (page.tab.evaluate(VALUE, title) for title in ("Turn 1", "Turn 2"))
    editor = click(page, first)
    assert editor.locator(".ace-chip").all_inner_texts() == ["image"]
    assert "filename=" in editor.locator(".ace-chip img").get_attribute("src")
    page.tab.keyboard.press("Control+End")
    page.tab.keyboard.type(", and {imgae} or {image3} in {")
    assert editor.locator(".ace-names li").count() == 1
    page.tab.keyboard.press("Enter")
    assert editor.locator(".ace-mark").all_inner_texts() == [
        "{imgae} is misspelt. Use {image}", "{image3} names no picture. Use {image}"]
    for _ in range(2):
        editor.locator(".ace-mark button").first.click()
    page.tab.keyboard.press("Escape")
    assert not editor.count()
    text = f"{first}, and {{image}} or {{image}} in {{image}}"
    assert page.tab.evaluate(VALUE, "Turn 1") == text
    graph = page.tab.evaluate("async () => (await app.graphToPrompt()).output")
    assert text in [node["inputs"].get("instruction") for node in graph.values()]

    editor = click(page, second)
    assert editor.locator(".ace-chip.name").all_inner_texts() == ["image", "previous.image"]
    assert editor.locator(".ace-chip img").count() >= 1
    page.tab.keyboard.press("Control+End")
    page.tab.keyboard.type(" @")
    assert editor.locator(".ace-names li b").all_inner_texts() == ["{image}", "{previous.image}"]
    page.tab.keyboard.press("Escape")
    page.tab.keyboard.press("Escape")
    assert not editor.count() and page.tab.evaluate(VALUE, "Turn 2") == f"{second} @"


def test_on_the_node_and_switched_off(drawn):
    """Two pictures, one never named; a phrasing at the caret; undo; with the setting off ComfyUI's text area is alone."""
    page = drawn
    page.load(page.tab.evaluate(UNIT))
    page.tab.evaluate("() => { app.canvas.ds.reset(); app.canvas.setDirty(true, true) }")  # or the view is what was open before
    page.settle()
    editor = click(page, "")
    page.tab.keyboard.type("look at {image1")
    page.tab.keyboard.press("Tab")
    assert editor.locator(".ace-mark").all_inner_texts() == ["{image} is never named. Name it"]
    editor.locator(".ace-mark button").click()
    assert page.tab.evaluate(VALUE, "Unit") == "look at {image1} {image}"
    editor.locator(".ace-instruction").click()
    page.tab.keyboard.press("Control+z")
    assert page.tab.evaluate(VALUE, "Unit") == "look at {image1}"
    page.tab.evaluate("() => { window.queue = app.queuePrompt; window.runs = 0;"
                      " app.queuePrompt = async () => { window.runs++ } }")
    page.tab.keyboard.press("Control+Enter")
    page.tab.wait_for_timeout(200)
    assert page.tab.evaluate("() => { app.queuePrompt = window.queue; return window.runs }") == 1, "ComfyUI's own shortcut runs"
    assert page.tab.evaluate(VALUE, "Unit") == "look at {image1}"
    editor.get_by_label("Ready-made instructions").select_option("give the person in {image} [what] hair")
    assert page.tab.evaluate("() => getSelection().toString()") == "[what]"
    page.tab.mouse.click(1300, 900)
    editor.wait_for(state="detached")
    text = page.tab.evaluate(VALUE, "Unit")
    assert "[what] hair" in text

    page.tab.evaluate("() => app.extensionManager.setting.set('ACEEditor.InstructionEditor', false)")
    page.tab.mouse.click(*page.tab.evaluate(AT, text))
    page.tab.keyboard.press("Control+End")
    page.tab.keyboard.type("!")
    assert not editor.count() and page.tab.evaluate(VALUE, "Unit") == f"{text}!"
    page.tab.evaluate("() => app.extensionManager.setting.set('ACEEditor.InstructionEditor', true)")
