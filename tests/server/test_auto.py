"""Token budget 0: the model's own, by the model wire of nodes that do not sample. The log says which."""

import shutil

import graphs
import pytest
from graphs import node


@pytest.fixture(scope="module")
def large(base):
    """A model that its name says to be the 1024px one."""
    folder = base / "models/diffusion_models"
    shutil.copy(folder / "ace_tiny.safetensors", folder / "ace_tiny_1024px.safetensors")
    return "ace_tiny_1024px.safetensors"


@pytest.mark.parametrize("loader", ["ACE", "core", "none", "small"])
def test_budget(server, large, loader):
    picture = {"picture": node("EmptyImage", width=800, height=800, batch_size=1, color=0)}
    models = {"ACE": node("ACEEditorLoadModel", model_name=large, weight_dtype="default"),
              "core": node("UNETLoader", unet_name=large, weight_dtype="default"),
              "small": node("ACEEditorLoadModel", model_name="ace_tiny.safetensors", weight_dtype="default"), "none": None}
    side = 800 if loader in ("ACE", "core") else 512
    graph = graphs.loaders() | picture | {"unit": graphs.unit("{image}", [["picture", 0]])}
    graph |= graphs.graph.encode("", ["unit", 0])
    if models[loader]:
        graph["model"] = models[loader]
    else:
        del graph["model"], graph["tokens"]["inputs"]["model"]
    graph |= {"width": node("PreviewAny", source=["tokens", 1]), "height": node("PreviewAny", source=["tokens", 2])}
    outputs = server.run(graph)
    assert [outputs[key]["text"][0] for key in ("width", "height")] == [str(side)] * 2


def test_room_for_outpainting_follows_the_model(server, large):
    graph = {"picture": node("EmptyImage", width=640, height=640, batch_size=1, color=0),
             "model": node("ACEEditorLoadModel", model_name=large, weight_dtype="default")}
    room = dict.fromkeys(("left", "top", "right", "bottom"), 0.25)
    for key, wire in (("small", {}), ("large", {"model": ["model", 0]})):
        graph |= {key: node("ACEEditorPadForOutpainting", image=["picture", 0], token_budget=0, shrink_to_fit=True, **room,
                            **wire), f"{key} size": node("GetImageSize", image=[key, 0])}
        graph[f"{key} width"] = node("PreviewAny", source=[f"{key} size", 0])
    outputs = server.run(graph)
    assert outputs["large width"]["text"] == ["960"], "640 and two quarters of it"
    assert int(outputs["small width"]["text"][0]) <= 512
    assert "ace_tiny_1024px.safetensors counts as the 1024px model: 50 steps, token budget 4096" in server.log
