"""Workflows, blueprint and help pages are what their descriptions make; nothing overlaps; both languages are complete."""

import json
import re

import pytest

from tools.gallery import build, help
from tools.gallery.api import api_graph
from tools.gallery.descriptions.boxes import BOXES
from tools.gallery.graph import NODES, ROOT, DescriptionError, Workflow
from tools.gallery.layout import TITLE, arrange

FLOWS = {title: describe(title) for title, describe in build.workflows().items()}
LANGUAGES = ("en", "zh")


def test_files_are_as_described():
    assert not build.stale(build.contents()), "run: python -m tools.gallery.build"


def test_help_pages_are_as_described():
    stale = [str(path) for path, text in help.pages().items()
             if not path.is_file() or path.read_text(encoding="utf-8") != text]
    assert not stale, "run: python -m tools.gallery.help"


def test_every_node_has_help_and_both_languages():
    names = {name for name in NODES if name.startswith("ACEEditor")}
    english = help.definitions("en")
    assert set(english) == names, "run: python -m tools.gallery.capture"
    for language in LANGUAGES:
        texts = help.definitions(language)
        assert set(texts) == names
        for name, about in texts.items():
            assert about["display_name"] and about["description"]
            for part in ("inputs", "outputs"):
                assert set(about[part]) == set(english[name][part]), f"{language}: {name}.{part}"
                assert all(entry["name"] and entry["tooltip"] for entry in about[part].values()), f"{language}: {name}"
    for name in names:
        assert (help.NOTES / f"{name}.md").is_file() or name.startswith("ACEEditorPlus"), f"{name} has no tips"


@pytest.mark.parametrize("file", sorted((ROOT / "locales").glob("*/nodeDefs.json")), ids=lambda file: file.parent.name)
def test_only_names_and_descriptions_write_braces_as_literals(file):
    """ComfyUI's page reads commands such as braces in names and descriptions, and shows tooltips as they stand."""
    for key, value in re.findall(r'"(name|tooltip|description|display_name)": "([^"]*)"', file.read_text(encoding="utf-8")):
        plain = help.LITERAL.sub(r"\1", value)
        assert value == (plain if key == "tooltip" else re.sub(r"[{}@|]", r"{'\g<0>'}", plain)), key


@pytest.mark.parametrize("title", FLOWS)
def test_nothing_overlaps_and_the_flow_reads_left_to_right(title):
    flow = FLOWS[title]
    arrange(flow)
    boxes = [(node.pos[0], node.pos[1] - TITLE, node.pos[0] + node.size[0], node.pos[1] + node.size[1], node)
             for node in flow.nodes]
    for i, one in enumerate(boxes):
        for other in boxes[:i]:
            apart = one[0] >= other[2] or other[0] >= one[2] or one[1] >= other[3] or other[1] >= one[3]
            assert apart, f"{one[4].type} overlaps {other[4].type}"
    for group in flow.groups:
        x, y, width, height = group.bounding
        assert group.title
        for node in group.nodes:
            assert x < node.pos[0] and node.pos[0] + node.size[0] < x + width
            assert y < node.pos[1] - TITLE and node.pos[1] + node.size[1] < y + height
    for _, output, target, _ in flow.links:
        assert output.node.pos[0] <= target.pos[0], f"{output.node.type} stands right of {target.type}"


BUNDLED = {file.name for file in (ROOT / "demo" / "weights").glob("*/*.safetensors")}  # need no address


@pytest.mark.parametrize("title", FLOWS)
def test_workflows_keep_the_house_rules(title):
    content = json.loads((ROOT / "workflows" / f"{title}.json").read_text(encoding="utf-8"))
    assert content["version"] == 0.4 and title.startswith("ACE")
    nodes = content["nodes"]
    assert len(nodes) <= 7 or title == "ACE Step by step"
    note = next(node for node in nodes if node["type"] == "MarkdownNote")["widgets_values"][0]
    assert "`" not in note, "code spans are hard to read on the note's brown"
    inner = [node for box in content.get("definitions", {}).get("subgraphs", []) for node in box["nodes"]]
    for node in (*nodes, *inner):
        assert node["properties"].get("cnr_id") and node["properties"].get("ver") or node["type"] == "MarkdownNote"
        assert not {"randomize", "increment"} & {value for value in node["widgets_values"] if isinstance(value, str)}
        for model in node["properties"].get("models", []):
            assert re.fullmatch(r"https://(huggingface\.co|civitai\.com)/.*\.(safetensors|sft|ckpt|pth|pt)", model["url"])
    files = {value for node in api_graph(FLOWS[title]).values() for value in node["inputs"].values()
             if isinstance(value, str) and re.search(r"\.(safetensors|pth)$", value)} - BUNDLED
    assert all(f"[{name}](https://" in note for name in files), "the note links every file"
    assert (ROOT / "workflows" / f"{title}.jpg").is_file(), "run: python -m demo.page.thumbnails"


@pytest.mark.parametrize("title", FLOWS)
def test_workflows_fit_the_screen(title):
    """At 1600 × 1000 the page opens it at a zoom of 0.6 or more; the browser tests measure the zoom itself."""
    flow = FLOWS[title]
    arrange(flow)
    right = max(node.pos[0] + node.size[0] for node in flow.nodes)
    bottom = max(node.pos[1] + node.size[1] for node in flow.nodes)
    assert title == "ACE Step by step" or (right <= 2000 and bottom <= 1250), f"{right:.0f} × {bottom:.0f}"


def test_ids_inside_boxes_are_apart():
    inside = [node.id for box in BOXES for node in box.nodes]
    links = [link for box in BOXES for link, *_ in box.links]
    assert len(set(inside)) == len(inside) and len(set(links)) == len(links) and min(inside) > 100


def test_api_graph_unpacks_boxes():
    graph = api_graph(FLOWS["ACE Start here"])
    units = {key: node for key, node in graph.items() if node["class_type"] == "ACEEditorConditionUnit"}
    first, second = sorted(units, key=lambda key: int(key.split(":")[0]))
    assert units[first]["inputs"]["instruction"].startswith("make the red star")
    before = graph[units[second]["inputs"]["image"][0]]
    assert before["class_type"] == "ACEEditorUnpackConversation"
    assert before["inputs"]["conversation"][0].startswith(first.split(":")[0] + ":")
    assert "image1" not in units[first]["inputs"]
    assert all(node["class_type"] in NODES for node in graph.values())


def test_boxes_name_the_picture_where_the_instruction_does_not():
    """As the official tools do: “{image} ” goes in front of an instruction that names no picture."""
    units = [node["inputs"] for flow in FLOWS.values() for node in api_graph(flow).values()
             if node["class_type"] == "ACEEditorConditionUnit"]
    assert units and all(inputs["name_image"] for inputs in units if "image" in inputs)


def test_errors_of_descriptions_name_what_is_wrong():
    flow = Workflow("x")
    with pytest.raises(DescriptionError, match="tools.gallery.capture"):
        flow.add("NoSuchNode")
    with pytest.raises(DescriptionError, match="has no input speed"):
        flow.add("ACEEditorSampler", speed=3)
    with pytest.raises(DescriptionError, match="needs a choice for vae_name"):
        flow.add("VAELoader")
    vae = flow.add("VAELoader", vae_name="x.safetensors")
    with pytest.raises(DescriptionError, match="takes MODEL, not VAE"):
        flow.add("ACEEditorSampler", model=vae)
    with pytest.raises(DescriptionError, match="has no output .IMAGE."):
        vae["IMAGE"]
