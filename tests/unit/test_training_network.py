"""The network as training calls it, LoRA, chance, memory, the page: held to the pack's own network and loss."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

pytest.importorskip("peft", reason="python dev.py test brings it")

from ace_model.checkpoint import read  # noqa: E402
from ace_model.config import ACEConfig  # noqa: E402
from ace_model.diffusion import training_loss  # noqa: E402
from ace_model.dit import DiT  # noqa: E402
from tests.parity.test_golden import CASES, Case  # noqa: E402
from training import feed, lora, memory, network, objectives, settings  # noqa: E402
from training.encode import Encoded  # noqa: E402

GOLDEN = Path(__file__).parents[1] / "parity" / "golden"
CONFIG = ACEConfig(hidden_size=48, depth=3, num_heads=2, text_width=16)


def weights(config=CONFIG, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return {name: torch.randn(tensor.shape, generator=generator) * 0.1
            for name, tensor in DiT(config, device="meta").state_dict().items()}


def features(text):
    return torch.randn(1 + len(text), CONFIG.text_width, generator=torch.Generator().manual_seed(sum(text.encode())))


def batch(count=2, words=("hello", "a longer text", "x")):
    generator = torch.Generator().manual_seed(5)
    sides = [(8, 6), (8, 6), (4, 8)][:len(words)]
    texts = [[f"{each}{i * 'zz'}" for i in range(count)] for each in words]
    return network.Batch([torch.randn(count, 4, *side, generator=generator) for side in sides],
                         [torch.ones(count, 1, *side) for side in sides], texts)


def taught(base="float32", checkpointing=False, rank=4, **options):
    """A network with a LoRA that does something."""
    dit = network.frozen(weights(), CONFIG, base, checkpointing)
    live = lora.add(dit, rank, 2 * rank, **options)
    with torch.no_grad():
        for i, (name, tensor) in enumerate(live.items()):
            if "lora_B" in name:
                tensor.normal_(0, 0.1, generator=torch.Generator().manual_seed(i))
    return network.Network(dit, features, network.BASES[base]), live


def loss_and_gradient(net, live, samples=None):
    samples = samples or batch()
    loss = objectives.ace(net, samples, objectives.Draws(0, 0, range(len(samples.latents[0]))))
    loss.backward()
    return loss.detach(), torch.cat([tensor.grad.flatten() for tensor in live.values()])


@pytest.mark.parametrize("name", CASES)
def test_the_loss_on_a_golden_case_is_the_package_s_own(name):
    """The same network, noise and timestep through the trainer and through DiT and training_loss, within a rounding."""
    from safetensors.torch import load_file
    case = Case(load_file(GOLDEN / "ace_tiny_cases.safetensors"), name)
    sd, config = read(GOLDEN / "ace_tiny.safetensors")
    plain = DiT(config).requires_grad_(False)
    plain.load_state_dict(sd)
    known = {str(i): text[0] for i, text in enumerate(case.positive)}
    names = dict(zip(network.IDENTIFIERS, case.indicators[0][:, None], strict=True))
    net = network.Network(network.frozen(dict(sd), config, "float32"), (known | names).__getitem__)
    lora.add(net.dit)
    samples = network.Batch([case.x, *case.images], [case.target_mask, *case.masks], [[str(i)] for i in range(len(known))])
    draws = objectives.Draws(3, 7, [0])
    again = objectives.Draws(3, 7, [0])
    timestep, noise = again.integers(1000), again.normal(case.x.shape[1:])
    expected = training_loss(lambda x, t: case.eps(plain, case.positive, x, t), case.x, timestep=timestep, noise=noise)
    assert objectives.ace(net, samples, draws).item() == pytest.approx(expected.item(), rel=1e-6) and expected > 0


@pytest.mark.parametrize("min_snr", [0.02, 5.0])
def test_min_snr_weighs_errors_as_its_paper_does(min_snr, monkeypatch):
    """arXiv 2303.09556, for a network that predicts noise: min(SNR, γ) / SNR, with the ratio of the schedule's own ᾱ."""
    net, samples = taught()[0], batch()
    ratio = torch.cumprod(1 - torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64), 0)
    ratio = ratio / (1 - ratio)
    for timestep in (10, 500, 900):
        monkeypatch.setattr(objectives.Draws, "integers", lambda self, high, at=timestep: torch.tensor([at, at]))
        with torch.no_grad():
            plain, weighed = (float(objectives.ace(net, samples, objectives.Draws(0, 0, range(2)), g)) for g in (0, min_snr))
        assert weighed == pytest.approx(plain * min(float(ratio[timestep]), min_snr) / float(ratio[timestep]), rel=1e-3)


