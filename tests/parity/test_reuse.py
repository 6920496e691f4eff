"""Context reuse in ComfyUI: exact where nothing changed, fresh where something did, off where a patch makes it wrong."""

import gc
import math
import weakref

import pytest
import torch

from tests.parity.test_hooks import conditioning


@torch.inference_mode()
def sample(comfy, model, positive, cfg=1.0, negative=None, noise=None, steps=5, sampler="euler", callback=None):
    """With noise levels that fall at every step."""
    import comfy.sample
    import comfy.samplers
    noise = torch.randn(1, 4, 16, 16, generator=torch.Generator().manual_seed(0)) if noise is None else noise
    sigmas = torch.tensor([8.0 * 0.7**step for step in range(steps)] + [0.0])
    return comfy.sample.sample_custom(
        model, noise, cfg, comfy.samplers.sampler_object(sampler), sigmas, positive, negative or positive,
        torch.zeros_like(noise), callback=callback, disable_pbar=True, seed=1)


@pytest.fixture(scope="module")
def model(pack, golden):
    return pack.loader.load_model(str(golden.model))


@pytest.fixture
def reuse(pack):
    from ace_pack.ace_model.comfyui.reuse import with_context_reuse
    return with_context_reuse


@pytest.fixture
def frames(monkeypatch, pack):
    """Tokens of every call of a block, as they come."""
    from ace_pack.ace_model.layers import Block
    seen, forward = [], Block.forward

    def watched(self, x, *args, **kwargs):
        seen.append(x.shape[1])
        return forward(self, x, *args, **kwargs)
    monkeypatch.setattr(Block, "forward", watched)
    return seen


def network_inputs(images, batch, seed=0):
    draw = torch.Generator().manual_seed(seed)

    def noise(*shape):
        return torch.randn(shape, generator=draw)
    return {"x": noise(batch, 4, 16, 16), "timestep": torch.full((batch,), 617.0), "target_mask": torch.ones(batch, 1, 16, 16),
            "images": [noise(batch, 4, 16, 8 + 2 * i) for i in range(images)],
            "masks": [torch.ones(batch, 1, 16, 8 + 2 * i) for i in range(images)],
            "texts": [noise(batch, 5 + i, 72) for i in range(images + 1)], "names": noise(batch, images + 1, 72)}


@pytest.mark.parametrize("images", [1, 3, 8])
@pytest.mark.parametrize("prompts", [("a",), ("a", "b")])
@torch.inference_mode()
def test_what_did_not_change_comes_out_the_same(pack, model, images, prompts):
    """Same noisy target, same timestep: kept keys and values are what a full evaluation would compute."""
    from ace_pack.ace_model.dit import DiT
    from ace_pack.ace_model.reuse import ContextReuse
    network = model.model.diffusion_model
    small = DiT(network.config)
    small.load_state_dict(network.state_dict())
    inputs, state = network_inputs(images, 2), ContextReuse(3)
    exact = small(**inputs)
    for number in range(4):
        state.begin(inputs["x"])
        assert state.full == (number in (0, 3))
        torch.testing.assert_close(small(**inputs, reuse=state, prompts=prompts), exact, rtol=1e-4, atol=1e-5)
    # a batch that is put together in another way, from the same prompts
    if len(prompts) == 2:
        state.begin(inputs["x"])
        swapped = {k: [x.flip(0) for x in v] if isinstance(v, list) else v.flip(0) for k, v in inputs.items()}
        torch.testing.assert_close(small(**swapped, reuse=state, prompts=prompts[::-1]), exact.flip(0), rtol=1e-4, atol=1e-5)


def test_only_the_target_is_computed_in_between(comfy, pack, model, reuse, frames):
    positive, negative = conditioning(pack, 2), conditioning(pack, 2)
    sample(comfy, reuse(model, 3), positive, cfg=4.0, negative=negative, steps=7)
    blocks = len(model.model.diffusion_model.blocks)
    per_call = frames[::blocks]
    calls = len(per_call) // 7  # one for both branches of guidance, or one each
    assert calls in (1, 2)
    assert per_call == [size for step in range(7) for size in [192 if step % 3 == 0 else 64] * calls]


@pytest.mark.parametrize("cfg", [1.0, 4.0])
def test_one_is_exact_and_takes_an_earlier_setting_away(comfy, pack, model, reuse, cfg):
    positive, negative = conditioning(pack, 2), conditioning(pack, 2)
    exact = sample(comfy, model, positive, cfg=cfg, negative=negative)
    fast = reuse(model, 4)
    assert not torch.equal(sample(comfy, fast, positive, cfg=cfg, negative=negative), exact)
    for every, change in ((1, 0.0), (1, 0.5)):
        plain = reuse(fast, every, change)
        assert torch.equal(sample(comfy, plain, positive, cfg=cfg, negative=negative), exact)


