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
def sample(comfy, model, positive, cfg=1.0, negative=None, noise=None, steps=2):
    import comfy.sample
    import comfy.samplers
    noise = torch.randn(1, 4, 16, 16, generator=torch.Generator().manual_seed(0)) if noise is None else noise
    return comfy.sample.sample_custom(model, noise, cfg, comfy.samplers.sampler_object("euler"),
                                      torch.tensor([5.0, *([1.0] * (steps - 1)), 0.0]), positive, negative or positive,
                                      torch.zeros_like(noise), disable_pbar=True)


def test_block_replacement_and_additions(comfy, pack, model):
    positive, seen = conditioning(pack, 1), []

    def replace(args, extra):
        seen.append((args["transformer_options"]["block_index"], args["transformer_options"]["block_type"],
                     args["transformer_options"]["total_blocks"], args["img"].shape[1], args["txt"].shape[1]))
        return extra["original_block"](args)
    patched = model.clone()
    for i in range(3):
        patched.set_model_patch_replace(replace, "dit", "double_block", i)
    torch.testing.assert_close(sample(comfy, patched, positive), sample(comfy, model, positive), rtol=1e-4, atol=1e-5)
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
    block, last = 1 + 2, 1 + 1  # all frames, then each frame; the last block: the target's queries, then the target
    assert calls == [None] * 2 * (2 * block + last)  # two steps of three blocks


def test_a_cpu_gets_pytorchs_kernel_unless_the_user_chose(pack, monkeypatch):
    from comfy.cli_args import args
    from comfy.ldm.modules.attention import attention_pytorch, attention_split, attention_sub_quad
    cpu, card = torch.device("cpu"), torch.device("cuda")
    monkeypatch.setattr(pack.model, "optimized_attention", attention_sub_quad)
    assert (pack.model.attention_on(cpu), pack.model.attention_on(card)) == (attention_pytorch, attention_sub_quad)
    monkeypatch.setattr(args, "use_quad_cross_attention", True)
    assert pack.model.attention_on(cpu) is attention_sub_quad
    monkeypatch.setattr(pack.model, "optimized_attention", attention_split)
    assert pack.model.attention_on(cpu) is attention_split


def test_attention_that_is_read_is_every_frames_in_every_block(comfy, pack, model):
    from ace_model.comfyui.attention import Watch
    for blocks in ((0, 2), (2, 2)):  # the last alone, too, which else computes the target only
        watch = Watch([64, 64, 64], [5, 5, 5], torch.ones(64, dtype=torch.bool), blocks)
        sample(comfy, watch.on(model), conditioning(pack, 2))
        assert watch.shares.sum().item() == pytest.approx(1, abs=1e-4)
        for words in watch.words:
            torch.testing.assert_close(words.sum(1), torch.ones(64), rtol=1e-4, atol=1e-4)


def test_text_is_projected_once_per_run(comfy, pack, model, monkeypatch):
    calls = []
    project = pack.model.ComfyDiT.project_text
    monkeypatch.setattr(pack.model.ComfyDiT, "project_text", lambda self, *args: calls.append(1) or project(self, *args))
    sample(comfy, model, conditioning(pack, 2), cfg=4.5)
    assert len(calls) == 2  # positive and negative, however many steps


def test_condition_frames_count_in_memory(comfy, pack, model):
    import comfy.sampler_helpers

    def estimate(images, cells=16, batch=1):
        conds = comfy.sampler_helpers.convert_cond(conditioning(pack, images, cells))
        return comfy.sampler_helpers.estimate_memory(model, (batch, 4, 16, 16), {"positive": conds, "negative": conds})
    (both, one), (both_of_two, one_of_two) = estimate(0), estimate(2)
    assert both == pytest.approx(2 * one)  # branches of guidance at once, or one after the other
    assert (both_of_two, one_of_two) == pytest.approx((3 * both, 3 * one))
    assert estimate(2, cells=32) == pytest.approx((9 * both, 9 * one))
    assert estimate(2, batch=4) == pytest.approx((12 * both, 12 * one))


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


def half(args):
    """A guidance of its own, as patches install it: half as strong as asked."""
    return args["uncond"] + 0.5 * args["cond_scale"] * (args["cond"] - args["uncond"])