def test_padding_changes_nothing():
    """Samples with texts of other lengths together, and each alone."""
    net, _ = taught()
    whole = batch(3)
    noisy, timestep = torch.randn(3, 4, 8, 6), torch.tensor([10, 500, 990])
    with torch.no_grad():
        together = net.eps(noisy, timestep, whole, net.prepare(whole.texts))
        for i in range(3):
            one = network.Batch([x[i:i + 1] for x in whole.latents], [x[i:i + 1] for x in whole.masks],
                                [frame[i:i + 1] for frame in whole.texts])
            alone = net.eps(noisy[i:i + 1], timestep[i:i + 1], one, net.prepare(one.texts))
            assert torch.allclose(alone, together[i:i + 1], atol=1e-5)


@pytest.mark.parametrize("base", list(network.BASES))
def test_computing_blocks_again_gives_the_same_gradient(base):
    kept, again = loss_and_gradient(*taught(base)), loss_and_gradient(*taught(base, True))
    assert torch.equal(kept[0], again[0]) and torch.equal(kept[1], again[1]) and kept[1].abs().max() > 0


@pytest.mark.parametrize("base, near", [("bf16", 0.02), ("fp8", 0.1)])
def test_weights_in_few_bits_teach_nearly_the_same(base, near):
    (loss, exact), (other, rounded) = loss_and_gradient(*taught()), loss_and_gradient(*taught(base))
    assert abs(other / loss - 1) < near and (rounded - exact).norm() / exact.norm() < 2 * near


def test_fp8_takes_a_byte_per_number_and_keeps_each_row_s_scale():
    dit = network.frozen(weights(), CONFIG, "fp8")
    layer = dit.blocks[0].mlp.fc1
    exact = weights()["blocks.0.mlp.fc1.weight"]
    assert layer.weight.dtype == torch.float8_e4m3fn and dit.y_embedder.fc1.weight.dtype == torch.bfloat16
    assert (network.widened(layer.weight, layer.scale, torch.float32) - exact).abs().max() < exact.abs().max() / 15


def test_a_lora_changes_nothing_at_first_and_only_it_is_trained():
    dit = network.frozen(weights(), CONFIG, "float32")
    net, samples = network.Network(dit, features), batch()
    noisy, timestep = torch.randn(2, 4, 8, 6), torch.tensor([10, 500])
    with torch.no_grad():
        before = net.eps(noisy, timestep, samples, net.prepare(samples.texts))
        live = lora.add(dit, seed=3)
        assert torch.equal(net.eps(noisy, timestep, samples, net.prepare(samples.texts)), before)
    assert {id(p) for p in dit.parameters() if p.requires_grad} == {id(p) for p in live.values()}
    assert len(live) == 2 * CONFIG.depth * 10  # q, k, v, o twice, and two of the MLP
    for base in network.BASES:  # float32 whatever the base is, and the same numbers
        other = lora.add(network.frozen(weights(), CONFIG, base), seed=3)
        assert all(torch.equal(other[name], live[name]) for name in live)


def test_without_it_the_network_is_the_teacher_again():
    (net, _), samples = taught(), batch()
    plain = network.Network(network.frozen(weights(), CONFIG, "float32"), features)
    noisy, timestep = torch.randn(2, 4, 8, 6), torch.tensor([10, 500])
    with torch.no_grad():
        expected = plain.eps(noisy, timestep, samples, plain.prepare(samples.texts))
        with lora.without(net.dit):
            assert torch.equal(net.eps(noisy, timestep, samples, net.prepare(samples.texts)), expected)
        assert not torch.allclose(net.eps(noisy, timestep, samples, net.prepare(samples.texts)), expected, atol=1e-3)


def test_targets_are_a_pattern_or_ends_of_names_and_wrong_ones_are_named():
    dit = network.frozen(weights(), CONFIG, "float32")
    assert {name.split("blocks.")[1][0] for name in lora.add(dit, targets=r"blocks\.[01]\.attn\.q")} == {"0", "1"}
    dit = network.frozen(weights(), CONFIG, "float32")
    assert len(lora.add(dit, targets=("cross_attn.v", "y_embedder.fc1"))) == 2 * (CONFIG.depth + 1)
    for wrong in (r"blocks\.\d+\.attention", ("attn.q", "attn.query")):
        with pytest.raises(lora.LoRAError, match="no linear layer of this model .* blocks.*attn.q, "):
            lora.add(network.frozen(weights(), CONFIG, "float32"), targets=wrong)


