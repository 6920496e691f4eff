"""Boxes are found in the node library by what a user searches for, one edits a picture; help pages and Chinese names show."""

import time

import pytest

from starters.pictures import file_of
from tools.gallery.descriptions.boxes import BOXES
from tools.gallery.help import DOCS, definitions
from tools.gallery.models import DIT, T5, VAE

EDIT = "Image Edit (ACE)"
OURS = {box.title for box in BOXES} | {about["display_name"] for about in definitions("en").values()}
TERMS = ("edit image", "image editing", "inpaint", "outpaint", "remove object", "style transfer", "chat edit", "multi-turn")


@pytest.mark.parametrize("term", TERMS)
def test_the_node_library_finds_us(page, term):
    assert OURS & set(page.search_library(term))


@pytest.fixture
def canvas(page):
    """An empty graph, seen at its own size."""
    page.tab.evaluate("() => { app.graph.clear(); Object.assign(app.canvas.ds, {scale: 1, offset: [0, 0]}) }")
    return page


def test_own_picture_edited_from_an_empty_canvas(canvas, server):
    """The box and two of core's nodes, with two links: no more than core's own editing templates take."""
    page, picture = canvas, file_of("toy scene")
    page.place("Load Image", 450, 200)
    page.place(EDIT, 760, 200)
    page.place("Save Image", 1180, 200)
    page.drag_link("Load Image", "IMAGE", EDIT, "image")
    page.drag_link(EDIT, "image", "Save Image", "images")
    assert page.counts() == (3, 2)
    page.set_widget("Load Image", "image", picture)
    page.set_widget(EDIT, "instruction", "make the red star in {image} green")
    for name, file in (("model_name", DIT), ("text_encoder_name", T5), ("vae_name", VAE)):
        page.set_widget(EDIT, name, file.name)
    entry = submitted(page, server)
    assert entry["status"]["status_str"] == "success" and any("images" in out for out in entry["outputs"].values())
    loaded = [node["inputs"]["image"] for node in entry["prompt"][2].values() if node["class_type"] == "LoadImage"]
    assert loaded == [picture]
    assert page.errors == []


def submitted(page, server, seconds: float = 120) -> dict:
    """Press Run; the history's entry of what the page submitted."""
    before = set(server._get("/history"))
    page.tab.get_by_test_id("queue-button").click()
    deadline = time.monotonic() + seconds
    while not (new := server._get("/history").keys() - before):
        assert time.monotonic() < deadline, "the page submitted nothing"
        time.sleep(0.1)
    return server._get("/history")[new.pop()]


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


@pytest.mark.parametrize("language", ["en", "zh", "ja"])
def test_names(spoken, language):
    """In Chinese our translation, in any other language the English of the schemas."""
    node = spoken(language).evaluate("""() => {
        app.graph.clear()
        const node = LiteGraph.createNode('ACEEditorConditionUnit')
        app.graph.add(node)
        return {title: node.title, widget: node.widgets[0].label ?? node.widgets[0].name}
    }""")
    about = definitions("zh" if language == "zh" else "en")["ACEEditorConditionUnit"]
    assert node == {"title": about["display_name"], "widget": about["inputs"]["instruction"]["name"]}