def test_change_decides_alone(comfy, pack, model, reuse, frames):
    positive = conditioning(pack, 1)
    assert torch.equal(sample(comfy, reuse(model, 100, 1e-6), positive), sample(comfy, model, positive))
    del frames[:]
    sample(comfy, reuse(model, 100, 1e9), positive)
    assert frames.count(128) == len(model.model.diffusion_model.blocks), "the first evaluation alone is full"


def test_every_change_of_the_target_seen(pack):
    from ace_pack.ace_model.reuse import ContextReuse
    state, x = ContextReuse(100, 0.1), torch.ones(1, 4, 2, 2)
    full = []
    for scale in (1.0, 1.05, 1.09, 1.2, 1.25, 1.33):
        state.begin(x * scale)
        full.append(state.full)
    assert full == [True, False, False, True, False, True]  # 1.2 against 1; 1.33 against 1.2


def test_a_prompt_that_sat_out_a_full_evaluation_is_computed_anew(pack):
    """Prompts with a range of steps come and go."""
    from ace_pack.ace_model.reuse import ContextReuse
    state, x, full = ContextReuse(2), torch.ones(1, 4, 2, 2), []
    for prompts in ("ab", "a", "a", "ab", "ab", "ab"):
        state.begin(x)
        full.append([state.call((prompt,), 4, ()).full for prompt in prompts])
    assert full == [[True, True], [False], [True], [False, True], [True, True], [False, False]]


@pytest.mark.parametrize("size", [(2, 4, 16, 16), (1, 4, 16, 24)])
def test_nothing_is_kept_from_run_to_run(comfy, pack, model, reuse, size):
    """Another batch, another size, another prompt: as if nothing had run before. Then the first again."""
    first, second = conditioning(pack, 2), conditioning(pack, 1)
    fast = reuse(model, 3)
    noise = torch.randn(size, generator=torch.Generator().manual_seed(3))
    before = sample(comfy, fast, first)
    changed = sample(comfy, fast, second, noise=noise)
    assert torch.equal(changed, sample(comfy, reuse(model, 3), second, noise=noise))
    assert torch.equal(sample(comfy, fast, first), before)


def test_each_picture_of_a_batch_is_its_own(comfy, pack, model, reuse):
    positive, fast = conditioning(pack, 2), reuse(model, 3)
    noise = torch.randn(2, 4, 16, 16, generator=torch.Generator().manual_seed(5))
    both = sample(comfy, fast, positive, noise=noise)
    for i in range(2):
        torch.testing.assert_close(sample(comfy, fast, positive, noise=noise[i:i + 1]), both[i:i + 1],
                                   rtol=1e-4, atol=1e-4)


def test_a_stopped_run_leaves_nothing_behind(comfy, pack, model, reuse, monkeypatch):
    from ace_pack.ace_model import reuse as module
    positive, fast, alive = conditioning(pack, 2), reuse(model, 3), []
    expected = sample(comfy, fast, positive)
    begin = module.ContextReuse.begin
    monkeypatch.setattr(module.ContextReuse, "begin", lambda self, x: (alive.append(weakref.ref(self)), begin(self, x))[1])

    def stop(step, *_):
        if step == 1:
            raise comfy.model_management.InterruptProcessingException
    with pytest.raises(comfy.model_management.InterruptProcessingException):
        sample(comfy, fast, positive, callback=stop)
    gc.collect()
    assert alive and all(found() is None for found in alive)
    assert torch.equal(sample(comfy, fast, positive), expected)


def replaced(model):
    model.set_model_patch_replace(lambda args, extra: extra["original_block"](args), "dit", "double_block", 1)


def added(model):
    model.set_model_patch(lambda args: {"img": args["img"] * 0.9, "txt": args["txt"]}, "double_block")


def attending(model):
    model.model_options["transformer_options"]["optimized_attention_override"] = (
        lambda func, *args, **kwargs: func(*args, **kwargs))


def in_parts(model):
    model.set_model_unet_function_wrapper(lambda apply, args: apply(args["input"], args["timestep"], **args["c"]))


@pytest.mark.parametrize(("patch", "says"), [(replaced, "replaces blocks"), (added, "adds to blocks"),
                                             (attending, "replaces attention"), (in_parts, "calls the network")])
@pytest.mark.parametrize("patched_first", [True, False])
def test_off_with_a_warning_where_a_patch_looks_into_blocks(comfy, pack, model, reuse, caplog, patch, says, patched_first):
    positive = conditioning(pack, 2)
    plain = model.clone()
    patch(plain)
    expected = sample(comfy, plain, positive)
    fast = reuse(plain if patched_first else model, 3)
    if not patched_first:
        patch(fast)
    caplog.clear()
    assert torch.equal(sample(comfy, fast, positive), expected)
    assert sum(says in message for message in caplog.messages) == 1


