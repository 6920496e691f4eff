"""Every shipped workflow in a real ComfyUI, with small random models under the published names."""

from pathlib import Path

import numpy as np
import pytest
import requests
import torch
from PIL import Image

from ace_model.images import fit
from ace_model.masks import distance_to, fit_mask
from ace_model.outpaint import SIDES, add_room
from demo.page.toys import DRAWING
from starters import pictures
from tools import tiny_models
from tools.comfy_server import PACK_NAME, ComfyServer, PromptError, link_folder
from tools.gallery.api import api_graph
from tools.gallery.build import workflows
from tools.gallery.capture import texts
from tools.gallery.help import definitions
from tools.gallery.models import SAM

HELPER = Path(__file__).with_name("tiny_flux_pack")  # tells core the sizes of the small FLUX text encoders
GRAPHS = {title: api_graph(describe(title)) for title, describe in workflows().items()}
KEEPING = [title for title, graph in GRAPHS.items() if any(  # where a mask is connected
    node["class_type"] == "ACEEditorKeepUntouched" and "mask" in node["inputs"] for node in graph.values())]
WORDS = "ACE Mask from words"
BUDGET = 256  # tokens, instead of ACE's 1024 and the refiner's 4096
SIZES = {  # (width, height) where it is not the first picture's
    "ACE Text to image": (256, 256), "ACE Teach a subject": (256, 256), "ACE Talk to your pictures": (128, 128),
    "ACE Reference": (256, 192), "ACE Refine with FLUX": (304, 208),
    "ACE Pair pictures": (488, 896), "ACE Make pairs": (592, 400)}

@pytest.fixture(scope="module")
def server(tmp_path_factory):
    base = tmp_path_factory.mktemp("comfyui_workflows")
    tiny_models.write(base / "models")
    (base / "custom_nodes").mkdir()
    link_folder(base / "custom_nodes" / HELPER.name, HELPER)
    (base / "input/my subject").mkdir(parents=True)  # of ACE Teach a subject
    for number, color in enumerate(("red", "blue")):
        Image.new("RGB", (64, 64), color).save(base / f"input/my subject/{number}.png")
        (base / f"input/my subject/{number}.txt").write_text("a zibble on a table")
    options = ["--use-pytorch-cross-attention", "--whitelist-custom-nodes", PACK_NAME, HELPER.name]
    with ComfyServer(base, extra_args=options) as server:
        yield server


