"""Memory of a training step at full size on this machine's CPU, predicted and measured: `python -m tests.bench.training`.

A LoRA on ACE-0.6B with random weights in float32, 512 px, one source, batch 1: what `--check` foretells, and by how much two
real steps make the process grow. Linux; needs training's extras and about 8 GB.
"""

from dataclasses import replace
from pathlib import Path
from time import perf_counter

import torch

from ace_model.config import ACEConfig
from ace_model.dit import DiT
from training import lora, memory
from training.draws import Draws
from training.network import BASES, Batch, Network, frozen
from training.objectives import objective_of
from training.settings import Data, Model, Settings

SIDES, WORDS, STEPS = [(512, 512)] * 2, 20, 2  # target and source; tokens of a text
STATUS, FORGET_PEAK = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def resident(field: str) -> int:
    """Bytes of this process. field: VmRSS now, VmHWM at most."""
    line = next(line for line in STATUS.read_text().splitlines() if line.startswith(field))
    return int(line.split()[1]) * 1024


def settings() -> Settings:
    chosen = Settings(Data(Path("none")), Model("none", "none", "none", base="float32"), Path("none"))
    return replace(chosen, train=replace(chosen.train, batch=1))


def steps(config: ACEConfig, chosen: Settings) -> None:
    """A run without its data: network, LoRA, optimizer, and steps that print their loss."""
    weights = {key: 0.02 * torch.randn(empty.shape) for key, empty in DiT(config, device="meta").state_dict().items()}
    dit = frozen(weights, config, chosen.model.base, chosen.model.checkpointing, "cpu")
    trained = lora.add(dit, chosen.lora.rank, chosen.lora.alpha, chosen.lora.targets)
    optimizer = torch.optim.AdamW(trained.values(), chosen.optimizer.rate)
    network = Network(dit, lambda text: torch.randn(WORDS, config.text_width), BASES[chosen.model.base])
    cells = [(height // 8, width // 8) for height, width in SIDES]
    latents, masks = ([torch.randn(1, channels, *each) for each in cells] for channels in (config.latent_channels, 1))
    batch = Batch(latents, masks, [["a"], ["b"]])
    for step in range(STEPS):
        began = perf_counter()
        loss = objective_of(chosen)(network, batch, Draws(0, step, range(1)))
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        print(f"step {step + 1}: loss {loss.item():.3f}, {perf_counter() - began:.0f} s", flush=True)


def main() -> None:
    config, chosen = ACEConfig(), settings()
    predicted = memory.predict(config, chosen, SIDES, [WORDS] * len(SIDES))
    print("\n".join(predicted.lines()), flush=True)
    memory.return_freed()
    before = resident("VmRSS")
    FORGET_PEAK.write_text("5")  # proc(5): the peak counts from here
    steps(config, chosen)
    grown = resident("VmHWM") - before
    print(f"predicted {predicted.total / 2**30:.2f} GiB, measured {grown / 2**30:.2f} GiB: {grown / predicted.total - 1:+.1%}")


if __name__ == "__main__":
    main()
