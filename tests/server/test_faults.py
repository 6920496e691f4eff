"""Memory that runs out and runs that are stopped in the middle of a step: the next run is as if nothing had happened."""

import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from ace_model.comfyui.graph import node
from tools.comfy_server import PACK_NAME, ComfyServer, PromptError, PromptInterrupted, link_folder

import graphs  # isort: skip

HELPER = Path(__file__).with_name("failing_pack")
STOPS = [("memory", PromptError), ("stop", PromptInterrupted)]
TURNS = [("make {image} blue", ["a.png"], {}), ("now {image} red", ["b.png"], {})]


@pytest.fixture(scope="module")
def failing(base):
    (base / "custom_nodes").mkdir(exist_ok=True)
    link_folder(base / "custom_nodes" / HELPER.name, HELPER)
    with ComfyServer(base, extra_args=["--whitelist-custom-nodes", PACK_NAME, HELPER.name]) as server:
        yield server


@pytest.fixture
def run(failing, base):
    """run(graph) → latent. Raises what the server says."""
    def run(graph):
        info = failing.run(graph)["save"]["latents"][0]
        return load_file(base / "output" / info["subfolder"] / info["filename"])["latent_tensor"]
    return run


def edit(reuse=1, turns=TURNS):
    graph = graphs.edit(turns)
    graph["latent"]["inputs"]["reuse_context"] = reuse
    return graph


def through(graph, what, **how):
    """The graph with FailOnce behind the loader of model, clip or vae."""
    output = ["model", "clip", "vae"].index(what)
    for each in graph.values():
        each["inputs"] = {key: ["fail", output] if value == [what, 0] else value for key, value in each["inputs"].items()}
    return graph | {"fail": node("FailOnce", **{what: [what, 0]}, **how)}


@pytest.mark.parametrize("reuse", [1, 3], ids=["exact", "context reuse"])
@pytest.mark.parametrize("step", ["full", "between"])
@pytest.mark.parametrize(("how", "error"), STOPS)
def test_sampling(failing, run, reuse, step, how, error):
    clean = run(edit(reuse))
    graph = through(edit(reuse), "model", at={"full": 1, "between": 3}[step], how=how)
    with pytest.raises(error) as failed:
        run(graph)
    assert failed.value.node_type == "ACEEditorSampler"
    assert how == "stop" or failed.value.kind.endswith("OutOfMemoryError")
    assert torch.equal(run(graph), clean) and "fail" in failing.cached


@pytest.mark.parametrize(("how", "error"), STOPS)
@pytest.mark.parametrize("at", [1, 2])
def test_the_text_encoder(run, how, error, at):
    """In the first text, and behind it: nothing of a text is remembered that was not read to its end."""
    turns = [(f"{how} {at}: make {{image}} blue", ["a.png"], {}), (f"{how} {at}: now {{image}} red", ["b.png"], {})]
    graph = through(edit(turns=turns), "clip", at=at, how=how)
    with pytest.raises(error):
        run(graph)
    another = edit(turns=turns)
    another["clip"]["inputs"]["device"] = "cpu"  # loaded once more, so it has read nothing
    assert torch.equal(run(graph), run(another))


@pytest.mark.parametrize(("how", "error"), STOPS)
def test_the_vae(failing, base, run, how, error):
    """Without memory core encodes in tiles by itself; these pictures fit into one."""
    shutil.copy(base / "models/vae/taesd_tiny.safetensors", base / "models/vae" / f"taesd_{how}.safetensors")
    fresh = edit()
    fresh["vae"]["inputs"]["vae_name"] = f"taesd_{how}.safetensors"
    graph = through(fresh, "vae", at=2, how=how)
    if how == "stop":
        with pytest.raises(error):
            run(graph)
        assert torch.equal(run(graph), run(edit()))
    else:
        seen = len(failing.log)
        torch.testing.assert_close(run(graph), run(edit()), rtol=1e-3, atol=1e-3)
        assert "retrying with tiled VAE encoding" in failing.log[seen:]
