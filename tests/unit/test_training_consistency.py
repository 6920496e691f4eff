"""Consistency distillation against Gaussian pictures, of which every leap is known in closed form."""

from dataclasses import replace

import pytest
import torch
from torch import nn

pytest.importorskip("peft", reason="python dev.py test installs the trainer's packages")

from ace_model.diffusion import add_noise, lcm, levels, sigmas, trailing_timesteps
from training import consistency, lora
from training.draws import Draws
from training.network import Batch
from training.settings import Consistency

SPREAD = 0.8  # of a picture's values around the mean that its text says
MEANS = {"light": 0.7, "": -0.2}
FINE = Consistency(guidance=1.0, solver=1000, damping=0.0, huber=1e-3)
COARSE = replace(FINE, solver=4, steps=(2, 4))


class Gaussians:
    """Teaches the exact error of pictures N(mean, SPREAD²), and answers with `leap` where its LoRA is on.

    leap: (x over the signal, σ, the text's mean) → clean latent.
    """

    def __init__(self, leap):
        self.leap, self.dit = leap, nn.Module()
        self.dit.switch = nn.Linear(1, 1, bias=False)
        nn.init.zeros_(self.dit.switch.weight)
        for name, parameter in lora.add(self.dit, 1, 1, ["switch"]).items():
            nn.init.ones_(parameter), parameter.requires_grad_("_A." in name and False)

    def prepare(self, texts, names):
        return torch.tensor([MEANS[text] for text in texts[0]]).reshape(-1, 1, 1, 1)

    def eps(self, noisy, timestep, batch, mean):
        signal, noise = levels(timestep, 4)
        x, sigma = noisy / signal, noise / signal
        on = self.dit.switch(torch.ones(1, 1)).item() == 1
        clean = self.leap(x, sigma, mean) if on else denoised(x, sigma, mean)
        return (x - clean) / sigma


def denoised(x, sigma, mean):
    """What the picture is on average: the weighted mean of two Gaussians."""
    return mean + SPREAD**2 / (SPREAD**2 + sigma**2) * (x - mean)


def exact(x, sigma, mean):
    """Where the probability flow ends: it keeps the number of standard deviations from the mean."""
    return mean + SPREAD / (SPREAD**2 + sigma**2).sqrt() * (x - mean)


def sampled(x, sigma, mean):
    """Where the sampler's four steps end, or those that are left of them."""
    steps = [*sigmas()[trailing_timesteps(4)].tolist(), 0.0]
    factors = [1.0]
    for now, then in reversed(list(zip(steps, steps[1:], strict=False))):
        factors.insert(0, factors[0] * (1 - (1 - then / now) * now**2 / (now**2 + SPREAD**2)))
    which = (sigma.log() - torch.tensor(steps[:-1]).log()).abs().argmin(-1, keepdim=True)
    return mean + torch.tensor(factors)[which] * (x - mean)


def batch_of(texts):
    generator = torch.Generator().manual_seed(3)
    mean = torch.tensor([MEANS[text] for text in texts]).reshape(-1, 1, 1, 1)
    clean = mean + SPREAD * torch.randn(len(texts), 4, 4, 4, generator=generator)
    return Batch([clean], [torch.ones(len(texts), 1, 4, 4)], [texts], negatives=[[""] * len(texts)])


def loss(leap, options, texts=("light",) * 64, step=0):
    return consistency.consistency(Gaussians(leap), batch_of(list(texts)), Draws(0, step, range(len(texts))), options).item()


def test_the_exact_leap_costs_nothing():
    """The probability flow's own solution, at steps of the teacher so small that its path is the flow."""
    assert loss(exact, FINE) < 2e-3
    assert loss(denoised, FINE) > 10 * loss(exact, FINE), "one step of the teacher is no leap"


def test_the_leap_of_a_coarse_path_ends_where_the_sampler_ends():
    """With four steps: the product of the sampler's own four, which is not the flow's solution."""
    assert loss(sampled, COARSE) < 1e-3 < 0.01 < loss(exact, COARSE)


def test_guidance_is_learned():
    """Guided by g, two Gaussians of one spread are a third, g times as far from the negative's mean as the positive's."""
    def guided(x, sigma, mean):
        return sampled(x, sigma, MEANS[""] + 3 * (mean - MEANS[""]))
    options = replace(COARSE, guidance=3.0, rescale=0.0)
    assert loss(guided, options) < 1e-3 < 0.1 < loss(sampled, options)


def test_training_finds_the_leap():
    """One free number for each timestep of four steps begins at the teacher's own answer and ends at the sampler's."""
    times = trailing_timesteps(4)
    level = sigmas()[times]
    free = nn.Parameter((SPREAD**2 / (SPREAD**2 + level**2)).log())
    which = torch.zeros(1000, dtype=torch.long).scatter(0, times, torch.arange(4))

    class Learning(Gaussians):
        def eps(self, noisy, timestep, batch, mean):
            self.leap = lambda x, sigma, mean: mean + free[which[timestep]].exp().reshape(-1, 1, 1, 1) * (x - mean)
            return super().eps(noisy, timestep, batch, mean)
    options = Consistency(guidance=1.0, solver=4, steps=(4,), huber=1e-2, damping=0.0)
    network, optimizer = Learning(None), torch.optim.Adam([free], lr=0.05)
    for step in range(400):
        consistency.consistency(network, batch_of(["light"] * 32), Draws(1, step, range(32)), options).backward()
        optimizer.step(), optimizer.zero_grad()
    ends = sampled(torch.ones(4, 1, 1, 1), level.reshape(-1, 1, 1, 1), 0).flatten()
    assert torch.allclose(free.exp(), ends, rtol=0.02)


def test_timesteps():
    drawn = consistency.timesteps(Draws(0, 0, range(4000)), Consistency(solver=20, steps=(2, 4), share=0.5))
    count = {t: (drawn == t).sum().item() / 4000 for t in drawn.unique().tolist()}
    assert set(count) == set(trailing_timesteps(20).tolist()), "those of 2 and 4 steps are among those of 20"
    assert abs(count[999] - (0.5 / 3 + 0.5 / 20)) < 0.02 and abs(count[249] - (0.5 / 6 + 0.5 / 20)) < 0.02
    assert abs(count[149] - 0.5 / 20) < 0.02


def test_the_sampler_renews_the_noise_of_the_clean_latent():
    """With an exact predictor of one picture every step finds it; between, the noise is fresh and of the next timestep."""
    clean, seen = torch.randn(2, 4, 4, 4, generator=torch.Generator().manual_seed(0)), []

    def eps(x, t):
        seen.append((int(t[0]), x))
        signal, noise = levels(t, 4)
        return (x - signal * clean) / noise
    first = torch.randn(2, 4, 4, 4)
    assert torch.allclose(lcm(eps, first, 4, torch.Generator().manual_seed(1)), clean, atol=1e-3)
    assert [t for t, _ in seen] == [999, 749, 499, 249]
    fresh = torch.randn(2, 4, 4, 4, generator=torch.Generator().manual_seed(1))
    assert torch.allclose(seen[1][1], add_noise(clean, fresh, torch.tensor([749, 749])), atol=1e-3)