@pytest.mark.parametrize("patched_first", [True, False])
def test_guidance_corrects_what_another_patch_made(comfy, pack, model, patched_first):
    positive, negative = conditioning(pack, 1), conditioning(pack, 1)

    def run(rescale, cfg, patch):
        patched = model.clone()
        for step in ((patch, True), (rescale, False))[::1 if patched_first else -1]:
            if step[1] and patch:
                patched.set_model_sampler_cfg_function(half)
            elif not step[1] and rescale is not None:
                patched = pack.sampling.with_guidance(patched, rescale)
        return sample(comfy, patched, positive, cfg, negative)
    torch.testing.assert_close(run(0.0, 5.0, True), run(None, 2.5, False), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(run(0.7, 5.0, True), run(0.7, 2.5, False), rtol=1e-4, atol=1e-4)
    assert not torch.allclose(run(0.7, 5.0, True), run(0.7, 5.0, False), rtol=1e-2)


def test_of_two_guidances_the_later_counts(comfy, pack, model):
    positive, negative = conditioning(pack, 1), conditioning(pack, 1)
    once = pack.sampling.with_guidance(model, 0.3)
    twice = pack.sampling.with_guidance(pack.sampling.with_guidance(model, 0.9), 0.3)
    assert torch.equal(sample(comfy, twice, positive, 5.0, negative), sample(comfy, once, positive, 5.0, negative))


def test_an_area_sees_its_own_part_of_the_mask(comfy, pack, model):
    """Core crops the noise of a condition with an area: the mask is cropped with it, as if that part were sampled alone."""
    positive = conditioning(pack, 0)
    mask = torch.zeros(1, 1, 16, 16)
    mask[..., 4:, :] = 1
    positive[0][1][pack.model.FRAMES]["target_mask"] = mask
    noise = torch.randn(1, 4, 16, 16, generator=torch.Generator().manual_seed(0))
    inside = [[positive[0][0], {**positive[0][1], "area": (8, 6, 4, 2)}]]  # height, width, top, left
    part = [[positive[0][0], {pack.model.FRAMES: {**positive[0][1][pack.model.FRAMES], "target_mask": mask[..., 4:12, 2:8]}}]]
    whole = sample(comfy, model, inside, noise=noise, steps=1)
    alone = sample(comfy, model, part, noise=noise[..., 4:12, 2:8], steps=1)
    torch.testing.assert_close(whole[..., 6:10, 4:6], alone[..., 2:6, 2:4], rtol=1e-4, atol=1e-4)


def test_a_latent_of_odd_sides_is_widened_to_whole_patches(comfy, pack, model):
    positive = conditioning(pack, 1, cells=15)
    positive[0][1][pack.model.FRAMES]["target_mask"] = torch.ones(1, 1, 15, 13)
    out = sample(comfy, model, positive, noise=torch.randn(1, 4, 15, 13))
    assert out.shape == (1, 4, 15, 13) and torch.isfinite(out).all()


@pytest.mark.parametrize("shape", [(1, 16, 16, 16), (1, 4, 16), (1, 4, 1, 16, 16)])
def test_latents_of_other_models_are_named(comfy, pack, model, shape):
    with pytest.raises(ValueError, match=r"the latent has shape \(1, .*, but ACE samples \(batch, 4, height / 8, width / 8\)"):
        sample(comfy, model, conditioning(pack, 0), noise=torch.randn(shape))


def test_the_schedule_is_for_ace_and_its_noise_levels(comfy, pack, model):
    from comfy_extras.nodes_model_advanced import ModelSamplingDiscrete, ModelSamplingFlux
    (distilled,) = ModelSamplingDiscrete().patch(model, "lcm", False)
    levels = pack.sampling.sigmas(distilled, 20)
    assert len(levels) == 21 and (levels.diff() <= 0).all() and levels[0] == pytest.approx(157.5, rel=1e-2)
    (flow,) = ModelSamplingFlux().patch(model, 1.15, 0.5, 1024, 1024)
    for use in (lambda: pack.sampling.sigmas(flow, 20), lambda: pack.sampling.with_guidance(flow, 0.5)):
        with pytest.raises(pack.sampling.ModelError, match="a patch gave the model noise levels of .*, but ACE was"):
            use()


def test_other_models_are_refused(comfy, pack):
    """By name, where they meet ACE's schedule and where they meet its conditioning."""
    from tools.tiny_flux import flux as tiny_flux
    flux = comfy.sd.load_diffusion_model_state_dict(tiny_flux(64), {})
    for use in (lambda: pack.sampling.sigmas(flux, 20), lambda: pack.sampling.with_guidance(flux, 0.5)):
        with pytest.raises(pack.sampling.ModelError, match="model is Flux, not ACE: connect Load ACE Model"):
            use()
    tokens = pack.conditioning.ConditionTokens((128, 128), torch.randn(1, 5, 64), torch.randn(1, 5, 64), torch.randn(1, 10, 64),
                                               {"target_mask": torch.ones(1, 1, 16, 16)}, False)
    positive, negative = pack.conditioning.conditioning(tokens)
    with pytest.raises(pack.conditioning.ForeignModelError, match="comes from ACE Image Indicator, and only ACE models"):
        sample(comfy, flux, positive, 1.0, negative, noise=torch.randn(1, 16, 16, 16))
    import copy
    copy.deepcopy(positive)
