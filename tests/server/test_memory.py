"""Nothing outlives its run: what is alive in a real server once ComfyUI has forgotten its results, round after round."""

import time
from pathlib import Path

import pytest
import requests
import torch
from safetensors.torch import save_file

from ace_model.comfyui.graph import node
from ace_model.record import Picture, Record, Settings, Turn
from ace_model.record_json import write
from tools.comfy_server import PACK_NAME, ComfyServer, PromptError, link_folder

import graphs  # isort: skip
from conftest import CONFIG  # isort: skip

HELPER = Path(__file__).with_name("living_pack")


@pytest.fixture(scope="module", params=[[], ["--cache-classic"]])
def living(request, base):
    (base / "custom_nodes").mkdir(exist_ok=True)
    link_folder(base / "custom_nodes" / HELPER.name, HELPER)
    lora = {f"diffusion_model.blocks.1.attn.v.lora_{way}.weight": torch.ones(shape) for way, shape in (
        ("down", (4, CONFIG.hidden_size)), ("up", (CONFIG.hidden_size, 4)))}
    save_file(lora, base / "models/loras/v.safetensors")
    with ComfyServer(base, extra_args=[*request.param, "--whitelist-custom-nodes", PACK_NAME, HELPER.name]) as server:
        yield server


def edit(text, model="model", **sampling):
    return graphs.loaders() | graphs.conversation(("{image} a", ["b.png"], {}), (text, ["a.png", "c.png"], {0: "mask.png"})) | (
        graphs.tokens()) | graphs.ace_sampler(model, **sampling) | graphs.save()


def changed_model(kind, **widgets):
    return {"changed": node(kind, model=["model", 0], **widgets)}


def inspector(seed):
    return {"inspect": node("ACEEditorInspector", lcu=["lcu", 0], clip=["clip", 0], model=["model", 0], vae=["vae", 0],
                            attention=True, negative_instruction="", width=0, height=0, target_image=0, token_budget=1024,
                            seed=seed, steps=2, guidance=4.5, rescale=0.5, first_step=0.0, last_step=1.0, first_block=0,
                            last_block=999)}


def a_round(server, number):
    """Requests of every kind, none like another's: right ones, failing ones, one that is stopped."""
    text = f"{{image}} like {{image1}} and {{previous.image}}, {number}"
    server.run(edit(text))
    server.run(edit(text, "changed") | changed_model("LoraLoaderModelOnly", lora_name="v.safetensors", strength_model=0.5))
    server.run(edit(text, "changed") | changed_model("ACEEditorContextReuse", every=2, change=0.0))
    server.run(edit(text) | graphs.ksampler())
    flux = changed_model("ModelSamplingFlux", max_shift=1.15, base_shift=0.5, width=64, height=64)
    for wrong in (edit(text + " {previous.image4}"), edit(text, "changed") | flux):
        with pytest.raises(PromptError):
            server.run(wrong)
    stopped = server.submit(edit(text, steps=1000))
    time.sleep(0.3)
    server.interrupt()
    with pytest.raises(PromptError):
        server.wait(stopped)
    turn = Turn("t1", None, text.replace(" and {previous.image}", ""), (Picture("a.png", "input"), Picture("b.png", "input")),
                seed=number, settings=Settings(steps=2))
    server.run(graphs.loaders() | {"chat": node("ACEEditorConversation", model=["model", 0], clip=["clip", 0], vae=["vae", 0],
                                                record=write(Record((turn,), "t1")))})
    server.run(edit(text) | inspector(number) | {"see": node("PreviewImage", images=["inspect", 0])})


def emptied(server):
    """{kind: number alive} after ComfyUI has let go of its history, its results and its models."""
    requests.post(f"{server.url}/history", json={"clear": True}, timeout=60)
    requests.post(f"{server.url}/free", json={"unload_models": True, "free_memory": True}, timeout=60)
    before = {"ModelPatcher": 1}
    for _ in range(100):  # it does so some time after it has answered
        found = requests.get(f"{server.url}/living", timeout=60).json()
        found.pop("Answer", None)  # ACE Conversation remembers which files the last 100 records have
        if found == before and "ModelPatcher" not in found:
            return found
        before = found
        time.sleep(0.5)
    pytest.fail(f"models stay alive: {found}")


def test_nothing_outlives_its_run(living):
    a_round(living, 0)
    alive = requests.get(f"{living.url}/living", timeout=60).json()
    assert alive["ModelPatcher"] and alive["LongContextUnit"], "the count sees what ComfyUI remembers"
    before = emptied(living)
    assert "LongContextUnit" not in before and "ContextReuse" not in before
    for number in (1, 2, 3):
        a_round(living, number)
    assert emptied(living) == before
