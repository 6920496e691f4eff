"""How much memory a run will take, from one step of its own network with tensors that have no contents."""

import contextlib
import ctypes
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from ace_model.config import ACEConfig
from ace_model.dit import DiT

from . import lora
from .draws import Draws
from .live import LiveBytes
from .network import BASES, Batch, Network, TrainedDiT, frozen
from .objectives import objective_of
from .settings import Settings

Sides = list[tuple[int, int]]  # height and width in pixels of each frame, target first
MMAP_THRESHOLD = -3  # glibc's number for it (malloc.h)


@dataclass(frozen=True)
class Prediction:
    """Bytes. step: the most alive at once of what a step makes, gradients included; kernels' workspaces are not seen."""

    weights: int
    lora: int
    optimizer: int
    average: int
    step: int

    @property
    def total(self) -> int:
        return self.weights + self.lora + self.optimizer + self.average + self.step

    def lines(self) -> list[str]:
        parts = {"weights": self.weights, "LoRA": self.lora, "optimizer": self.optimizer, "averaged weights": self.average,
                 "a step": self.step}
        return [*(f"{name:<18}{size / 2**20:10,.1f} MiB" for name, size in parts.items()),
                f"{'together':<18}{self.total / 2**20:10,.1f} MiB"]


def predict(config: ACEConfig, settings: Settings, sides: Sides, words: list[int], device: torch.device | str = "cpu"
            ) -> Prediction:
    """For batches of settings.train.batch samples with these frames. words: tokens of each frame's text · device: where it
    runs, which must be there. Blocks are alike, so two shallow networks tell about a deep one."""
    dit, trained = network_of(config, settings)
    few, more = 2, 4
    if config.depth > more and len(trained) == per_block(config, settings) * config.depth:
        low, high = (peak(replace(config, depth=depth), settings, sides, words, device) for depth in (few, more))
        step = low + (high - low) * (config.depth - few) // (more - few)
    else:
        step = peak(config, settings, sides, words, device)
    return prediction(dit, trained, settings, step)


def prediction(network: nn.Module, trained: dict[str, nn.Parameter], settings: Settings, step: int) -> Prediction:
    """trained: what of the network is trained · step: bytes."""
    size = sum(tensor.nbytes for tensor in trained.values())
    weights = sum(tensor.nbytes for tensor in (*network.parameters(), *network.buffers())) - size
    states = {"adamw": 2.0, "adamw8bit": 0.5}[settings.optimizer.kind]  # two numbers for each, of four bytes or of one
    return Prediction(weights, size, int(states * size), size if settings.train.ema else 0, step)


def per_block(config: ACEConfig, settings: Settings) -> int:
    """How many tensors are trained in the first block; 0 if none, or if the last block has others."""
    with contextlib.suppress(lora.LoRAError):
        one, two = (network_of(replace(config, depth=depth), settings)[1] for depth in (1, 2))
        return len(one) if len(two) == 2 * len(one) else 0
    return 0


def network_of(config: ACEConfig, settings: Settings) -> tuple[TrainedDiT, dict[str, nn.Parameter]]:
    """The network and what is trained of it, on the device "meta"."""
    empty = DiT(config, device="meta").state_dict()
    dit = frozen(empty, config, settings.model.base, settings.model.checkpointing, "meta")
    return dit, lora.add(dit, settings.lora.rank, settings.lora.alpha, settings.lora.targets)


def peak(config: ACEConfig, settings: Settings, sides: Sides, words: list[int], device: torch.device | str) -> int:
    """Most bytes alive at once of what a step makes."""
    batch, (dit, _) = settings.train.batch, network_of(config, settings)

    def prepare() -> tuple[Network, Batch]:
        network = Network(dit, lambda text: torch.empty(int(text) if text.isdigit() else 1, config.text_width),
                          BASES[settings.model.base])
        cells = [(height // 8, width // 8) for height, width in sides]
        texts = [[str(length)] * batch for length in words]
        return network, Batch([torch.empty(batch, config.latent_channels, *each) for each in cells],
                              [torch.empty(batch, 1, *each) for each in cells], texts, negatives=texts)
    return peak_of(dit, settings, prepare, device)


def peak_of(module: nn.Module, settings: Settings, prepare: Callable[[], tuple], device: torch.device | str) -> int:
    """The same of a module on the device "meta". prepare: makes what the objective takes, a network of it and a batch."""
    with FakeTensorMode(), torch.device(device):
        materialize(module)
        network, samples = prepare()
        with LiveBytes() as live:
            objective_of(settings)(network, samples, Draws(0, 0, range(settings.train.batch))).backward()
    return live.peak


def return_freed() -> None:
    """Let freed tensors go back to the system at once. On a CPU glibc keeps those below a limit that grows to 32 MiB on a heap
    with holes: a step of ACE-0.6B at 512 px left 14 GB where 3 are in use. At this limit a step takes a fifth longer."""
    library = ctypes.CDLL(None) if sys.platform == "linux" else None
    if hasattr(library, "mallopt"):
        library.mallopt(MMAP_THRESHOLD, 4 * 2**20)


def materialize(module: nn.Module) -> None:
    """Empty tensors in place of those on the device "meta", of the default device's kind."""
    for each in module.modules():
        for name, tensor in each._parameters.items():
            if tensor is not None:
                each._parameters[name] = nn.Parameter(torch.empty(tensor.shape, dtype=tensor.dtype), tensor.requires_grad)
        for name, tensor in each._buffers.items():
            each._buffers[name] = torch.empty(tensor.shape, dtype=tensor.dtype)
