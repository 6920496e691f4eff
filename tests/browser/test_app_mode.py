"""App mode, which shows chosen inputs without the graph: the instruction editor and the conversation panel work there too."""

import re

import pytest

from tests.browser.panel import NODE, RECORD
from tests.browser.test_instruction_editor import START, UNIT, VALUE

APP = """async ([workflow, title, widget]) => {
    const id = name => workflow.nodes.find(node => [node.title, node.type].includes(name))?.id
    const outputs = [id('SaveImage') ?? id('PreviewImage')]
    workflow.extra = {...workflow.extra, linearMode: true, linearData: {inputs: [[id(title), widget]], outputs}}
    await app.loadGraphData(workflow, true, true, null, {openSource: 'template'})
}"""
AREA = "textarea[id]:visible"


@pytest.fixture
def app(frontends):
    page, _ = frontends
    page.errors.clear()  # core's own, at its start
    yield page
    page.tab.evaluate("() => app.extensionManager.command.execute('Comfy.ToggleLinear')")
    page.tab.wait_for_function("() => !document.querySelector('[data-testid=linear-widgets]')")
    assert page.errors == []


def show(page, workflow, title, widget):
    page.tab.evaluate(APP, [workflow, title, widget])
    page.tab.get_by_test_id("linear-widgets").wait_for()
    page.settle()
    page.tab.keyboard.press("Escape")  # the frontend's own tour
    page.tab.wait_for_function("() => !document.querySelector('[data-testid=coach-landing-overlay]')")


@pytest.mark.parametrize("box", [False, True], ids=["node", "box"])
def test_the_instruction_editor(app, box):
    page, title = app, "Turn 1" if box else "Unit"
    workflow = page.template(START) if box else page.tab.evaluate(UNIT)
    if not box:  # an app has an output
        page.tab.evaluate("() => { app.graph.add(LiteGraph.createNode('PreviewImage')) }")
        workflow = page.serialized()
    show(page, workflow, title, "instruction")
    before = page.tab.evaluate(VALUE, title)
    page.tab.locator(AREA).first.click()
    editor = page.tab.locator(".ace-over")
    editor.wait_for()
    page.tab.keyboard.press("Control+End")
    page.tab.keyboard.type(" and {imgae} {")
    assert editor.locator(".ace-names li b").first.inner_text() == "{image}"
    page.tab.keyboard.press("Enter")
    assert editor.locator(".ace-chip.misspelt").count() == 1 and editor.locator(".ace-chip.name img").count() >= 1
    page.tab.keyboard.press("Escape")
    assert not editor.count() and page.tab.evaluate(VALUE, title) == f"{before} and {{imgae}} {{image}}"


def test_the_conversation_panel_opens_runs_and_closes(app):
    page = app
    show(page, page.template("ACE Talk to your pictures"), NODE, "open")
    button = page.tab.get_by_role("button", name="Open conversation")
    button.click()
    panel = page.tab.locator(".ace-panel")
    panel.get_by_text("Run", exact=True).click()
    panel.locator(".ace-turn.done .ace-picture img").wait_for(timeout=120000)
    assert re.search(r'"answer":\{"file"', page.tab.evaluate(RECORD))
    button.click()
    panel.wait_for(state="detached")
