"""The canvases of the ACE++ templates are as large as those of the authors' examples, or larger."""

import pytest
import torch
from PIL import Image

from ace_model.plus import Layout, make_canvas
from starters import pictures
from tools.gallery import build
from tools.gallery.api import api_graph

TITLES = sorted(title for title in build.workflows() if title.startswith("ACE++"))
FEWEST, MOST = 2000, 6144  # the authors' examples have 2,000 to 4,096 tokens; their LoRA node allows 6,144
BUDGETS = {"LoraLoaderModelOnly": 6144, None: 3072}  # the authors' nodes for the LoRAs and for the full fine-tune
FILES = {pictures.file_of(path.stem, masked): path for path in pictures.FOLDER.glob("*.[jp][pn]g")
         if path.stem in pictures.names() for masked in (False, True) if not masked or pictures.mask_of(path.stem).is_file()}


def size_of(graph: dict, link: list) -> tuple[int, int]:
    """(height, width) of the picture that a link carries."""
    node = graph[link[0]]
    kind, inputs = node["class_type"], node["inputs"]
    if kind == "LoadImage":
        with Image.open(FILES[inputs["image"]]) as file:
            return file.height, file.width
    if kind == "ImageCompositeMasked":
        return size_of(graph, inputs["destination"])
    if kind == "ImageScaleBy":
        return tuple(round(side * inputs["scale_by"]) for side in size_of(graph, inputs["image"]))
    assert kind in ("Canny", "ImageInvert"), f"{kind}: say here what size it makes"
    return size_of(graph, inputs["image"])


def canvas_of(title: str) -> tuple[dict, Layout]:
    """(inputs of ACE++ Canvas, layout) of a template with its example pictures."""
    graph = api_graph(build.workflows()[title](title))
    inputs = next(node["inputs"] for node in graph.values() if node["class_type"] == "ACEEditorPlusCanvas")
    given = {name: torch.zeros(1, *size_of(graph, link), 3) for name, link in inputs.items()
             if isinstance(link, list) and name != "mask"}
    image = given.pop("image", None)
    lora = next((node["class_type"] for node in graph.values() if node["class_type"] in BUDGETS), None)
    assert inputs["token_budget"] == BUDGETS[lora]
    canvas = make_canvas([given[name] for name in sorted(given)], image, None, inputs["width"], inputs["height"],
                         inputs["reference_fit"] == "keep size", inputs["fill_strength"], inputs["token_budget"])
    return inputs, canvas.layout


@pytest.mark.parametrize("title", TITLES)
def test_canvas_is_of_the_size_that_the_weights_know(title):
    inputs, layout = canvas_of(title)
    assert FEWEST <= layout.tokens <= min(MOST, inputs["token_budget"]), layout
    keeps = inputs["reference_fit"] == "keep size"  # a small reference then stays small, as the full fine-tune knows it
    for panel in [layout.edit] if keeps else layout.panels:
        assert min(panel.size) >= 512, layout
    if layout.source:  # else the picture is cropped
        assert layout.window.size == layout.source, layout
