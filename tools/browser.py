"""Chromium with ComfyUI's page: open it, load workflows, read what it would submit.

    with open_page(server.url) as page:
        page.load(workflow)
        graph = page.prompt()
"""

from __future__ import annotations

import json
import os
import re
import shutil
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

CANDIDATES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome", "msedge")
PLACES = ("/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
          r"C:\Program Files\Google\Chrome\Application\chrome.exe",
          r"C:\Program Files (x86)\Microsoft\Edge\Application\msedge.exe")
ARGUMENTS = ("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
             "--disable-component-update", "--disable-sync", "--force-color-profile=srgb")
NO_BROWSER = ("No Chromium or Chrome was found: install one (Debian, Ubuntu: `apt install chromium`), or set the variable "
              "CHROMIUM to the program.")
PACK = "comfyui-ace-editor"
LIBRARY = ".side-bar-panel, .sidebar-content-container"
READY = "() => window.app?.graph && window.LiteGraph && app.extensionManager?.workflow?.activeWorkflow"


class BrowserError(RuntimeError):
    """There is no browser, or the page reported an error."""


def find_browser() -> str:
    """The path of a Chromium-like browser. Raises BrowserError."""
    given = os.environ.get("CHROMIUM")
    found = [given, *map(shutil.which, CANDIDATES), *PLACES]
    for path in filter(None, found):
        if Path(path).is_file():
            return path
    raise BrowserError(NO_BROWSER)


