"""Core's nodes on top of ACE, in a real server: LoRA, saving, patches, previews, interruption, repetition."""

import time

import graphs
import pytest
import torch
from safetensors.torch import load_file, save_file

from tools.comfy_server import PromptInterrupted


@pytest.fixture(scope="module")
def plain(run):
    return run(graphs.edit())


def lora(strength):
    return {"lora": graphs.node("LoraLoaderModelOnly", model=["model", 0], lora_name="tiny.safetensors",
                                strength_model=strength), **graphs.ace_sampler("lora")}


@pytest.mark.parametrize("style", ["diffusion_model.blocks.1.attn.q", "lora_unet_blocks_1_mlp_fc1"])
def test_lora(style, run, base, plain):
    generator = torch.Generator().manual_seed(5)
    out = 576 if "mlp" in style else 144
    save_file({f"{style}.lora_down.weight": torch.randn(4, 144, generator=generator),
               f"{style}.lora_up.weight": torch.randn(out, 4, generator=generator), f"{style}.alpha": torch.tensor(4.0)},
              base / "models/loras/tiny.safetensors")
    assert not torch.allclose(run(graphs.edit() | lora(0.8)), plain, rtol=1e-2)
    assert torch.equal(run(graphs.edit() | lora(0.0)), plain)
    assert torch.equal(run(graphs.edit()), plain), "the base model is left as it was"


def saved(server, base, graph, prefix):
    """Run core's ModelSave and put the file where loaders look."""
    server.run(graph | {"keep": graphs.node("ModelSave", model=["model", 0], filename_prefix=prefix)})
    file = next((base / "output").glob(f"{prefix}_*.safetensors"))
    target = base / "models/diffusion_models" / f"{prefix}.safetensors"
    file.rename(target)
    return target.name


def test_save_and_reload(server, base, run, plain):
    graph = graphs.edit()
    name = saved(server, base, {"model": graph["model"]}, "kept")
    assert torch.equal(run(graphs.edit() | graphs.loaders(model=name)), plain)
    assert torch.equal(run(graphs.edit() | {"model": graphs.node("UNETLoader", unet_name=name, weight_dtype="default")}),
                       plain)


def test_save_and_reload_keeps_an_unusual_number_of_heads(server, base, run, plain):
    weights = load_file(base / "models/diffusion_models/ace_tiny.safetensors")
    save_file(weights, base / "models/diffusion_models/six.safetensors", metadata={"config": '{"NUM_HEADS": 6}'})
    expected = run(graphs.edit() | graphs.loaders(model="six.safetensors"))
    assert not torch.allclose(expected, plain, rtol=1e-2), "six heads, not two"
    name = saved(server, base, {"model": graphs.loaders(model="six.safetensors")["model"]}, "six_kept")
    assert torch.equal(run(graphs.edit() | graphs.loaders(model=name)), expected)
    core = graphs.node("UNETLoader", unet_name=name, weight_dtype="default")
    assert torch.equal(run(graphs.edit() | {"model": core}), expected)


@pytest.mark.parametrize("patch", [
    graphs.node("RescaleCFG", model=["model", 0], multiplier=0.7),
    graphs.node("EasyCache", model=["model", 0], reuse_threshold=3.0, start_percent=0.0, end_percent=1.0, verbose=True),
], ids=["RescaleCFG", "EasyCache"])
def test_model_patches_act(patch, run):
    graph = graphs.edit() | graphs.ksampler("patched", guided=False, steps=20)
    plain = run(graphs.edit() | graphs.ksampler("model", guided=False, steps=20))
    patched = run(graph | {"patched": patch})
    assert torch.isfinite(patched).all() and not torch.allclose(patched, plain, rtol=1e-3)


def test_easy_cache_skips_steps(server, run):
    patch = graphs.node("EasyCache", model=["model", 0], reuse_threshold=3.0, start_percent=0.0, end_percent=1.0, verbose=False)
    run(graphs.edit() | graphs.ksampler("patched", guided=False, steps=24) | {"patched": patch})
    line = next(line for line in reversed(server.log.splitlines()) if "EasyCache - skipped" in line)
    assert int(line.split("skipped ")[1].split("/")[0]) > 0, line


