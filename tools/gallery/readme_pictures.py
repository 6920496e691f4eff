"""Makes the pictures of the README and of the help pages: `python -m tools.gallery.readme_pictures`.

Needs COMFYUI_PATH and a browser.
docs/pictures/: templates.jpg: every workflow as ComfyUI's own page opens it · conversation.jpg: one of them, larger ·
demo.jpg: the page that `python dev.py demo` has written.
js/docs/pictures/: panel.png: the conversation panel after three turns · editor.png: the instruction editor over a box ·
inspector.png: what ACE Inspector draws.
"""

from __future__ import annotations

import io
import sys
import tempfile
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from .. import tiny_models
from ..browser import Page, open_page
from ..comfy_server import ComfyServer
from .api import api_graph
from .build import workflows
from .graph import ROOT
from .models import SAM

PICTURES, HELP = ROOT / "docs" / "pictures", ROOT / "js" / "docs" / "pictures"
LARGE, TALK, START = "ACE Conversation", "ACE Talk to your pictures", "ACE Start here"
SEES = "ACE What the model sees"
COLUMNS, CELL, LINE = 3, (560, 300), 30
GROUND, INK = (30, 32, 38), (245, 179, 1)


def opened(page: Page, title: str) -> Image.Image:
    """The canvas of the page, at 1600 × 1000 pixels, after the workflow was picked in the template browser."""
    page.open_template(title)
    page.tab.wait_for_timeout(1500)  # pictures load
    return Image.open(io.BytesIO(page.tab.screenshot())).convert("RGB").crop((60, 100, 1600, 900))


def contact_sheet(shots: dict[str, Image.Image]) -> Image.Image:
    """All of them with their titles."""
    rows = -(-len(shots) // COLUMNS)
    sheet = Image.new("RGB", (COLUMNS * CELL[0], rows * (CELL[1] + LINE)), GROUND)
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(15)
    for i, (title, shot) in enumerate(shots.items()):
        x, y = (i % COLUMNS) * CELL[0], (i // COLUMNS) * (CELL[1] + LINE)
        sheet.paste(shot.resize((CELL[0] - 8, CELL[1] - 8), Image.Resampling.LANCZOS), (x + 4, y + LINE))
        draw.text((x + 10, y + LINE // 2), title, font=font, fill=INK, anchor="lm")
    return sheet


def panel(page: Page) -> Image.Image:
    """The conversation panel after three turns with the demo model."""
    tab = page.tab
    page.open_template(TALK)
    tab.evaluate("() => app.extensionManager.command.execute('Workspace.ToggleSidebarTab.ace-conversation')")
    tab.locator(".ace-turn").get_by_text("Run", exact=True).click()
    for number, text in enumerate(("show {image} at night", "{image} with the colors of {previous2.image}"), 1):
        tab.wait_for_function("n => document.querySelectorAll('.ace-turn.done').length === n", arg=number, timeout=120000)
        tab.locator(".ace-instruction").click()
        tab.keyboard.type(text)
        tab.keyboard.press("Enter")
    tab.wait_for_function("() => document.querySelectorAll('.ace-turn.done').length === 3", timeout=120000)
    tab.locator(".ace-instruction").click()
    tab.keyboard.type("make the star in {image} bigger than in {previous.image}")
    tab.wait_for_timeout(1500)
    return Image.open(io.BytesIO(tab.screenshot())).convert("RGB").crop((0, 36, 1240, 1000))


def editor(page: Page) -> Image.Image:
    """The instruction editor over the second box of a conversation, with a misspelt name and the list of pictures."""
    tab = page.tab
    page.open_template(START)
    texts = tab.locator("textarea:visible").all()
    next(text for text in texts if "previous" in text.input_value() and not text.input_value().startswith("#")).click()
    tab.locator(".ace-over").wait_for()
    tab.keyboard.press("Control+End")
    tab.keyboard.type(" and {imgae} {")
    tab.wait_for_timeout(500)
    frame = tab.locator(".ace-over").bounding_box()
    shot = Image.open(io.BytesIO(tab.screenshot())).convert("RGB")
    return shot.crop((int(frame["x"]) - 40, int(frame["y"]) - 100, int(frame["x"] + frame["width"]) + 40,
                      int(frame["y"] + frame["height"]) + 60))


def inspector(server: ComfyServer) -> Image.Image:
    """The upper part of what the template of the inspector draws."""
    graph = api_graph(workflows()[SEES](SEES))
    saves = next(key for key, each in graph.items() if each["class_type"] == "SaveImage")
    (info,) = server.run(graph, timeout=300)[saves]["images"]
    drawn = server.image(info).convert("RGB")
    return drawn.crop((0, 0, drawn.width, drawn.width))


def demo_page(page: Page) -> Image.Image:
    """The top of the demo's page. FileNotFoundError with the way out."""
    written = ROOT / "demo_output" / "index.html"
    if not written.exists():
        raise FileNotFoundError(f"{written} is missing: run python dev.py demo first.")
    page.tab.set_viewport_size({"width": 1160, "height": 1240})
    page.tab.goto(written.as_uri())
    page.tab.evaluate("""Promise.all([...document.images].filter(i => i.getBoundingClientRect().top < innerHeight)
                         .map(i => i.decode()))""")  # or some are painted in part
    return Image.open(io.BytesIO(page.tab.screenshot())).convert("RGB")


def main() -> int:
    for folder in (PICTURES, HELP):
        folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        models = Path(folder) / "models"  # so that no loader is marked as lacking its file
        tiny_models.write(models)
        (models / SAM.directory).mkdir(exist_ok=True)
        (models / SAM.directory / SAM.name).touch()
        with ComfyServer(Path(folder)) as server, open_page(server.url) as page:
            panel(page).save(HELP / "panel.png", optimize=True)
            editor(page).save(HELP / "editor.png", optimize=True)
            inspector(server).save(HELP / "inspector.png", optimize=True)
        with ComfyServer(Path(folder)) as server, open_page(server.url) as page:
            shots = {title: opened(page, title) for title in workflows()}
            contact_sheet(shots).save(PICTURES / "templates.jpg", quality=80)
            shots[LARGE].save(PICTURES / "conversation.jpg", quality=82)
            demo_page(page).save(PICTURES / "demo.jpg", quality=85)
    print(f"6 pictures in {PICTURES.relative_to(ROOT)} and {HELP.relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
