"""The benchmark runs the pack's own nodes and ComfyUI's classes, here at a small size, and can be stopped."""

import json

import pytest
import torch

from ace_model.config import ACEConfig
from tests.bench import host, speed, stages, steps
from tools import tiny_models

TINY = ACEConfig(hidden_size=72, depth=2, num_heads=1, text_width=64, mlp_ratio=2.0)
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")


@pytest.fixture(scope="module", autouse=True)
def as_comfyui_loads_it(pack):
    """`host.start` finds it loaded."""


@pytest.fixture(autouse=True)
def small_yardstick(monkeypatch):
    monkeypatch.setattr(steps, "LARGE", {"cpu": 256})


def test_an_edit_by_stage(tmp_path, monkeypatch):
    for name, small in (("T5_WIDTH", 64), ("T5_INNER", 96), ("T5_HEADS", 4)):
        monkeypatch.setattr(stages, name, small)
    tiny_models.save(tiny_models.tiny_vae(), tmp_path / "vae" / "vae.safetensors")  # an existing file is kept
    files = stages.write_files(tmp_path, TINY)
    found = stages.measure(stages.Edit(64, 2, 3), files, DEVICE)
    assert set(found["first"]) == set(found["second"]) == set(stages.STAGES)
    assert found["first"]["load"] > found["second"]["load"]
    assert all(found[which][stage] > 0 for which in ("first", "second") for stage in ("text", "encode", "sample", "decode"))
    assert found["peak_mib"] > 0 and "2 of 24 layers" in found["text_encoder"]


def test_the_vae_has_the_published_size():
    shapes = stages.vae_shapes()
    assert sum(torch.Size(shape).numel() for shape in shapes.values()) == 83_653_863
    assert shapes["decoder.conv_in.weight"] == (512, 4, 3, 3)


@pytest.mark.parametrize("weights", list(host.WEIGHTS))
@pytest.mark.parametrize("context, batch, guided", [(0, 1, False), (2, 2, False), (1, 1, True)])
def test_a_step_in_every_type_of_weights(weights, context, batch, guided):
    case = steps.Case(64, context, batch, guided, weights)
    network, compute = host.network(weights, DEVICE, TINY)
    assert network.blocks[0].mlp.fc1.weight.dtype == host.WEIGHTS[weights]
    row = steps.measure(case, network, compute, DEVICE, (2, 3), 60)
    contenders = {"own", "large"} if case.guided else {"own", "baseline", "products", "large"}
    for kind in ("seconds", "processor_seconds"):
        assert set(row[kind]) == contenders and all(len(times) == 3 for times in row[kind].values())
    assert json.loads(json.dumps(row)) == row


def test_a_run_that_is_stopped_goes_on_and_is_reported(tmp_path, monkeypatch, capsys):
    plan = [steps.Case(64, 0), steps.Case(64, 1), steps.Case(64, 1, guided=True), steps.Case(1024, 8)]
    make, measure, seen = host.network, steps.measure, []

    def measured(case, *args):
        seen.append(case)
        if len(seen) == 2:
            raise KeyboardInterrupt
        return measure(case, *args)
    monkeypatch.setattr(host, "network", lambda weights, device: make(weights, device, TINY))
    monkeypatch.setattr(steps, "plan", lambda device, quick: plan)
    monkeypatch.setattr(steps, "measure", measured)
    monkeypatch.setattr(stages, "plan", lambda device, quick: [])
    monkeypatch.setattr(speed.plot, "draw", lambda results, path: None)
    monkeypatch.setattr(speed.sys, "argv", ["bench", str(tmp_path), "--rounds", "1", "--limit", "0.5"])
    assert speed.main() == 130 and "so far: 1 cases, in" in capsys.readouterr().out
    assert speed.main() == 0 and seen == [plan[0], plan[1], plan[1], plan[2]]
    said, folder = capsys.readouterr().out, tmp_path / DEVICE.type
    assert "Going on with the run of" in said and "## Growth with context" in said
    assert (folder / "bench.md").read_text(encoding="utf-8") in said
    results = json.loads((folder / "bench.json").read_text(encoding="utf-8"))
    assert results["finished"] and "--limit" in results["steps"][plan[3].key]["left_out"]