def test_off_where_weights_change_from_step_to_step(comfy, pack, model, reuse, caplog):
    import comfy.hooks
    weight = next(key for key in model.model_state_dict() if key.endswith("blocks.1.mlp.fc1.weight"))
    group = comfy.hooks.HookGroup()
    hook = comfy.hooks.WeightHook(strength_model=1.0, strength_clip=1.0)
    hook.weights = {weight: (torch.ones_like(model.model_state_dict()[weight]) * 0.05,)}
    hook.need_weight_init = False
    group.add(hook)
    ((text, options),) = conditioning(pack, 2)
    positive = [[text, {**options, "hooks": group}]]
    expected = sample(comfy, model.clone(), positive)
    caplog.clear()
    assert torch.equal(sample(comfy, reuse(model, 3), positive), expected)
    assert sum("weights change" in message for message in caplog.messages) == 1


def test_weights_on_a_schedule(comfy, pack, model, reuse):
    """A hook that ends after two steps of five: what is kept of texts and frames ends with it. Against two samplings, one
    with the patch and one without, the second from where the first stopped."""
    import comfy.hooks
    import comfy.sample
    import comfy.samplers
    weights = model.model_state_dict()
    patch = {key: (torch.ones_like(weights[key]) * 0.05,) for key in weights
             if key.endswith(("blocks.1.mlp.fc1.weight", "y_embedder.fc1.weight"))}
    levels = [8.0 * 0.7**step for step in range(5)]
    noise = torch.randn(1, 4, 16, 16, generator=torch.Generator().manual_seed(0))
    schedule = model.get_model_object("model_sampling")
    ends = next(share / 1000 for share in range(1000) if schedule.percent_to_sigma(share / 1000) < (levels[1] + levels[2]) / 2)
    keyframes = comfy.hooks.HookKeyframeGroup()
    keyframes.add(comfy.hooks.HookKeyframe(1.0))
    keyframes.add(comfy.hooks.HookKeyframe(0.0, start_percent=ends))
    group, hook = comfy.hooks.HookGroup(), comfy.hooks.WeightHook(strength_model=1.0, strength_clip=1.0)
    hook.weights, hook.need_weight_init = patch, False
    group.add(hook)
    group.set_keyframes_on_hooks(keyframes)
    ((text, options),) = positive = conditioning(pack, 2)

    @torch.inference_mode()
    def part(model, sigmas, noise, latent):
        return comfy.sample.sample_custom(model, noise, 1.0, comfy.samplers.sampler_object("euler"), torch.tensor(sigmas),
                                          positive, positive, latent, disable_pbar=True, seed=1)
    tuned = model.clone()
    assert len(tuned.add_patches(patch, 1.0)) == 2
    half = part(tuned, levels[:3], noise, torch.zeros_like(noise))
    expected = part(model, [*levels[2:], 0.0], torch.zeros_like(noise), half)
    for one in (model.clone(), reuse(model, 3)):
        torch.testing.assert_close(sample(comfy, one, [[text, {**options, "hooks": group}]]), expected, rtol=1e-3, atol=1e-3)
    assert (expected - sample(comfy, tuned, positive)).norm() > 0.01 * expected.norm(), "without an end it is another picture"


def test_a_lora_counts(comfy, pack, model, reuse):
    positive = conditioning(pack, 2)
    weight = next(key for key in model.model_state_dict() if key.endswith("blocks.1.mlp.fc1.weight"))
    tuned = model.clone()
    tuned.add_patches({weight: (torch.randn_like(model.model_state_dict()[weight]),)}, 0.2)
    fast = sample(comfy, reuse(tuned, 3), positive)
    exact = sample(comfy, tuned, positive)
    assert not torch.allclose(fast, sample(comfy, reuse(model, 3), positive), rtol=1e-2)
    assert (fast - exact).norm() < (fast - sample(comfy, model, positive)).norm()


def test_what_is_kept_is_in_the_memory_estimate(comfy, pack, model, reuse, monkeypatch):
    from ace_pack.ace_model import reuse as module
    from comfy import sampler_helpers
    asked, kept = [], []
    estimate = sampler_helpers.estimate_memory

    def watched(*args):
        asked.append(estimate(*args)[0])
        return estimate(*args)
    monkeypatch.setattr(sampler_helpers, "estimate_memory", watched)
    begin = module.ContextReuse.begin
    monkeypatch.setattr(module.ContextReuse, "begin", lambda self, x: (
        kept.append(sum(t.untyped_storage().nbytes() for _, blocks in self._kept.values() for pair in blocks for t in pair)),
        begin(self, x))[1])
    positive, negative = conditioning(pack, 3), conditioning(pack, 3)
    noise = torch.randn(2, 4, 16, 16)
    for one in (model, reuse(model, 3)):
        sample(comfy, one, positive, cfg=4.0, negative=negative, noise=noise, steps=3)
    assert math.isclose(asked[1] - asked[0], max(kept), rel_tol=1e-6) and kept[0] == 0


def test_other_samplers(comfy, pack, model, reuse):
    import comfy.sample
    import comfy.samplers
    positive = conditioning(pack, 2)
    for name in ("heun", "dpmpp_2m", "euler_ancestral", "uni_pc"):
        exact, fast = (sample(comfy, one, positive, steps=7, sampler=name) for one in (model, reuse(model, 2)))
        assert fast.isfinite().all() and 0 < (fast - exact).norm() < 0.5 * exact.norm(), name
