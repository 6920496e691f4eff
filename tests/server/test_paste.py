"""Pasting in the templates' own graphs, with a flat color in place of the model's answer: closed forms decide."""

import numpy as np
import pytest
from PIL import Image, ImageDraw

from ace_model.comfyui.graph import node
from tools.comfy_server import ComfyServer
from tools.gallery.api import api_graph
from tools.gallery.build import workflows

GROUND, OBJECT, MADE = 175, 40, 180  # gray levels


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with ComfyServer(tmp_path_factory.mktemp("comfyui_paste")) as server:
        yield server


def pasted(server, title, picture: Image.Image, mask: Image.Image | None = None) -> np.ndarray:
    """What the template's way back makes of `picture` and an answer that is MADE everywhere: (H, W) levels."""
    if mask is not None:
        picture = picture.convert("RGBA")
        picture.putalpha(mask.point(lambda value: 255 - value))  # transparent = edit here, as the mask editor writes it
    picture.save(server.base / "input" / "given.png")
    graph = api_graph(workflows()[title](title))
    (kept,) = (key for key, one in graph.items() if one["class_type"] == "ACEEditorKeepUntouched")
    for one in graph.values():
        if one["class_type"] == "LoadImage":
            one["inputs"]["image"] = "given.png"
        if one["class_type"] == "ACEEditorPadForOutpainting":
            del one["inputs"]["model"]  # there is none here
    graph |= {"size": node("GetImageSize", image=graph[kept]["inputs"]["original"]),
              "answer": node("EmptyImage", width=["size", 0], height=["size", 1], batch_size=1, color=MADE * 0x010101)}
    graph[kept]["inputs"]["result"] = ["answer", 0]
    graph["save"] = node("SaveImage", images=[kept, 0], filename_prefix="pasted")
    needed = reachable(graph, "save")
    outputs = server.run({key: graph[key] for key in needed})
    return np.asarray(server.image(outputs["save"]["images"][0]).convert("L")).astype(int)


def reachable(graph: dict, key: str) -> set[str]:
    links = [value[0] for value in graph[key]["inputs"].values() if isinstance(value, list)]
    return {key}.union(*(reachable(graph, link) for link in links))


def test_outpainting_has_no_dark_ring(server):
    """A flat picture of 256 pixels with a quarter of room around it."""
    levels = pasted(server, "ACE Outpaint", Image.new("RGB", (256, 256), (GROUND,) * 3))
    assert levels.shape == (384, 384)
    ring = np.concatenate([levels[63, 63:321], levels[320, 63:321], levels[63:321, 63], levels[63:321, 320]])
    assert np.abs(ring - MADE).max() <= 1, "just outside the picture it is the answer"
    assert levels.min() >= GROUND, "and the room's black is nowhere"
    assert (levels[80:-80, 80:-80] == GROUND).all()


def test_a_stroke_of_four_pixels_is_all_answer(server):
    mask = Image.new("L", (256, 256))
    ImageDraw.Draw(mask).rectangle((40, 126, 215, 129), fill=255)
    levels = pasted(server, "ACE Inpaint", Image.new("RGB", (256, 256), (OBJECT,) * 3), mask)
    assert (levels[126:130, 40:216] == MADE).all()
    assert (levels[:126 - 16] == OBJECT).all() and (levels[130 + 16:] == OBJECT).all()


def test_a_mask_equal_to_an_object_leaves_nothing_of_it(server):
    """The object has soft edges; the mask is its 50 % line."""
    drawn = Image.new("L", (1024, 1024), MADE)
    ImageDraw.Draw(drawn).ellipse((300, 340, 700, 620), fill=OBJECT)
    soft = drawn.resize((256, 256), Image.Resampling.BOX)
    mask = soft.point(lambda value: 255 * (value < (MADE + OBJECT) / 2))
    levels = pasted(server, "ACE Remove an object", soft.convert("RGB"), mask)
    assert np.abs(levels - MADE).max() <= 1