def test_context_reuse_in_the_sampler_and_before_it(run, plain):
    """The setting and the node are the same thing, in ACE's sampler and in core's; 1 is exact."""
    def sampler(model="model", **more):
        graph = graphs.ace_sampler(model)
        graph["latent"]["inputs"] |= more
        return graph
    node = {"reuse": graphs.node("ACEEditorContextReuse", model=["model", 0], every=2, change=0.0)}
    fast = run(graphs.edit() | sampler(reuse_context=2))
    assert not torch.equal(fast, plain) and torch.allclose(fast, plain, atol=0.5 * plain.std())
    assert torch.equal(run(graphs.edit() | node | sampler("reuse")), fast)
    assert torch.equal(run(graphs.edit() | node | sampler("reuse", reuse_context=1)), fast), "the node's setting stays"
    assert torch.equal(run(graphs.edit() | sampler(reuse_context=1)), plain)
    assert torch.allclose(run(graphs.edit() | node | graphs.ksampler("reuse")), fast, atol=1e-3 * fast.std())


def test_reference_latent_is_one_more_image(run, plain):
    """Core's ReferenceLatent on top of ACE's conditioning equals naming the picture in the instruction's unit."""
    graph = graphs.edit() | {
        "encode": graphs.node("VAEEncode", pixels=["load a.png", 0], vae=["vae", 0]),
        "positive": graphs.node("ReferenceLatent", conditioning=["indicator", 0], latent=["encode", 0]),
        "negative": graphs.node("ReferenceLatent", conditioning=["indicator", 1], latent=["encode", 0]),
        **graphs.ace_sampler(guidance=1.0)}
    graph["latent"]["inputs"] |= {"positive": ["positive", 0], "negative": ["negative", 0]}
    twice = graphs.edit([("{image} make it blue", ["a.png"], {})]) | graphs.ace_sampler(guidance=1.0)
    twice["unit0"]["inputs"]["image1"] = ["load a.png", 0]
    assert torch.allclose(run(graph), run(twice), rtol=1e-4, atol=1e-4)


def test_previews_while_sampling(server, run):
    seen = len(server.events)
    run(graphs.edit() | graphs.ace_sampler(steps=9))
    events = server.events[seen:]
    assert any(event["type"] == "preview" for event in events)
    steps = [event["data"]["value"] for event in events
             if event["type"] == "progress" and event["data"].get("node") == "latent"]
    assert 9 in steps


def test_interrupt_in_the_middle_then_another_run(server, run, plain):
    seen = len(server.events)
    prompt = server.submit(graphs.edit() | graphs.ace_sampler(steps=1000))
    deadline = time.monotonic() + 120
    while not any(e["type"] == "progress" and e["data"].get("node") == "latent" for e in server.events[seen:]):
        assert time.monotonic() < deadline, "sampling never began"
        time.sleep(0.05)
    server.interrupt()
    with pytest.raises(PromptInterrupted):
        server.wait(prompt, timeout=120)
    assert torch.equal(run(graphs.edit()), plain)


def test_two_runs_are_identical(server, run, plain):
    server.run({"other": graphs.node("EmptyImage", width=16, height=16, batch_size=1, color=0),
                "keep": graphs.node("SaveImage", images=["other", 0], filename_prefix="other")})  # empties ComfyUI's cache
    assert torch.equal(run(graphs.edit()), plain)
    assert not server.cached & {"model", "tokens", "latent"}, "it ran again"


def test_core_trains_a_lora_on_ace(server, run, plain):
    """TrainLoraNode walks the conditioning's tensors, differentiates through the model and its text projection."""
    options = server.object_info("TrainLoraNode")["input"]["required"]
    defaults = {name: spec[1]["default"] for name, spec in options.items() if len(spec) > 1 and "default" in spec[1]}
    settings = {**defaults, "existing_lora": "[None]", "steps": 3, "rank": 4, "training_dtype": "fp32", "lora_dtype": "fp32"}
    graph = graphs.edit() | {
        "encode": graphs.node("VAEEncode", pixels=["load a.png", 0], vae=["vae", 0]),
        "train": graphs.node("TrainLoraNode", model=["model", 0], latents=["encode", 0], positive=["indicator", 0], **settings),
        "trained": graphs.node("LoraModelLoader", model=["model", 0], lora=["train", 0], strength_model=1.0, bypass=False),
        **graphs.ace_sampler("trained")}
    trained = run(graph)
    assert torch.isfinite(trained).all() and not torch.allclose(trained, plain, rtol=1e-3)