def test_a_file_comes_back_and_one_of_another_rank_is_refused(tmp_path):
    _, live = taught(rank=4)
    path = lora.save_file(tmp_path / "it.safetensors", live, 8, {"steps": 3})
    net, other = taught(rank=4)
    with torch.no_grad():
        for tensor in other.values():
            tensor.zero_()
    lora.load_file(path, other, 8)
    assert all(torch.equal(other[name], live[name]) for name in live)
    with pytest.raises(lora.LoRAError, match="lora.rank is 2, but it.safetensors has the rank 4: set lora.rank to 4"):
        lora.load_file(path, taught(rank=2)[1], 8)
    with pytest.raises(lora.LoRAError, match="lora.alpha is 4, but it.safetensors has 8"):
        lora.load_file(path, other, 4)
    with pytest.raises(lora.LoRAError, match="other layers"):
        lora.load_file(path, taught(targets=("attn.q",))[1], 8)


def test_chance_is_each_sample_s_own_and_does_not_depend_on_who_computes_it():
    whole = objectives.Draws(1, 2, range(4))
    shares = [objectives.Draws(1, 2, range(2)), objectives.Draws(1, 2, range(2, 4))]
    for draw in (lambda d: d.integers(1000), lambda d: d.uniform(), lambda d: d.normal((3, 2))):
        assert torch.equal(draw(whole), torch.cat([draw(each) for each in shares]))
    many = objectives.Draws(0, 0, range(4000)).integers(1000).float()
    assert abs(many.mean() - 499.5) < 20 and abs(many.std() - 288.7) < 12, "uniform"
    other = objectives.Draws(1, 3, range(4))
    assert not torch.equal(other.normal((3,)), objectives.Draws(1, 2, range(4)).normal((3,)))


def examples(count):
    def one(i, frames, recent=None):
        words = tuple(f"do {i}" for _ in range(frames))
        return Encoded(tuple(torch.full((4, 4, 4), float(i)) for _ in range(frames)), (torch.ones(1, 4, 4),) * frames, words,
                       ("",) * frames, (), (), torch.zeros(10, 2), recent)
    return [one(i, 3, one(i, 2)) for i in range(count)]


def test_two_processes_share_the_batch_of_one():
    given = examples(6)
    one = feed.Feed(given.__getitem__, 6, batch=4, seed=2, drop_text=0.5, drop_history=0.5)
    two = [feed.Feed(given.__getitem__, 6, batch=2, seed=2, drop_text=0.5, drop_history=0.5, rank=rank, processes=2)
           for rank in range(2)]
    frames, left_out = set(), 0
    for step in range(20):
        (whole, draws), parts = one(step, 0), [each(step, 0) for each in two]
        frames.add(len(whole.latents))
        left_out += whole.texts[0].count("")
        assert torch.equal(whole.latents[0], torch.cat([part.latents[0] for part, _ in parts]))
        assert whole.texts == [a + b for a, b in zip(parts[0][0].texts, parts[1][0].texts, strict=True)]
        assert torch.equal(draws.normal((2,)), torch.cat([each.normal((2,)) for _, each in parts]))
    assert frames == {2, 3} and 20 < left_out < 60, "history and text are left out about half the time"


def bare(**sections):
    model = settings.Model("a", "b", "c", "float32", False)
    return settings.Settings(settings.Data(Path("set")), model, Path("run"), **sections)


@pytest.mark.parametrize("base", list(network.BASES))
@pytest.mark.parametrize("checkpointing", [False, True])
def test_memory_is_predicted_from_tensors_without_contents(base, checkpointing):
    """Held against a real step of the same network, storage by storage."""
    config = replace(CONFIG, depth=3, hidden_size=96)
    asked = replace(bare(), model=settings.Model("a", "b", "c", base, checkpointing), train=settings.Train(batch=2, ema=0.9))
    found = memory.predict(config, asked, [(128, 128), (128, 64)], [9, 9])
    dit = network.frozen(weights(config), config, base, checkpointing)
    held = sum(tensor.nbytes for tensor in (*dit.parameters(), *dit.buffers()))
    live = lora.add(dit)
    net = network.Network(dit, lambda text: torch.zeros(9, 16), network.BASES[base])
    samples = network.Batch([torch.randn(2, 4, 16, side) for side in (16, 8)], [torch.ones(2, 1, 16, side) for side in (16, 8)],
                            [["a"] * 2] * 2)
    with memory.LiveBytes() as real:
        objectives.ace(net, samples, objectives.Draws(0, 0, range(2))).backward()
    size = sum(tensor.nbytes for tensor in live.values())
    assert found.weights == held and found.lora == size == found.average and found.optimizer == 2 * size
    assert abs(found.step / real.peak - 1) < 0.05