class Page:
    """ComfyUI's page. `tab` is Playwright's page; `errors` and `warnings` collect what the console calls so."""

    def __init__(self, tab):
        self.tab, self.errors, self.warnings = tab, [], []
        tab.on("console", self._console)
        tab.on("pageerror", lambda error: self.errors.append(str(error)))
        tab.on("response", self._response)

    def _console(self, message) -> None:
        told = message.text.startswith("Failed to load resource") or expected_absence(message.text)  # by _response
        if message.type == "error" and not told:
            self.errors.append(message.text)
        elif message.type == "warning":
            self.warnings.append(message.text)

    def _response(self, response) -> None:
        if response.status >= 400 and not expected_absence(response.url):
            self.errors.append(f"{response.status} for {response.url}")

    def load(self, workflow: dict) -> None:
        """Open a UI-format workflow as the template dialog does, but in the tab that is open: every further tab makes the page
        slower. What the tab remembers is dropped, or the page would give the new nodes the old view and pictures."""
        self.tab.evaluate("""async workflow => {
            const open = app.extensionManager.workflow.activeWorkflow, memory = open.changeTracker
            memory.ds = memory.nodeOutputs = undefined
            memory.store = () => {}
            await app.loadGraphData(workflow, true, true, open, {openSource: 'template'})
            delete memory.store
        }""", workflow)
        self.settle()

    def settle(self) -> None:
        """Wait until the page has drawn what it holds: nodes take their sizes then."""
        self.tab.evaluate("""() => new Promise(done =>
            requestAnimationFrame(() => requestAnimationFrame(() => requestAnimationFrame(done))))""")

    def nodes_2(self, on: bool) -> None:
        """Choose how nodes are drawn: on the canvas, or as Nodes 2.0."""
        self.tab.evaluate("on => app.extensionManager.setting.set('Comfy.VueNodes.Enabled', on)", on)
        self.tab.wait_for_function("on => LiteGraph.vueNodesMode === on", arg=on)
        self.settle()

    def frames(self) -> dict[str, list[float]]:
        """{node id and title: x, y, width, height}, title bars included, as they are drawn, in graph pixels."""
        return self.tab.evaluate("""() => {
            const scale = app.canvas.ds.scale, drawn = LiteGraph.vueNodesMode
            const of = node => {
                if (!drawn) return [...node.boundingRect]
                const {x, y, width, height} = document.querySelector(`[data-node-id="${node.id}"]`).getBoundingClientRect()
                return [x, y, width, height].map(length => length / scale)
            }
            return Object.fromEntries(app.graph._nodes.map(node => [`${node.id} ${node.title}`, of(node)]))
        }""")

    def template(self, title: str) -> dict:
        """A workflow of this pack as the template browser gets it."""
        url = f"/api/workflow_templates/{PACK}/{quote(title)}.json"
        return self.tab.evaluate("async url => (await fetch(url)).json()", url)

    def open_template(self, title: str) -> None:
        """Open a workflow of this pack from the template browser, by hand as it were."""
        tab = self.tab
        tab.evaluate("() => app.extensionManager.command.execute('Comfy.BrowseTemplates')")
        dialog = tab.get_by_role("dialog")
        dialog.get_by_text(PACK, exact=True).first.click()
        cards = tab.locator("[data-testid^=template-workflow-]")
        cards.first.wait_for()
        unfiltered = cards.count()
        dialog.get_by_placeholder("Search").first.fill(title)  # the list shows only what is in view
        tab.wait_for_function("""([all, title]) => {  // a click on a list that is being replaced goes nowhere
            const cards = [...document.querySelectorAll('[data-testid^=template-workflow-]')].map(e => e.dataset.testid)
            return cards.length < all && cards.includes(`template-workflow-${title}`)
        }""", arg=[unfiltered, title])
        tab.get_by_test_id(f"template-workflow-{title}").click()
        tab.wait_for_function("title => app.extensionManager.workflow.activeWorkflow?.filename === title", arg=title)
        tab.wait_for_function("() => !document.querySelector('[data-testid=template-workflows-content]')")
        self.settle()

    def reload(self) -> None:
        """Load the page anew, as after a change of models or language."""
        self.tab.reload()
        self.tab.wait_for_function(READY, timeout=120000)

    def see_errors(self) -> None:
        """Open the list of what is wrong with the workflow, which the page offers."""
        self.tab.get_by_text("View details").or_(self.tab.get_by_test_id("errors-summary-hero")).first.wait_for()
        details = self.tab.get_by_text("View details")
        if details.count():
            details.first.click()

    def missing_models(self) -> set[str]:
        """File names that the page says are missing, with a link each."""
        rows = self.tab.get_by_test_id("missing-model-importable-rows")
        rows.wait_for()
        return set(re.findall(r"[\w.+-]+\.(?:safetensors|pth)", rows.inner_text()))

    def search_library(self, term: str) -> list[str]:
        """What the node library lists for a search, folders included."""
        library = self._library()
        if not library.count():
            self._toggle_library()
        library.get_by_placeholder(re.compile("^Search")).first.fill(term)
        self.tab.wait_for_timeout(600)  # it searches when one stops typing
        return library.inner_text().splitlines()

    def _library(self):
        """The panel of the node library; others, such as that of errors, have search fields too."""
        return self.tab.locator(LIBRARY).filter(has_text="All nodes").locator("visible=true").first

    def _toggle_library(self) -> None:
        self.tab.get_by_label("Node Library (n)").first.click()

    def place(self, name: str, x: float, y: float) -> None:
        """Find a node or a box in the library and put it on the canvas, its corner at these pixels of the page."""
        tab = self.tab
        before = self.counts()[0]
        self.search_library(name)
        self._library().get_by_text(name, exact=True).first.click()
        tab.mouse.move(x - 5, y - 5)  # it hangs on the pointer until it is put down
        tab.mouse.move(x, y)
        tab.mouse.click(x, y)
        tab.wait_for_function("before => app.graph._nodes.length === before + 1", arg=before)
        self._toggle_library()
        self.settle()

    def drag_link(self, origin: str, output: str, target: str, input: str) -> None:
        """Draw a link with the mouse between the last nodes of these titles."""
        before = self.counts()[1]
        ends = self.tab.evaluate("""([origin, output, target, input]) => {
            const node = title => app.graph._nodes.findLast(node => node.title === title)
            const at = ([x, y]) => [x, y].map((length, i) => (length + app.canvas.ds.offset[i]) * app.canvas.ds.scale)
            const slot = (slots, name) => slots.findIndex(slot => slot.name === name)
            const [from, to] = [node(origin), node(target)]
            return [at(from.getOutputPos(slot(from.outputs, output))), at(to.getInputPos(slot(to.inputs, input)))]
        }""", [origin, output, target, input])
        mouse, (start, end) = self.tab.mouse, ends
        mouse.move(*start)
        mouse.down()
        mouse.move(end[0] - 20, end[1] - 5, steps=4)
        mouse.move(*end, steps=2)
        mouse.up()
        self.tab.wait_for_function("before => app.graph.links.size === before + 1", arg=before)

    def counts(self) -> tuple[int, int]:
        """Nodes and links of the graph, boxes closed."""
        return tuple(self.tab.evaluate("() => [app.graph._nodes.length, app.graph.links.size]"))

    def set_widget(self, title: str, name: str, value) -> None:
        """Choose a value on the last node of this title."""
        self.tab.evaluate("""([title, name, value]) => {
            const node = app.graph._nodes.findLast(node => node.title === title)
            const widget = node.widgets.find(widget => widget.name === name)
            widget.value = value
            widget.callback?.(value)
        }""", [title, name, value])

    def complaints(self, models: bool = True) -> list[str]:
        """What the page shows as wrong with the workflow: its error groups, and nodes that it does not know. models: False
        leaves out that models are missing."""
        return self.tab.evaluate("""models => [
            ...[...document.querySelectorAll('[data-testid^=error-group-missing], [data-testid^=error-group-swap]')]
                .filter(e => models || e.dataset.testid !== 'error-group-missing-model').map(e => e.innerText.slice(0, 200)),
            ...app.graph._nodes.filter(n => n.has_errors && (models || !n.properties.models)
                || !n.constructor.type && !n.isVirtualNode && !n.isSubgraphNode?.()).map(n => `node ${n.type}`)]""", models)

    def prompt(self) -> dict:
        """The API graph that the page would submit now."""
        return self.tab.evaluate("async () => (await app.graphToPrompt()).output")

    def picture(self, path: Path, wait: int = 600) -> None:
        """A screenshot of the whole graph. wait: milliseconds for the page to settle."""
        panel = self.tab.get_by_test_id("panel-tab-parameters")
        if panel.count() and panel.first.is_visible():
            self.tab.get_by_label("Toggle properties panel").click()
        for name, value in (("Comfy.Minimap.Visible", False), ("LiteGraph.Canvas.MinFontSizeForLOD", 0)):
            self.tab.evaluate("([name, value]) => app.extensionManager.setting.set(name, value)", [name, value])
        self.tab.mouse.move(900, 980)
        self.tab.evaluate("() => app.extensionManager.command.execute('Comfy.Canvas.FitView')")
        self.tab.wait_for_timeout(wait)
        self.tab.screenshot(path=path)

    def serialized(self) -> dict:
        """The UI-format workflow as the page would save it now."""
        return json.loads(self.tab.evaluate("() => JSON.stringify(app.graph.serialize())"))


