"""How little it takes: one's own picture in a template, one more turn of a conversation."""

import pytest

from starters.pictures import file_of
from tools.gallery.descriptions.boxes import NEXT_TURN


@pytest.mark.parametrize("title", ["ACE Edit", "ACE Add or replace an object", "ACE++ Local edit"])
def test_own_picture_is_one_action(page, title):
    page.load(page.template(title))
    before, own = page.prompt(), file_of("cat", masked=True)
    pictures = [key for key, node in before.items() if node["class_type"] == "LoadImage"]
    assert len(pictures) == 1 and before[pictures[0]]["inputs"]["image"] != own
    page.set_widget("Load Image", "image", own)
    before[pictures[0]]["inputs"]["image"] = own
    assert page.prompt() == before


def test_a_fourth_turn_is_one_box_and_one_wire(page, server):
    page.load(page.template("ACE Conversation"))
    page.tab.evaluate("() => Object.assign(app.canvas.ds, {scale: 0.4, offset: [300, 250]})")
    nodes, links = page.counts()
    page.place(NEXT_TURN.title, 1000, 300)
    page.drag_link("Turn 3", "conversation", NEXT_TURN.title, "conversation")
    assert page.counts() == (nodes + 1, links + 1)
    page.set_widget(NEXT_TURN.title, "instruction", "{image} at night")
    box = page.tab.evaluate("() => String(app.graph._nodes.at(-1).id)")
    graph = page.prompt()
    answer = next(key for key, node in graph.items()
                  if key.startswith(f"{box}:") and node["class_type"] == "ACEEditorKeepUntouched")
    for node in graph.values():
        if node["class_type"] == "ACEEditorSampler":
            node["inputs"]["steps"] = 2  # whether it runs is the question
    graph["seen"] = {"class_type": "PreviewImage", "inputs": {"images": [answer, 0]}}
    assert server.run(graph)["seen"]["images"]
    assert page.errors == []
