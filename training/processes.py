"""Several processes on one machine or many, by accelerate: each takes its part of every batch."""

import torch
from accelerate import Accelerator
from torch import Tensor

from .loop import Alone


class Several(Alone):
    """As `torchrun` or `accelerate launch` has started them; one without either."""

    def __init__(self, cpu: bool = False):
        self.accelerator = Accelerator(cpu=cpu)
        self.rank, self.count = self.accelerator.process_index, self.accelerator.num_processes
        self.device = self.accelerator.device

    def mean(self, values: list[Tensor]) -> None:
        """Each value becomes its mean over all processes, in one exchange for all of them."""
        if self.count == 1:
            return
        whole = self.accelerator.reduce(torch.cat([value.detach().float().flatten() for value in values]), "mean")
        for value, part in zip(values, whole.split([value.numel() for value in values]), strict=True):
            value.copy_(part.view_as(value))

    def wait(self) -> None:
        self.accelerator.wait_for_everyone()
