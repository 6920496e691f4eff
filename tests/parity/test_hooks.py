"""What other packs hook into, and what memory management is told, inside ComfyUI."""

import pytest
import torch


@pytest.fixture(scope="module")
def model(pack, golden):
    return pack.loader.load_model(str(golden.model))


def conditioning(pack, images, cells=16):
    frames = {"target_mask": torch.ones(1, 1, 16, 16), "indicators": torch.randn(1, 10, 64)}
    for i in range(images):
        frames |= {f"image.{i}": torch.randn(1, 4, cells, cells), f"mask.{i}": torch.ones(1, 1, cells, cells),
                   f"text.{i}": torch.randn(1, 5, 64)}
    return [[torch.randn(1, 5, 64), {pack.model.FRAMES: frames}]]


@torch.inference_mode()
def sample(comfy, model, positive, cfg=1.0):
    import comfy.sample
    import comfy.samplers
    noise = torch.randn(1, 4, 16, 16, generator=torch.Generator().manual_seed(0))
    return comfy.sample.sample_custom(model, noise, cfg, comfy.samplers.sampler_object("euler"), torch.tensor([5.0, 1.0, 0.0]),
                                      positive, positive, torch.zeros_like(noise), disable_pbar=True)


def test_block_replacement_and_additions(comfy, pack, model):
    positive, seen = conditioning(pack, 1), []

    def replace(args, extra):
        seen.append((args["transformer_options"]["block_index"], args["transformer_options"]["block_type"],
                     args["transformer_options"]["total_blocks"], args["img"].shape[1], args["txt"].shape[1]))
        return extra["original_block"](args)
    patched = model.clone()
    for i in range(3):
        patched.set_model_patch_replace(replace, "dit", "double_block", i)
    assert torch.equal(sample(comfy, patched, positive), sample(comfy, model, positive))
    assert seen == [(i, "double", 3, 128, 10) for i in range(3)] * 2  # two frames of 64 tokens, two texts of 5; two steps

    added = model.clone()
    added.set_model_patch(lambda args: {"img": args["img"] * 0.5, "txt": args["txt"]}, "double_block")
    assert not torch.allclose(sample(comfy, added, positive), sample(comfy, model, positive), rtol=1e-2)


def test_wrappers_get_x_first_and_options_last(comfy, pack, model):
    import comfy.patcher_extension
    seen = []

    def wrapper(executor, *args, **kwargs):
        seen.append((args[0].shape, sorted(args[-1])))
        return executor(*args, **kwargs)
    wrapped = model.clone()
    wrapped.add_wrapper(comfy.patcher_extension.WrappersMP.DIFFUSION_MODEL, wrapper)
    positive = conditioning(pack, 1)
    assert torch.equal(sample(comfy, wrapped, positive), sample(comfy, model, positive))
    assert len(seen) == 2 and seen[0][0] == (1, 4, 16, 16) and {"sigmas", "uuids", "cond_or_uncond"} <= set(seen[0][1])


def test_attention_can_be_overridden_and_gets_no_mask(comfy, pack, model):
    calls = []

    def override(function, *args, **kwargs):
        calls.append(kwargs.get("mask"))
        return function(*args, **kwargs)
    patched = model.clone()
    patched.model_options["transformer_options"]["optimized_attention_override"] = override
    sample(comfy, patched, conditioning(pack, 1))
    assert len(calls) == 2 * 3 * (1 + 2) and calls == [None] * len(calls)  # steps × blocks × (all frames, then each frame)


def test_text_is_projected_once_per_run(comfy, pack, model, monkeypatch):
    calls = []
    project = pack.model.ComfyDiT.project_text
    monkeypatch.setattr(pack.model.ComfyDiT, "project_text", lambda self, *args: calls.append(1) or project(self, *args))
    sample(comfy, model, conditioning(pack, 2), cfg=4.5)
    assert len(calls) == 2  # positive and negative, however many steps


def test_condition_frames_count_in_memory(comfy, pack, model):
    import comfy.sampler_helpers

    def estimate(images, cells=16):
        conds = comfy.sampler_helpers.convert_cond(conditioning(pack, images, cells))
        return comfy.sampler_helpers.estimate_memory(model, (1, 4, 16, 16), {"positive": conds})[0]
    alone = estimate(0)
    assert estimate(2) == pytest.approx(alone * 2)  # two passes are estimated for the target, one per condition frame
    assert estimate(2, cells=32) == pytest.approx(alone * 5)


def test_detection_is_wrapped_once_and_leaves_other_models_alone(comfy, pack, golden):
    import comfy.model_detection
    import comfy.supported_models
    from safetensors.torch import load_file
    pack.loader.register()
    pack.loader.register()
    inner = comfy.model_detection.detect_unet_config.without_ace_editor
    assert not hasattr(inner, "without_ace_editor")
    assert sum(c.unet_config == {"image_model": "ace_editor"} for c in comfy.supported_models.models) == 1
    ours = load_file(golden.model)
    assert comfy.model_detection.detect_unet_config(ours, "")["image_model"] == "ace_editor"
    pixart = {"t_block.1.weight": torch.zeros(432, 72), "x_embedder.proj.weight": torch.zeros(72, 4, 2, 2),
              "pos_embed": torch.zeros(1, 16, 72), "y_embedder.y_proj.fc1.weight": torch.zeros(72, 64),
              "final_layer.linear.weight": torch.zeros(32, 72)}
    found = comfy.model_detection.detect_unet_config(dict(pixart), "")
    assert found == inner(dict(pixart), "") and found["image_model"].startswith("pixart")