def expected_absence(told: str) -> bool:
    """Whether an address or a message is about what ComfyUI's page asks for and a fresh installation does not have, or about
    other sites, which a started server forbids the page."""
    return any(part in told for part in ("/userdata", "/user.css", "/api/settings/", "favicon", "/manager/", "/customnode/",
                                         "/v2/", "/experiment/models/preview", "Content Security Policy"))


@contextmanager
def open_browser():
    """Playwright's browser, for several pages. Raises BrowserError without a browser or Playwright."""
    try:
        from playwright.sync_api import sync_playwright
    except ImportError as error:
        raise BrowserError("Playwright is missing: pip install -r tests/requirements.txt") from error
    program = find_browser()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=list(ARGUMENTS))
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def open_page(url: str, width: int = 1600, height: int = 1000, browser=None):
    """A fresh profile with ComfyUI's page, ready to use. browser: of `open_browser`; by default one of its own. Raises
    BrowserError without a browser or Playwright."""
    if browser is None:
        with open_browser() as browser, open_page(url, width, height, browser) as page:
            yield page
        return
    tab = browser.new_page(viewport={"width": width, "height": height}, locale="en-US")
    try:
        page = Page(tab)
        tab.request.post(f"{url}/api/settings", data={"Comfy.TutorialCompleted": True})  # else templates cover the page
        tab.goto(url, timeout=120000)
        tab.wait_for_function(READY, timeout=120000)
        yield page
    finally:
        tab.close()
