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
    """ComfyUI's page. `tab` is Playwright's page; `errors` collects what the console calls an error."""

    def __init__(self, tab):
        self.tab, self.errors = tab, []
        tab.on("console", self._console)
        tab.on("pageerror", lambda error: self.errors.append(str(error)))
        tab.on("response", self._response)

    def _console(self, message) -> None:
        told = message.text.startswith("Failed to load resource") or expected_absence(message.text)  # by _response
        if message.type == "error" and not told:
            self.errors.append(message.text)

    def _response(self, response) -> None:
        if response.status >= 400 and not expected_absence(response.url):
            self.errors.append(f"{response.status} for {response.url}")

    def load(self, workflow: dict) -> None:
        """Open a UI-format workflow, in the tab that is open: every further tab makes the page slower."""
        self.tab.evaluate("""workflow =>
            app.loadGraphData(workflow, true, true, app.extensionManager.workflow.activeWorkflow)""", workflow)
        self.settle()

    def settle(self) -> None:
        """Wait until the page has drawn what it holds: nodes take their sizes then."""
        self.tab.evaluate("""() => new Promise(done =>
            requestAnimationFrame(() => requestAnimationFrame(() => requestAnimationFrame(done))))""")

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
        dialog.get_by_placeholder("Search").first.fill(title)  # the list shows only what is in view
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
def open_page(url: str, width: int = 1600, height: int = 1000, language: str = "en-US"):
    """A fresh profile with ComfyUI's page, ready to use. Raises BrowserError without a browser or Playwright."""
    try:
        from playwright.sync_api import sync_playwright
    except ImportError as error:
        raise BrowserError("Playwright is missing: pip install -r tests/requirements.txt") from error
    program = find_browser()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=list(ARGUMENTS))
        try:
            tab = browser.new_page(viewport={"width": width, "height": height}, locale=language)
            page = Page(tab)
            tab.request.post(f"{url}/api/settings", data={"Comfy.TutorialCompleted": True})  # else templates cover the page
            tab.goto(url, timeout=120000)
            tab.wait_for_function(READY, timeout=120000)
            yield page
        finally:
            browser.close()
