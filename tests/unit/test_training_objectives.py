"""What the trainer makes small, against closed forms."""

import pytest
import torch
from torch import nn

pytest.importorskip("peft", reason="python dev.py test installs the trainer's packages")

from training import lora
from training.draws import Draws
from training.network import Batch
from training.objectives import preservation


class Shifted:
    """Finds three times its input as noise, and with its LoRA also what the LoRA's two numbers multiply to."""

    def __init__(self, down, up):
        self.dit = nn.Module()
        self.dit.shift = nn.Linear(1, 1, bias=False)
        nn.init.constant_(self.dit.shift.weight, 3.0)
        self.live = lora.add(self.dit, 1, 1, ["shift"])
        for name, parameter in self.live.items():
            nn.init.constant_(parameter, down if "_A." in name else up)

    def prepare(self, texts, names):
        return None

    def eps(self, noisy, timestep, batch, prepared):
        return self.dit.shift(torch.ones(1, 1)) + 0 * noisy


@pytest.mark.parametrize("down, up", [(1.0, 0.0), (2.0, 0.25)])
def test_preservation_is_the_square_of_what_the_lora_adds(down, up):
    network = Shifted(down, up)
    batch = Batch([torch.zeros(2, 4, 2, 2)], [torch.ones(2, 1, 2, 2)], [["a", "b"]])
    loss = preservation(network, batch, Draws(0, 0, range(2)))
    assert loss.item() == pytest.approx((down * up) ** 2, abs=1e-6)
    loss.backward()
    gradients = {name: parameter.grad.item() for name, parameter in network.live.items()}
    for name, gradient in gradients.items():
        assert gradient == pytest.approx(2 * down * up * (up if "_A." in name else down), abs=1e-5)
