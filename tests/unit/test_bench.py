"""The benchmark measures what it says: its baseline is the same function, its operations are those of the products."""

import json
from types import SimpleNamespace

import pytest
import torch

from ace_model.config import ACEConfig
from ace_model.dit import DiT
from tests.bench import clock, host, report, speed, steps
from tests.bench.baseline import Baseline
from tests.bench.steps import Case

CONFIG = ACEConfig(hidden_size=72, depth=3, num_heads=2, text_width=16)
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def network():
    network = DiT(CONFIG).eval().requires_grad_(False)
    generator = torch.Generator().manual_seed(3)
    for parameter in network.parameters():
        parameter.copy_(0.15 * torch.randn(parameter.shape, generator=generator))
    return network


@pytest.mark.parametrize("sizes", [[(4, 6)], [(4, 6), (6, 4), (8, 8), (2, 10)]])
@pytest.mark.parametrize("batch", [1, 3])
def test_the_baseline_is_the_network(network, sizes, batch):
    generator = torch.Generator().manual_seed(4)

    def random(*shape):
        return torch.randn(shape, generator=generator)
    latents, masks = [random(batch, 4, *size) for size in sizes], [random(batch, 1, *size).gt(0).float() for size in sizes]
    texts, indicators = [random(batch, 2 + f, 16) for f in range(len(sizes))], random(batch, 10, 16)
    frames = latents[0], torch.tensor([617.0, 3.0, 999.0][:batch]), masks[0], latents[1:], masks[1:]
    expected = network(*frames, *network.project_text(texts, indicators))
    given = Baseline(network.state_dict(), CONFIG)(*frames, texts, indicators)
    assert given.shape == expected.shape
    assert (given - expected).norm() <= 1e-4 * expected.norm()


@pytest.mark.parametrize("case", [Case(64, 0), Case(48, 2, batch=3), Case(256, 1)])
def test_operations_are_those_of_the_products(network, case, monkeypatch):
    network.dtype = torch.float32
    for scores in (2**26, 2**10):  # in one piece, and cut
        monkeypatch.setattr(steps, "SCORES", scores)
        pairs = steps.products(network, case, torch.float32)
        counted = sum(2 * left.numel() * right.shape[-1] * times for left, right, times in pairs)
        assert counted == steps.operations(case, CONFIG)


@pytest.mark.parametrize("case, per_second, gib, why", [
    (Case(1024, 8, batch=4), 1e11, 64, "about 9946 s per step; --limit 9960 measures it"),
    (Case(1024, 8, batch=4), 1e18, 8, "it needs over 9 GiB beside the weights, and 8 are free"),
    (Case(1024, 8, batch=4), 1e18, 64, None), (Case(256, 1), 1e11, 8, None)])
def test_what_a_machine_cannot_do_is_left_out(case, per_second, gib, why, monkeypatch):
    monkeypatch.setattr(steps.psutil, "virtual_memory", lambda: SimpleNamespace(available=gib * 2**30))
    assert steps.obstacle(case, ACEConfig(), torch.float32, CPU, per_second, 60) == why


def test_the_negative_pass_has_the_empty_instruction_for_target_and_last_image():
    given = steps.inputs(Case(32, 3), CONFIG, torch.float32, CPU)
    assert [text.shape[1] for text in steps.negative(given)["texts"]] == [1, 20, 20, 1]
    assert [text.shape[1] for text in given["texts"]] == [20] * 4


@pytest.mark.parametrize("device, quick", [("cpu", False), ("cpu", True), ("cuda", False), ("cuda", True)])
def test_plans_hold_no_case_twice_and_the_full_ones_everything(device, quick):
    plan = steps.plan(device, quick)
    assert len({case.key for case in plan}) == len(plan)
    if quick:
        return
    for field, values in (("pixels", {512, 1024}), ("context", {0, 1, 3, 8}), ("batch", {1, 4}), ("guided", {False, True}),
                          ("weights", set(host.WEIGHTS))):
        assert values <= {getattr(case, field) for case in plan}


def test_a_stage_inside_another_is_taken_from_it(monkeypatch):
    ticks = iter([0.0, 1.0, 3.0, 7.0])
    monkeypatch.setattr(clock.time, "perf_counter", lambda: next(ticks))
    watch = clock.Stopwatch(CPU)
    with watch.stage("sample"), watch.watching((report, "spread", "load")):
        report.spread([1.0])
    assert watch.seconds == {"sample": 1 + 4, "load": 2} and report.spread is clock.spread


