"""Makes the README's pictures, docs/pictures/*.jpg: `python -m demo.page.readme_pictures`. Needs COMFYUI_PATH and a browser.

tasks.jpg: every thumbnail with its title · <workflow>.jpg: screenshots of ComfyUI's own page with a workflow open ·
demo.jpg: the page that `python dev.py demo` has written.
"""

from __future__ import annotations

import io
import sys
import tempfile
from pathlib import Path

from PIL import Image, ImageChops, ImageDraw, ImageFont

from tools.browser import Page, open_page
from tools.comfy_server import ComfyServer
from tools.gallery.build import workflows
from tools.gallery.graph import ROOT

from .thumbnails import GROUND, INK, case, thumbnail

PICTURES = ROOT / "docs" / "pictures"
SCREENSHOTS = {"Conversation in three turns": "conversation", "Inpainting": "inpainting", "Reference generation": "reference"}
COLUMNS, CELL, LINE = 6, 200, 28


def overview(titles: list[str]) -> Image.Image:
    """A sheet of thumbnails with titles."""
    rows = -(-len(titles) // COLUMNS)
    sheet = Image.new("RGB", (COLUMNS * CELL, rows * (CELL + LINE)), GROUND)
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(13)
    for i, title in enumerate(titles):
        x, y = (i % COLUMNS) * CELL, (i // COLUMNS) * (CELL + LINE)
        sheet.paste(thumbnail(case(title)).resize((CELL - 8, CELL - 8), Image.Resampling.LANCZOS), (x + 4, y + 4))
        draw.text((x + CELL // 2, y + CELL + LINE // 2 - 2), title, font=font, fill=INK, anchor="mm")
    return sheet


def trimmed(picture: Image.Image) -> Image.Image:
    """Without the page's frame and the empty background around the graph."""
    inner = picture.crop((130, 130, picture.width - 10, picture.height - 130))
    ground = Image.new("RGB", inner.size, inner.getpixel((5, inner.height - 5)))
    box = ImageChops.difference(inner, ground).convert("L").point(lambda value: 255 * (value > 24)).getbbox()
    return inner.crop((max(box[0] - 20, 0), max(box[1] - 20, 0), box[2] + 20, box[3] + 20)) if box else inner


def screenshot(page: Page, title: str) -> Image.Image:
    """The workflow as the page shows it, every file at hand or not."""
    page.open_template(title)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "page.png"
        page.picture(path)
        return Image.open(io.BytesIO(path.read_bytes())).convert("RGB")


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
    PICTURES.mkdir(parents=True, exist_ok=True)
    titles = [title for title in workflows() if not title.startswith("ACE++")]
    overview(titles).save(PICTURES / "tasks.jpg", quality=85)
    with tempfile.TemporaryDirectory() as folder:
        from tools import tiny_models

        tiny_models.write(Path(folder) / "models")  # so that no loader is marked as lacking its file
        with ComfyServer(Path(folder)) as server, open_page(server.url, width=2400, height=1100) as page:
            for title, name in SCREENSHOTS.items():
                trimmed(screenshot(page, title)).save(PICTURES / f"{name}.jpg", quality=82)
            demo_page(page).save(PICTURES / "demo.jpg", quality=85)
    print(f"{2 + len(SCREENSHOTS)} pictures in {PICTURES.relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