def quick(graph: dict) -> dict:
    """The same graph with few steps and, unless ACE++ takes part, small pictures inside the model."""
    out, plus = {}, find(graph, "ACEEditorPlusCanvas")
    for key, node in graph.items():
        inputs = dict(node["inputs"])
        if "steps" in inputs:
            inputs["steps"] = 1 if node["class_type"] == "ACEEditorSampler" else 2
        if node["class_type"] == "ComfyMathExpression":
            inputs["expression"] = inputs["expression"].replace(str(1024**2), str(BUDGET * 256))
        if node["class_type"] == "ACEEditorPlusCanvas":
            inputs["token_budget"] = 512
        if node["class_type"] == "ACEEditorPadForOutpainting":
            inputs["token_budget"] = 1024
        if node["class_type"] == "ACEEditorConditionTokenizer" and not plus and not isinstance(inputs["width"], list):
            inputs |= {"token_budget": BUDGET, "width": inputs["width"] // 2, "height": inputs["height"] // 2}
        out[key] = {"class_type": node["class_type"], "inputs": inputs}
    return out


def find(graph: dict, kind: str) -> list[str]:
    return [key for key, node in graph.items() if node["class_type"] == kind]


def pixels(server, outputs: dict, key: str) -> np.ndarray:
    return np.asarray(server.image(outputs[key]["images"][0]).convert("RGB"))


def expected_size(title: str, graph: dict) -> tuple[int, int]:
    """(width, height) of what a workflow saves: the first picture's, inside the budget unless the rest is put back."""
    if title in SIZES:
        return SIZES[title]
    file = graph[find(graph, "LoadImage")[0]]["inputs"]["image"]
    name = next(name for name in pictures.names() if file in (f"ACE {name}.png", f"ACE {name}, masked.png"))
    first = torch.zeros(1, *reversed(pictures.load(name).size), 3)
    if title == "ACE Outpaint":
        room = graph[find(graph, "ACEEditorPadForOutpainting")[0]]["inputs"]
        first, _ = add_room(first, *(room[side] for side in SIDES), 1024, True)
    height, width = first.shape[1:3]
    return (width, height) if title in KEEPING else fit(height, width, BUDGET)[1][::-1]


@pytest.mark.parametrize("title", GRAPHS)
def test_workflow_runs(server, title):
    graph = quick(GRAPHS[title] if title != WORDS else without_sam(GRAPHS[title]))
    keep = [key for key in find(graph, "ACEEditorKeepUntouched") if "mask" in graph[key]["inputs"]]
    for key in keep:  # save what must stay, and where
        inputs = graph[key]["inputs"]
        graph["original"] = {"class_type": "SaveImage", "inputs": {"images": inputs["original"], "filename_prefix": "o"}}
        graph["white"] = {"class_type": "MaskToImage", "inputs": {"mask": inputs["mask"]}}
        graph["mask"] = {"class_type": "SaveImage", "inputs": {"images": ["white", 0], "filename_prefix": "m"}}
    outputs = server.run(graph, timeout=240)
    saved = [key for key in find(graph, "SaveImage") if key not in ("original", "mask")]
    assert saved
    if not title.startswith("ACE++") and title != DRAWING:
        for key in saved:
            assert pixels(server, outputs, key).shape[1::-1] == expected_size(title, graph)
    for key in keep:
        result_key = next(k for k in saved if graph[k]["inputs"]["images"] == [key, 0])
        before, after = pixels(server, outputs, "original"), pixels(server, outputs, result_key)
        mask = fit_mask(torch.from_numpy(pixels(server, outputs, "mask")[None, ..., 0] / 255.0), *before.shape[:2])
        reach = graph[key]["inputs"]["grow"] + graph[key]["inputs"]["feather"]
        outside = (distance_to(mask > 0.5, reach) > reach)[0].numpy()
        assert outside.any() and np.array_equal(before[outside], after[outside])
        assert not np.array_equal(before, after)


def without_sam(graph: dict) -> dict:
    """The graph with a painted mask in the place of the one that SAM 3 finds; core fixes the size of its file."""
    (found,) = find(graph, "SAM3_Detect")
    out = {key: {**node, "inputs": {name: ["painted", 1] if value == [found, 0] else value
                                    for name, value in node["inputs"].items()}} for key, node in graph.items()}
    for kind in ("SAM3_Detect", "CLIPTextEncode", "CheckpointLoaderSimple", "PrimitiveString"):
        (key,) = find(out, kind)
        del out[key]
    return out | {"painted": {"class_type": "LoadImage", "inputs": {"image": pictures.file_of("coffee", masked=True)}}}


def test_sam_is_asked_for_words_and_only_its_file_is_missing(server):
    graph = quick(GRAPHS[WORDS])
    for key in find(graph, "SaveImage"):
        del graph[key]  # the mask alone: ComfyUI says what is wrong once for each saved result
    answer = requests.post(f"{server.url}/prompt", json={"prompt": graph}, timeout=60).json()
    (at_fault,) = answer["node_errors"].values()
    (error,) = at_fault["errors"]
    assert at_fault["class_type"] == "CheckpointLoaderSimple" and SAM.name in error["details"]
    assert error["extra_info"]["input_name"] == "ckpt_name"
    (asked,) = find(graph, "SAM3_Detect")
    (words,) = find(graph, "CLIPTextEncode")
    assert graph[asked]["inputs"]["conditioning"] == [words, 0] and graph[words]["inputs"]["text"] == "spoon"


@pytest.mark.parametrize("before, after", [
    ((512, 512), (1024, 1024)), ((592, 400), (1232, 832)), ((1024, 1024), (1024, 1024)), ((1264, 816), (1264, 816)),
    ((1600, 1200), (1600, 1200)), ((665, 665), (1024, 1024)), ((1300, 1000), (1296, 992))])
def test_the_refiner_enlarges_to_4096_tokens_and_at_most_rounds_down(server, before, after):
    graph = GRAPHS["ACE Refine with FLUX"]
    (scaled,) = find(graph, "ImageScale")
    made = {"given": {"class_type": "EmptyImage", "inputs": {"width": before[0], "height": before[1], "batch_size": 1,
                                                             "color": 0}},
            "save": {"class_type": "SaveImage", "inputs": {"images": [scaled, 0], "filename_prefix": "scaled"}}}
    for key in (scaled, *find(graph, "ComfyMathExpression"), *find(graph, "GetImageSize")):
        inputs = graph[key]["inputs"]
        made[key] = {**graph[key], "inputs": inputs | ({"image": ["given", 0]} if "image" in inputs else {})}
    assert pixels(server, server.run(made), "save").shape[1::-1] == after


def test_names_and_tooltips_are_those_of_the_nodes(server):
    real = {name: texts(info) for name, info in server._get("/object_info").items()
            if name.startswith("ACEEditor") and not info.get("dev_only")}
    assert real == definitions("en"), "run: python -m tools.gallery.capture --url ADDRESS, then python -m tools.gallery.help"


def test_masked_workflows_keep_the_rest():
    assert {"ACE Add or replace an object", "ACE Remove an object", "ACE Text in pictures", "ACE Inpaint", "ACE Outpaint",
            "ACE Try-on", "ACE Detail of a large photograph", "ACE Step by step", "ACE++ Try-on"} <= set(KEEPING)


def picture():
    return {"class_type": "LoadImage", "inputs": {"image": pictures.file_of("cat")}}


def save(key):
    return {"class_type": "SaveImage", "inputs": {"images": [key, 0], "filename_prefix": "bad"}}


def solid(value):
    return {"class_type": "SolidMask", "inputs": {"value": value, "width": 448, "height": 288}}


def outpaint(**changes):
    room = {"left": 0.25, "top": 0.25, "right": 0.25, "bottom": 0.25, "token_budget": 1024, "shrink_to_fit": True}
    inputs = {"image": ["picture", 0], **room, **changes}
    return {"picture": picture(), "bad": {"class_type": "ACEEditorPadForOutpainting", "inputs": inputs}, "save": save("bad")}


def crop(mask, **changes):
    inputs = {"image": ["picture", 0], "mask": ["mask", 0], "margin": 0.5, "min_size": 256, **changes}
    return {"picture": picture(), "mask": mask, "bad": {"class_type": "ACEEditorCropAroundMask", "inputs": inputs},
            "save": save("bad")}


def instruction(task, **changes):
    inputs = {"task": task, "phrasing": 1, "what": "", "how": "", **changes}
    text = {"class_type": "PreviewAny", "inputs": {"source": ["bad", 0]}}
    return {"bad": {"class_type": "ACEEditorInstruction", "inputs": inputs}, "show": text}


BAD = {
    "no such task": (instruction("Analysis: taste"), "Analysis: taste"),
    "gap left empty": (instruction("Element editing: remove object"), "needs what, but what is empty"),
    "outpaint of zero": (outpaint(left=0.0, top=0.0, right=0.0, bottom=0.0), "nothing to outpaint"),
    "outpaint over the budget": (outpaint(shrink_to_fit=False, token_budget=256), "but the token budget is 256"),
    "outpaint too far": (outpaint(left=4.0, top=4.0, right=4.0, bottom=4.0, token_budget=16), "would shrink to"),
    "crop around nothing": (crop(solid(0.0)), "covers nothing"),
    "crop around everything": (crop(solid(1.0)), "covers everything"),
    "crop larger than the picture": (crop({"class_type": "SolidMask", "inputs": {"value": 1.0, "width": 8, "height": 8}},
                                          min_size=512), "min_size 512 is larger than the picture of 448×288"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_named_by_its_node(server, case):
    graph, message = BAD[case]
    with pytest.raises(PromptError) as caught:
        server.run(graph)
    assert message in caught.value.message
    assert caught.value.node_id == "bad" and caught.value.node_type == graph["bad"]["class_type"]
