"""The network's promises that need no reference numbers."""

import pytest
import torch

from ace_model.config import ACEConfig
from ace_model.dit import DiT

CONFIG = ACEConfig(hidden_size=72, depth=2, num_heads=2, text_width=16)


def make_inputs(batch=1, sizes=((4, 6), (6, 4), (8, 8)), device="cpu"):
    generator = torch.Generator().manual_seed(0)

    def noise(*shape):
        return torch.randn(shape, generator=generator).to(device)
    latents = [noise(batch, 4, h, w) for h, w in sizes]
    masks = [torch.ones(batch, 1, h, w, device=device) for h, w in sizes]
    texts = [noise(batch, 3 + i, 16) for i in range(len(sizes))]
    timestep = torch.tensor([617.0] * batch, device=device)
    return latents[0], timestep, masks[0], latents[1:], masks[1:], texts, noise(batch, 10, 16)


def run(network, x, t, target_mask, images, masks, texts, indicators):
    return network(x, t, target_mask, images, masks, *network.project_text(texts, indicators))


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    network = DiT(CONFIG).eval().requires_grad_(False)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.15)
    return network


def test_a_step_reads_no_value_on_the_host():
    """On the meta device there are no values: an `.item()`, a mask of valid tokens or a branch on data would fail."""
    network = DiT(CONFIG, device="meta")
    assert run(network, *make_inputs(device="meta")).shape == (1, 4, 4, 6)


def test_every_frame_reads_its_own_text_only(network):
    """With self-attention silent, another frame's text must not reach the target."""
    silent = DiT(CONFIG).requires_grad_(False)
    silent.load_state_dict({key: value * (0 if ".attn.o" in key else 1) for key, value in network.state_dict().items()})
    x, t, mask, images, masks, texts, indicators = make_inputs()
    changed = [texts[0], texts[1] + 1, texts[2]]
    args = (x, t, mask, images, masks)
    assert torch.equal(run(silent, *args, texts, indicators), run(silent, *args, changed, indicators))
    assert not torch.allclose(run(network, *args, texts, indicators), run(network, *args, changed, indicators), atol=1e-4)
    assert not torch.allclose(run(silent, *args, texts, indicators), run(silent, *args, [texts[0] + 1, *texts[1:]], indicators),
                              atol=1e-4)


def test_samples_of_a_batch_do_not_meet(network):
    x, t, mask, images, masks, texts, indicators = make_inputs(batch=2)
    together = run(network, x, t, mask, images, masks, texts, indicators)
    for i in range(2):
        one = [[v[i:i + 1] for v in value] if isinstance(value, list) else value[i:i + 1]
               for value in (x, t, mask, images, masks, texts, indicators)]
        assert torch.allclose(run(network, *one), together[i:i + 1], atol=1e-4)


def test_norm_k_is_loaded_and_never_used(network):
    args = make_inputs()
    other = DiT(CONFIG).requires_grad_(False)
    other.load_state_dict({key: value * (7 if "norm_k" in key else 1) for key, value in network.state_dict().items()})
    assert torch.equal(run(network, *args), run(other, *args))


def test_rotary_tables_are_made_once_per_layout(network, monkeypatch):
    args = make_inputs()
    run(network, *args)
    monkeypatch.setattr("ace_model.dit.rotary_tables", None)
    run(network, *args)
    assert len(network._rope) <= 8


def test_odd_latents_are_refused(network):
    x, t, mask, *rest = make_inputs()
    with pytest.raises(ValueError, match=r"a latent of 6×5 cells \(48×40 pixels\).*multiples of 16 pixels"):
        run(network, torch.zeros(1, 4, 5, 6), t, torch.ones(1, 1, 5, 6), *rest)
