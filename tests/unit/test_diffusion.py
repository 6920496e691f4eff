"""Schedule, guidance, DDIM and loss against closed forms."""

import numpy as np
import pytest
import torch

from ace_model import diffusion


def test_schedule_is_the_linear_one():
    alphas = np.cumprod(1 - np.linspace(1e-4, 0.02, 1000))
    signal, noise = diffusion.signal_and_noise()
    assert np.allclose(noise.numpy(), np.sqrt(1 - alphas), rtol=1e-4)
    assert np.allclose(diffusion.sigmas().numpy(), np.sqrt((1 - alphas) / alphas), rtol=1e-3)  # float32, see its docstring
    assert torch.allclose(signal**2 + noise**2, torch.ones(1000), atol=1e-6)


def test_trailing_timesteps():
    assert diffusion.trailing_timesteps(20).tolist() == list(range(999, 0, -50))
    assert diffusion.trailing_timesteps(50).tolist() == list(range(999, 0, -20))
    assert diffusion.trailing_timesteps(1).tolist() == [999]
    assert diffusion.trailing_timesteps(1000).tolist() == list(range(999, -1, -1))
    for steps in (3, 7, 30, 333):
        assert len(diffusion.trailing_timesteps(steps)) == steps
    for steps in (0, 1001):
        with pytest.raises(ValueError, match=f"steps is {steps}"):
            diffusion.trailing_timesteps(steps)


def test_guidance_by_hand():
    cond, uncond = np.random.default_rng(0).normal(size=(2, 2, 4, 6, 6))
    for g, r in ((4.5, 0.5), (7.0, 1.0), (2.0, 0.0), (0.0, 0.5)):
        plain = uncond + g * (cond - uncond)
        factor = cond.std((1, 2, 3), ddof=1, keepdims=True) / plain.std((1, 2, 3), ddof=1, keepdims=True)
        expected = plain * (r * factor + 1 - r)
        given = diffusion.guide(torch.tensor(cond), torch.tensor(uncond), g, r).numpy()
        assert np.allclose(given, expected)
        scaled = diffusion.guide(torch.tensor(cond * 31), torch.tensor(uncond * 31), g, r).numpy()
        assert np.allclose(scaled, expected * 31), "samplers hand over eps times sigma"


def test_guidance_one_is_the_conditional_prediction():
    cond = torch.randn(1, 4, 6, 6)
    assert diffusion.guide(cond, torch.zeros_like(cond), 1.0, 0.5) is cond


@pytest.mark.parametrize("steps", [1, 4, 20])
def test_ddim_with_a_perfect_predictor_finds_the_picture(steps):
    clean = torch.randn(2, 4, 6, 6, generator=torch.Generator().manual_seed(0))
    signal, noise = diffusion.signal_and_noise()

    def perfect(x, t):
        return (x - signal[t].view(-1, 1, 1, 1) * clean) / noise[t].view(-1, 1, 1, 1)

    assert torch.allclose(diffusion.ddim(perfect, torch.randn(2, 4, 6, 6), steps), clean, atol=1e-3)


def test_lcm_by_hand():
    """Of pictures N(0.3, 0.5²) the best guess is linear. Every step leaps there, and adds fresh noise of the next level."""
    generator = torch.Generator().manual_seed(2)
    start, *fresh = (torch.randn(2, 4, 3, 3, generator=generator, dtype=torch.float64).numpy() for _ in range(4))
    alphas = np.cumprod(1 - np.linspace(1e-4, 0.02, 1000))
    x = start
    for i, t in enumerate((999, 749, 499, 249)):
        variance = 0.25 * alphas[t] + 1 - alphas[t]
        x = 0.3 + 0.25 * np.sqrt(alphas[t]) / variance * (x - 0.3 * np.sqrt(alphas[t]))
        if i < 3:
            then = alphas[(749, 499, 249)[i]]
            x = np.sqrt(then) * x + np.sqrt(1 - then) * fresh[i]

    def eps(x, t):
        signal, noise = (table[t].double().view(-1, 1, 1, 1) for table in diffusion.signal_and_noise())
        return noise / (0.25 * signal**2 + noise**2) * (x - 0.3 * signal)

    noise = torch.Generator().manual_seed(2)
    torch.randn(2, 4, 3, 3, generator=noise, dtype=torch.float64)  # the start
    assert np.allclose(diffusion.lcm(eps, torch.from_numpy(start), 4, noise), x, atol=1e-3)


@pytest.mark.parametrize("steps", [1, 2, 4])
def test_lcm_with_an_exact_leap_draws_from_the_right_distribution(steps):
    """Where the probability flow of N(0.3, 0.5²) ends is known; any number of steps samples that Gaussian."""
    def eps(x, t):
        signal, noise = (table[t].view(-1, 1, 1, 1) for table in diffusion.signal_and_noise())
        clean = 0.3 + 0.5 / (0.25 * signal**2 + noise**2).sqrt() * (x - 0.3 * signal)
        return (x - signal * clean) / noise

    generator = torch.Generator().manual_seed(0)
    found = diffusion.lcm(eps, torch.randn(40, 4, 25, 25, generator=generator), steps, generator)
    assert abs(found.mean() - 0.3) < 0.01 and abs(found.std() - 0.5) < 0.01  # of 100,000 numbers


def test_loss_of_known_predictors():
    clean = torch.randn(512, 4, 4, 4)
    known = {}

    def remember(x, t):
        known["x"], known["t"] = x, t
        return torch.zeros_like(x)

    loss = diffusion.training_loss(remember, clean, torch.Generator().manual_seed(0))
    assert abs(loss - 1) < 0.05, "predicting nothing costs the variance of unit noise"
    assert known["t"].min() < 20 and known["t"].max() > 980

    def perfect(x, t):
        signal, noise = (table[t].view(-1, 1, 1, 1) for table in diffusion.signal_and_noise())
        return (x - signal * clean) / noise

    assert diffusion.training_loss(perfect, clean, torch.Generator().manual_seed(0)) < 1e-3
