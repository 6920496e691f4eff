"""Memory of a step: the planner against what is alive, and what ComfyUI is told. `python dev.py bench --memory` prints more."""

import pytest
import torch

from ace_model.planner import MARGIN, QUERIES
from tests.bench.memory import DTYPES, LAYOUTS, LiveBytes, graphics_card, measured, network, planned

LIMIT = 0.15


def test_live_bytes_knows_views_and_ends():
    before = torch.zeros(1000)
    with LiveBytes() as live:
        made = before[:10] + 1  # a view of what was there, and 40 bytes
        view = made.view(2, 5)
        del made
        assert (live.now, live.peak) == (40, 40)
        torch.zeros(100)
        del view
        assert (live.now, live.peak) == (0, 440)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_planned_as_measured(layout, dtype, comfy, pack):
    """Three blocks have the peak of 28: the first one's input is what the network holds, and the last is short."""
    with graphics_card(pack.model):
        net = network(pack.model, DTYPES[dtype], depth=3)
        alive = measured(net, *LAYOUTS[layout])
        assert planned(net.config, *LAYOUTS[layout], DTYPES[dtype]) == pytest.approx(alive, rel=LIMIT)


@torch.no_grad()
def test_as_many_blocks_as_there_are_take_no_more(comfy, pack):
    with graphics_card(pack.model):
        few, all_blocks = (measured(network(pack.model, torch.bfloat16, depth=depth), *LAYOUTS["one image, 512"])
                           for depth in (3, 28))
    assert few == all_blocks


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("layout", ["one image, 512", "three images, 512", "mixed sizes, guided"])
def test_planned_as_measured_without_fused_attention(layout, dtype, comfy, pack):
    """Core's own attention, with so little free that it cuts the queries into its smallest pieces."""
    sides, _, batch = LAYOUTS[layout]
    tokens = batch * sum(height * columns // 256 for height, columns in sides)
    with graphics_card(pack.model, free=16 * DTYPES[dtype].itemsize * 4 * QUERIES * tokens):
        net = network(pack.model, DTYPES[dtype], depth=3)
        alive = measured(net, *LAYOUTS[layout])
        assert planned(net.config, *LAYOUTS[layout], DTYPES[dtype], fused=False) == pytest.approx(alive, rel=LIMIT)


@torch.inference_mode()
def test_comfyui_is_told_the_plan_at_every_step(comfy, pack, golden, monkeypatch):
    """Two pictures of 16 by 16 cells at once, two condition images, both branches: 4 times 3 times 64 tokens."""
    import comfy.model_management
    import comfy.sample
    import comfy.samplers
    model, told = pack.loader.load_model(str(golden.model)), []
    ask = pack.model.ACE.memory_required
    monkeypatch.setattr(pack.model.ACE, "memory_required", lambda self, *a, **k: told.append(ask(self, *a, **k)) or told[-1])
    frames = {"target_mask": torch.ones(1, 1, 16, 16), "indicators": torch.randn(1, 10, 64)}
    for i in range(2):
        frames |= {f"image.{i}": torch.randn(1, 4, 16, 16), f"mask.{i}": torch.ones(1, 1, 16, 16),
                   f"text.{i}": torch.randn(1, 5, 64)}
    conds, noise = [[torch.randn(1, 5, 64), {pack.model.FRAMES: frames}]], torch.randn(2, 4, 16, 16)
    comfy.sample.sample_custom(model, noise, 4.5, comfy.samplers.sampler_object("euler"), torch.tensor([5.0, 0.0]),
                               conds, conds, torch.zeros_like(noise), disable_pbar=True)
    plan = MARGIN * planned(model.model.diffusion_model.config, [(128, 128)] * 3, [0] * 3, 4, model.model.get_dtype_inference(),
                            comfy.model_management.is_device_cpu(comfy.model_management.get_torch_device())
                            or comfy.model_management.pytorch_attention_flash_attention())
    assert told == pytest.approx([plan, plan / 2, plan])  # both branches, one of them, and the step's batch
