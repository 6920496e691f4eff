"""A page without any of the pack's nodes is as if the pack were not installed."""

from tools import tiny_models
from tools.browser import PACK, open_page
from tools.comfy_server import ComfyServer

LOOK = """async () => ({
    prompt: (await app.graphToPrompt()).output,
    globals: Object.keys(window).filter(name => !/^webpack|^__/.test(name)).sort(),
    styles: [...document.styleSheets].map(sheet => sheet.href && new URL(sheet.href).pathname)
        .filter(path => path && !path.includes('/assets/')),
    body: [...document.body.children].map(element => `${element.tagName} ${element.id}`),
    node: app.graph.nodes.map(node => [node.type, node.widgets?.map(widget => [widget.name, widget.type])]),
})"""


def look(url, chromium):
    """What the page is after someone has typed into a prompt, and the pack's files that it took."""
    with open_page(url, width=1400, height=900, browser=chromium) as page:
        taken = []
        page.tab.on("request", lambda request: taken.append(request.url.removeprefix(url)))
        page.reload()
        page.errors.clear()  # core's own, at its start
        page.tab.evaluate("() => app.loadGraphData()")  # core's own first workflow
        page.settle()
        area = page.tab.locator("textarea.comfy-multiline-input:visible").first
        area.click()
        page.tab.keyboard.press("Control+End")
        page.tab.keyboard.type(" {image} @")
        page.tab.wait_for_timeout(500)
        found = page.tab.evaluate(LOOK) | {"focus": page.tab.evaluate("() => document.activeElement.tagName"),
                                           "area": area.input_value(), "errors": page.errors}
        return found, [address for address in taken if f"/extensions/{PACK}/" in address]


def test_the_page_is_the_same(server, chromium, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty/__init__.py").write_text("NODE_CLASS_MAPPINGS = {}\n")
    tiny_models.write(tmp_path / "base/models")  # the same choices
    with ComfyServer(tmp_path / "base", pack=tmp_path / "empty", extra_args=["--use-pytorch-cross-attention"]) as without:
        plain, none = look(without.url, chromium)
    found, taken = look(server.url, chromium)
    assert plain["area"].endswith(" {image} @") and plain["prompt"] and not none
    assert taken == [f"/extensions/{PACK}/ace_editor.js"], "the rest loads when it is used"
    assert found == plain
