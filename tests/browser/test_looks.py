"""Editor, panel and inspector in both themes and both ways of drawing nodes. Pictures go to .dev/screenshots/."""

import pytest

from tests.browser.panel import fresh
from tests.browser.test_instruction_editor import START, VALUE, click
from tools.gallery.graph import ROOT

LEAST = 4.5  # contrast of normal text, WCAG 2.2, success criterion 1.4.3
SCREENSHOTS = ROOT / ".dev/screenshots"
EDITOR = (".ace-instruction", ".ace-chip.name", ".ace-chip.misspelt", ".ace-mark", ".ace-mark button", ".ace-names li b",
          ".ace-names li small", ".ace-phrasings")
PANEL = (".ace-words", ".ace-error", ".ace-meter", ".ace-phrasings", ".ace-composer button.primary", ".ace-settings summary")
CONTRAST = """([root, selectors]) => {
    const canvas = new OffscreenCanvas(1, 1).getContext('2d', {willReadFrequently: true})
    const read = color => {
        canvas.clearRect(0, 0, 1, 1)
        canvas.fillStyle = color
        canvas.fillRect(0, 0, 1, 1)
        const [r, g, b, a] = canvas.getImageData(0, 0, 1, 1).data
        return {rgb: [r, g, b], a: a / 255}
    }
    const over = (top, a, below) => top.map((value, i) => value * a + below[i] * (1 - a))
    const ground = element => {  // what is painted behind an element's text
        if (!element) return [0, 0, 0]
        const {rgb, a} = read(getComputedStyle(element).backgroundColor)
        return a === 1 ? rgb : over(rgb, a, ground(element.parentElement))
    }
    const linear = value => value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4
    const light = rgb => rgb.map(value => linear(value / 255))
        .reduce((sum, value, i) => sum + value * [0.2126, 0.7152, 0.0722][i], 0)
    return Object.fromEntries(selectors.map(selector => {
        const element = document.querySelector(`${root} ${selector}`)
        if (!element) return [selector, 0]
        let opacity = 1
        for (let at = element; at; at = at.parentElement) opacity *= getComputedStyle(at).opacity
        const behind = ground(element), {rgb, a} = read(getComputedStyle(element).color)
        const [one, two] = [light(over(rgb, a * opacity, behind)), light(behind)].sort((x, y) => y - x)
        return [selector, (one + 0.05) / (two + 0.05)]
    }))
}"""


SEEN = """() => {  // the inspector's picture as the page shows it: [width, height]
    const node = app.graph._nodes.find(n => n.comfyClass === 'SaveImage')
    const image = node?.imgs?.[0] ?? document.querySelector(`[data-node-id="${node?.id}"] img`)
    return image?.naturalWidth > 0 && [image.naturalWidth, image.naturalHeight]
}"""


@pytest.fixture
def looks(page, theme, nodes_2):
    """The page in a theme and a way of drawing nodes; how its screenshots are called."""
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    page.tab.evaluate("theme => app.extensionManager.setting.set('Comfy.ColorPalette', theme)", theme)
    page.nodes_2(nodes_2)
    yield f"{theme}, {'nodes 2.0' if nodes_2 else 'classic'}.png"
    page.tab.evaluate("() => app.extensionManager.setting.set('Comfy.ColorPalette', 'dark')")
    page.nodes_2(False)


@pytest.mark.parametrize("nodes_2", [False, True], ids=["classic", "nodes 2.0"])
@pytest.mark.parametrize("theme", ["dark", "light"])
def test_the_inspector_shows_its_picture(page, looks):
    page.load(page.template("ACE What the model sees"))
    page.tab.evaluate("() => app.queuePrompt(0)")
    page.tab.wait_for_function(SEEN, timeout=120000)
    page.settle()
    page.tab.screenshot(path=SCREENSHOTS / f"inspector, {looks}")
    width, height = page.tab.evaluate(SEEN)
    assert width > 400 and height > 400


@pytest.mark.parametrize("nodes_2", [False, True], ids=["classic", "nodes 2.0"])
@pytest.mark.parametrize("theme", ["dark", "light"])
def test_every_text_is_legible(page, looks):
    page.load(page.template(START))
    click(page, page.tab.evaluate(VALUE, "Turn 2"))
    page.tab.keyboard.press("Control+End")
    page.tab.keyboard.type(" and {imgae} or {")
    page.tab.locator(".ace-over .ace-names li").first.wait_for()
    page.tab.screenshot(path=SCREENSHOTS / f"editor, {looks}")
    found = page.tab.evaluate(CONTRAST, [".ace-over", EDITOR])
    page.tab.keyboard.press("Escape")
    page.tab.keyboard.press("Escape")
    panel = fresh(page, [{"id": "a", "instruction": "look at {image}"}])
    panel.locator(".ace-words").wait_for()
    page.tab.evaluate("() => document.querySelector('.ace-words').after(Object.assign(document.createElement('p'), "
                      "{className: 'ace-error', textContent: 'an error'}))")
    page.tab.screenshot(path=SCREENSHOTS / f"panel, {looks}")
    found |= {f"panel {key}": value for key, value in page.tab.evaluate(CONTRAST, [".ace-panel", PANEL]).items()}
    assert {key: round(value, 2) for key, value in found.items() if value < LEAST} == {}