def row(case, own, baseline=2.0, products=1.0, others=0.0):
    times = {"own": own, "baseline": [baseline * x for x in own], "products": [products] * len(own), "large": [0.1] * len(own)}
    return {"case": steps.asdict(case), "compute": "float32", "tokens": case.tokens, "gflop": 10.0 * (1 + case.context),
            "seconds": times, "processor_seconds": times, "large_gflop": 20.0, "weights_mib": 100,
            "grown_mib": {"own": 10, "baseline": 30}, "other_cores": others}


@pytest.fixture
def results():
    cases = [Case(256, 0), Case(256, 1), Case(256, 3)]
    edit = {"case": {"pixels": 256, "context": 1, "steps": 2, "weights": "float32"}, "compute": "float32",
            "first": dict.fromkeys(("load", "text", "encode", "sample", "decode"), 1.0),
            "second": dict.fromkeys(("load", "text", "encode", "sample", "decode"), 0.5), "peak_mib": 5000,
            "other_cores": 0.0, "text_encoder": "T5 of XXL's width, 2 of 24 layers"}
    return {"machine": {"processor": "P", "cores": 2, "memory_gib": 8, "system": "Linux", "device": "cpu"},
            "versions": {"python": "3", "torch": "2", "comfyui": "0", "threads": 2, "attention": "a", "code": "c"},
            "started": "today", "notes": [speed.NO_CUDA], "edits": {"edit": edit, "large": {"left_out": "out of memory"}},
            "steps": {case.key: row(case, [1.0 + case.context, 1.05 + case.context]) for case in cases}}


def test_a_quiet_run_is_reported_without_reserve(results):
    words = report.text(results)
    assert "noisy" not in words and "Other programs" not in words
    assert "| float32 | 256 | 3 | 1 | no | 40 | 4.03 | 1 % | 8.05 | 1.00 | 4.03 | 2.00 | 5 % | 110 | 130 |" in words
    assert "| float32 | 256 | 1 | no | 3 | 1024 | 4.00 | 3.93 | 3.93 |" in words
    assert ("256 px, 1 context image: 2.02 × its bare products (target at most 1.10: missed), 2.00 × the baseline's speed "
            "(target at least 1.15: met).") in words
    assert "Left out: large: out of memory." in words and speed.NO_CUDA in words
    assert "2 of 24 layers" in words and "| first | 1.00 | 1.00 | 1.00 | 1.00 | 1.00 | 5.00 | 0.50 | 5000 |" in words


def test_a_noisy_run_says_so(results):
    results["steps"][Case(256, 0).key] = row(Case(256, 0), [1.0, 1.5], others=1.4)
    words = report.text(results)
    assert "noisy: in 1 of 3 rows the repeats of a step lie more than 10 % apart, at worst 40 %." in words
    assert "Other programs kept 0.3 of 2 cores busy" in words


def test_processors_time_is_told_where_other_programs_ran(results):
    row = results["steps"][Case(256, 1).key]
    assert "processors' time" not in report.text(results)
    row["processor_seconds"] = {**row["seconds"], "products": [0.5 * x for x in row["seconds"]["products"]]}
    row["other_cores"] = 1.0
    assert "suffers less from other programs: 4.05 × and 2.00 ×." in report.text(results)


def test_ratios_compare_what_was_measured_in_the_same_round():
    found = row(Case(256, 0), [1.0, 9.0, 2.0])
    found["seconds"]["products"] = [0.5, 4.5, 1.0]  # a slow moment that met both
    assert report.ratio(found, "own", "products") == 2.0


def test_a_stopped_run_goes_on_and_another_begins(tmp_path):
    about = {"machine": {"cores": 2}, "versions": {"code": "a"}, "quick": True}
    run = speed.Run(tmp_path, about, 60, fresh=False)
    run.add("steps", "one", {"seconds": {}})
    again = speed.Run(tmp_path, about, 60, fresh=False)
    assert again.continued and "one" in again.results["steps"] and again.results["started"] == run.results["started"]
    assert not speed.Run(tmp_path, {**about, "versions": {"code": "b"}}, 60, fresh=False).continued
    assert not speed.Run(tmp_path, about, 60, fresh=True).continued
    again.results["finished"] = "now"
    again.save()
    assert not speed.Run(tmp_path, about, 60, fresh=False).continued
    assert speed.Run(tmp_path, about, 120, fresh=False).continued, "a higher limit measures what was left out"
    run.path.write_text("{", encoding="utf-8")
    assert not speed.Run(tmp_path, about, 60, fresh=False).continued


def test_a_picture_is_drawn(results, tmp_path):
    from tests.bench import plot

    plot.draw(json.loads(json.dumps(results)) | {"edits": {"edit": results["edits"]["edit"]}}, tmp_path / "bench.png")
    assert (tmp_path / "bench.png").read_bytes().startswith(b"\x89PNG")
