"""ACE Training Examples and core's Train LoRA in a real server: a LoRA that knows the examples."""

import json
import shutil

import graphs
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from tools.comfy_server import PromptError

SET = "teach me"


@pytest.fixture(scope="module")
def examples(base):
    """Two edits and their sources; targets of one size, sources of two."""
    folder = base / "input" / SET
    for name, source in (("first", "a.png"), ("second", "b.png")):
        (folder / "control").mkdir(parents=True, exist_ok=True)
        shutil.copy(base / "input" / source, folder / f"control/{name}.png")
        Image.open(base / "input/c.png").rotate(90).save(folder / f"{name}.png")
        (folder / f"{name}.txt").write_text(f"make {{image}} {name}")
    return folder


def read(name=SET, **more):
    return {**graphs.loaders(), "examples": graphs.node("ACEEditorTrainingExamples", examples=name, clip=["clip", 0],
                                                        vae=["vae", 0], model=["model", 0], token_budget=0, **more)}


def train(**options):
    return {"train": graphs.node("TrainLoraNode", model=["model", 0], latents=["examples", 0], positive=["examples", 1], **{
        "batch_size": 1, "grad_accumulation_steps": 1, "steps": 4, "learning_rate": 0.01, "rank": 4, "optimizer": "AdamW",
        "loss_function": "MSE", "seed": 0, "training_dtype": "fp32", "lora_dtype": "fp32", "quantized_backward": False,
        "algorithm": "LoRA", "gradient_checkpointing": True, "checkpoint_depth": 1, "offloading": False,
        "existing_lora": "[None]", "bucket_mode": False, "bypass_mode": False} | options)}


LEARNED = {"learned": graphs.node("LoraModelLoader", model=["model", 0], lora=["train", 0], strength_model=1.0, bypass=False)}


@pytest.mark.parametrize("options", [{}, {"training_dtype": "bf16", "lora_dtype": "bf16"}, {"gradient_checkpointing": False},
                                     {"bypass_mode": True}], ids=["fp32", "bf16", "without checkpointing", "bypass"])
def test_a_lora_of_cores_acts(options, run, server, examples):
    plain = run(graphs.edit())
    changed = run({**graphs.edit(), **read(), **train(**options), **LEARNED, **graphs.ace_sampler("learned")})
    assert torch.isfinite(changed).all() and not torch.allclose(changed, plain, rtol=1e-2)


def test_its_file_loads_in_cores_loader(run, server, base, examples):
    graph = {**graphs.edit(), **read(), **train(), **LEARNED, **graphs.ace_sampler("learned")}
    direct = run(graph | {"keep lora": graphs.node("SaveLoRA", lora=["train", 0], prefix="taught", steps=["train", 2])})
    file = max((base / "output").glob("taught_4_steps_*.safetensors"))
    shutil.copy(file, base / "models/loras/taught.safetensors")
    assert any("cross_attn" in key for key in load_file(file))
    loaded = graphs.node("LoraLoaderModelOnly", model=["model", 0], lora_name="taught.safetensors", strength_model=1.0)
    assert torch.equal(run({**graphs.edit(), "learned": loaded, **graphs.ace_sampler("learned")}), direct)


def test_positive_is_what_the_nodes_make(run, base, examples):
    """The first example's answer is sampled with and without the node, unguided: the same latent."""
    graph = graphs.edit((("make {image} first", ["a.png"], {}),), width=48, height=48) | graphs.ace_sampler(guidance=1.0)
    by_hand = run(graph)
    graph["latent"]["inputs"] |= {"positive": ["examples", 1], "negative": ["examples", 1]}
    assert torch.equal(run({**graph, **read()}), by_hand)


def test_latents_are_the_vaes(run, base, examples):
    shutil.copy(examples / "first.png", base / "input/target.png")
    encoded = {**graphs.loaders(), **graphs.picture("target.png"), "latent": graphs.node(
        "VAEEncode", pixels=["load target.png", 0], vae=["vae", 0]), **graphs.save()}
    assert torch.equal(run({**read(), **graphs.save("examples")}), run(encoded))


def test_a_changed_file_is_read_again(run, base, examples):
    folder = base / "input/changing"
    folder.mkdir()
    Image.new("RGB", (48, 48)).save(folder / "a.png")
    (folder / "a.txt").write_text("a field")
    before = run({**read("changing"), **graphs.save("examples")})
    Image.new("RGB", (48, 48), (255, 0, 0)).save(folder / "a.png")
    assert not torch.equal(run({**read("changing"), **graphs.save("examples")}), before)


def refused(server, name):
    with pytest.raises(PromptError) as error:
        server.run({**read(name), **graphs.save("examples")})
    return str(error.value)


def test_what_is_wrong_is_told(server, base):
    folder = base / "input/wrong"
    folder.mkdir()
    Image.new("RGB", (48, 48)).save(folder / "a.png")
    turn = {"id": "t", "instruction": "{image1} please " * 60, "images": [{"file": "a.png"}], "target": {"file": "gone.png"}}
    lines = [{"version": 1, "at": "t", "turns": [turn]}, {"image_path": "a.png", "caption": "word " * 200},
             {"image_path": "a.png", "caption": "{image}"}]
    (folder / "all.jsonl").write_text("\n".join(map(json.dumps, lines)))
    text = refused(server, "wrong")
    assert "has 3 problems" in text and "all.jsonl:1: gone.png is not there" in text
    assert "all.jsonl:2: the instruction has 201 tokens" in text and "all.jsonl:3: the instruction names {image}" in text


def test_targets_of_several_sizes(server, base):
    """Core hands such latents to the network without scaling them."""
    folder = base / "input/sizes"
    folder.mkdir()
    for name, size in (("a", (48, 48)), ("b", (64, 32))):
        Image.new("RGB", size).save(folder / f"{name}.png")
        (folder / f"{name}.txt").write_text("a field")
    assert "its targets have 2 sizes (64×32, 48×48), but core's Train LoRA" in refused(server, "sizes")


@pytest.mark.parametrize("name", ["..", "../input/wrong", "/etc", "nothing here"])
def test_it_stays_in_the_input_folder(name, server):
    assert "Value not in list" in refused(server, name)
