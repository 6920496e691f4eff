"""Train the demo model on the toy world: `python -m demo.trainer.train --help`.

Every step takes fresh samples into a bank of encoded ones and trains on a draw from the bank, in groups with the same
number of images so that no frame is padding. Interrupted runs continue from the checkpoint; without one,
`--warm` starts from the shipped weights. The same seed, device and thread count give the same losses.
"""

import argparse
import math
import tempfile
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from random import Random

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from ace_model.config import ACEConfig
from ace_model.diffusion import TIMESTEPS, sigmas, training_loss
from training.checkpoints import Checkpoints
from training.loop import Loop
from training.network import Batch

from ..world.scenes import SIZE
from ..world.tasks.batch import Chunks, Frames
from . import model as tiny
from . import train_autoencoder
from .text import ENCODER, Tokenizer

DROP_TEXT = 0.1  # of the samples lose their last text, for guidance
LONG = 72  # letters: longer texts are batched apart
CEILING = 400.0  # of the loss's weight on noisy steps
DECIDING = 550, 900  # timesteps at which a picture's content is decided, for later ones see it through the noise, and …
DECIDING_SHARE = 0.65  # … how many of the timesteps are drawn from them
APART = 0.05  # weight of the term that keeps the image names apart
CHANGED = 4.0  # weight of the cells that an edit changes against those it keeps


class Bank:
    """The newest encoded samples; drawn from at random."""

    def __init__(self, vae, capacity: int, device: str, fast: bool):
        self.vae, self.capacity, self.device, self.fast = vae, capacity, device, fast
        self.ring: list[tuple[Tensor, Tensor, list[str], list[str], tuple[int, ...]]] = []
        self.oldest = 0

    def __len__(self) -> int:
        return len(self.ring)

    def __getitem__(self, index: int):
        """0 is the oldest."""
        return self.ring[(self.oldest + index) % len(self.ring)]

    @torch.no_grad()
    def encode(self, images: list[Tensor]) -> list[Tensor]:
        """(N + 1, 3, H, H) uint8 each → (N + 1, 4, H/8, H/8); pictures of one size together."""
        out: dict[int, Tensor] = {}
        for size in {x.shape[-1] for x in images}:
            which = [i for i, x in enumerate(images) if x.shape[-1] == size]
            pixels = torch.cat([images[i] for i in which]).to(self.device).float() / 255
            with torch.autocast(self.device.split(":")[0], torch.bfloat16, enabled=self.fast):
                latents = self.vae.encode(pixels.contiguous(memory_format=torch.channels_last)).float().contiguous().cpu()
            out |= dict(zip(which, (x.clone() for x in latents.split([len(images[i]) for i in which])), strict=True))
        return [out[i] for i in range(len(images))]

    def add(self, chunk: list[Frames]) -> None:
        for frames, latents in zip(chunk, self.encode([f.images for f in chunk]), strict=True):
            sample = latents, frames.masks, frames.texts, frames.negatives, frames.names
            if len(self.ring) < self.capacity:
                self.ring.append(sample)
            else:
                self.ring[self.oldest] = sample
                self.oldest = (self.oldest + 1) % self.capacity

    def draw(self, rng: Random, count: int, drop_text: float = DROP_TEXT) -> Batch:
        """Samples of one kind (number and size of images, short or long texts), so that little is padding.

        `count` of scenes, fewer of larger pictures, so that every batch has as many cells. Kinds come as often as samples have
        them: the sample that is drawn first decides.
        """
        wanted = self.kind(self[rng.randrange(len(self))])
        count, group = max(1, count * (SIZE // 8) ** 2 // wanted[1] ** 2), []
        while len(group) < count:
            sample = self[rng.randrange(len(self))]
            if self.kind(sample) == wanted:
                group.append((*sample[:2], sample[3] if rng.random() < drop_text else sample[2], *sample[3:]))
        texts, negatives = ([list(frame) for frame in zip(*each, strict=True)] for each in list(zip(*group, strict=True))[2:4])
        return Batch(torch.stack([s[0] for s in group], 1), torch.stack([s[1] for s in group], 1), texts,
                     torch.tensor([s[4] for s in group]).T, negatives)

    @staticmethod
    def kind(sample) -> tuple[int, int, bool]:
        return len(sample[0]), sample[0].shape[-1], max(map(len, sample[2])) > LONG


def learning_rate(args: argparse.Namespace, step: int) -> float:
    """Warm-up, a plateau, and a cosine down to a fiftieth over the last third."""
    falling = max(0.0, (step / args.steps - 2 / 3) * 3)
    return args.rate * min(1.0, (step + 1) / args.warmup) * (0.02 + 0.98 * math.cos(falling * math.pi / 2))


def timesteps(count: int, generator: torch.Generator) -> Tensor:
    """(count,), mostly noisy ones."""
    share, everywhere, deciding = torch.rand(3, count, generator=generator, device=generator.device)
    low, high = DECIDING
    return torch.where(share < DECIDING_SHARE, low + (high - low) * deciding, TIMESTEPS * everywhere).long()


def weights(batch: Batch, timestep: Tensor) -> Tensor:
    """(B, 1, h, w): the error of eps becomes that of the clean latent, and counts more where an edit changes something.

    The plain loss hardly looks at the noisy steps, where a picture's content is decided, nor at the few cells of an edit.
    """
    weight = (sigmas().to(timestep.device)[timestep] ** 2).clamp(max=CEILING).reshape(-1, 1, 1, 1)
    if len(batch.latents) == 1:
        return weight
    changed = (batch.latents[0] - batch.latents[-1]).abs().mean(1, keepdim=True) > 0.25
    cells = torch.where(changed, CHANGED, 1.0)
    return weight * cells / cells.mean((1, 2, 3), keepdim=True)


def build(args: argparse.Namespace) -> tiny.TinyACE:
    config = ACEConfig(hidden_size=args.hidden, depth=args.depth, num_heads=args.heads, patch_size=args.patch,
                       text_width=ENCODER["d_model"])
    return tiny.TinyACE(config, Tokenizer(args.tokenizer)).to(args.device)


def optimizers(model: tiny.TinyACE, rate: float) -> list[torch.optim.Optimizer]:
    """Muon (torch.optim.Muon) for the matrices inside blocks, AdamW for everything else."""
    groups: dict[str, list[torch.nn.Parameter]] = {"muon": [], "decay": [], "rest": []}
    for name, parameter in model.named_parameters():
        matrix = parameter.ndim == 2 and not any(word in name for word in ("shared", "table", "bias"))
        inside = matrix and ("blocks." in name or "layer." in name)
        groups["muon" if inside else "decay" if matrix else "rest"].append(parameter)
    return [torch.optim.Muon(groups["muon"], lr=rate, weight_decay=0.01, adjust_lr_fn="match_rms_adamw"),
            torch.optim.AdamW([{"params": groups["decay"], "weight_decay": 0.01},
                               {"params": groups["rest"], "weight_decay": 0.0}], lr=rate, betas=(0.9, 0.98), fused=True)]


def losses_of(model: tiny.TinyACE, batches: list[Batch], step: int, args: argparse.Namespace) -> tuple[Tensor, Tensor]:
    """(what goes down, the mean loss per cell) of batches of different kinds."""
    generator = torch.Generator(args.device).manual_seed(args.seed * 7_919 + step)
    cells, loss = sum(b.latents[0].numel() for b in batches), 0.0
    with torch.autocast(args.device.split(":")[0], torch.bfloat16, enabled=not args.float32):
        for batch in (b.to(args.device) for b in batches):
            prepared = model.prepare(batch.texts, batch.names)
            share = batch.latents[0].numel() / cells
            timestep = timesteps(len(batch.latents[0]), generator)
            loss = loss + share * training_loss(lambda x, t, b=batch, p=prepared: model.eps(x, t, b, p),
                                                batch.latents[0], generator, timestep, weights(batch, timestep))
    return loss + APART * model.alike(), loss


def train(args: argparse.Namespace) -> list[float]:
    """Run to args.steps; the loss of every step made here."""
    torch.manual_seed(args.seed)
    torch.set_num_threads(args.threads)
    model = tiny.load(Tokenizer(args.tokenizer)).to(args.device) if args.warm else build(args)
    if args.compile:
        model.dit.run_blocks = torch.compile(model.dit.run_blocks)
    loop = Loop(model.state_dict(keep_vars=True), optimizers(model, args.rate), lambda step: learning_rate(args, step),
                Checkpoints(args.checkpoint, keep=1), args.average, {"seen": model.seen})
    if loop.resume():
        print(f"resuming at step {loop.step}", flush=True)
    bank = Bank(train_autoencoder.load(args.device), args.bank, args.device, not args.float32)
    loader = iter(DataLoader(Chunks(args.seed, args.fresh, loop.step, args.named), batch_size=None, num_workers=args.workers,
                             prefetch_factor=8 if args.workers else None))
    for _ in range(args.fill):
        bank.add(next(loader))
    print(f"{sum(p.numel() for p in model.dit.parameters()) / 1e6:.1f} M parameters in the DiT, "
          f"{len(bank)} samples to start with, steps {loop.step} … {args.steps}", flush=True)
    losses: list[float] = []

    def work(step: int) -> Iterator[tuple[Tensor, Tensor]]:
        bank.add(next(loader))
        rng = Random(f"{args.seed}-{step}")
        yield losses_of(model, [bank.draw(rng, args.batch) for _ in range(args.batches)], step, args)

    def after(loss: float) -> None:
        losses.append(loss)
        if args.losses:
            print(f"{loop.step} {loss!r}", flush=True)

    def export() -> None:
        settings = {"steps": loop.step, "batch": args.batch, "rate": args.rate, "seed": args.seed, "device": args.device,
                    "seconds": round(loop.seconds), "config": asdict(model.dit.config), "curve": loop.curve}
        tiny.save(model, loop.average, settings, args.out)

    loop.run(work, args.steps, args.every, args.save_every, args.stop, args.minutes, after, export)
    return losses


def check(args: argparse.Namespace) -> None:
    """Train twice from scratch, the second time in two pieces; raise SystemExit unless every loss is the same."""
    with tempfile.TemporaryDirectory() as folder:
        def run(name: str, stop: int | None = None) -> list[float]:
            own = {"checkpoint": Path(folder, name, "run"), "out": Path(folder, name), "stop": stop, "warm": False,
                   "bank": args.fill * args.fresh}  # what a resumed run refills, so that it draws the same samples
            return train(argparse.Namespace(**{**vars(args), **own}))
        whole, pieces = run("whole"), run("pieces", args.steps // 2) + run("pieces")
    differing = [i for i, (a, b) in enumerate(zip(whole, pieces, strict=True)) if a != b]
    if differing:
        raise SystemExit(f"step {differing[0] + 1}: loss {whole[differing[0]]!r}, then {pieces[differing[0]]!r}")
    print(f"{args.steps} steps twice, the second time interrupted: every loss is the same; the last is {whole[-1]:.4f}")


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(prog="python -m demo.trainer.train", description=__doc__,
                                formatter_class=argparse.RawTextHelpFormatter)
    p.add_argument("--steps", type=int, default=9000)
    p.add_argument("--batch", type=int, default=80, help="samples of a batch, all of one kind")
    p.add_argument("--batches", type=int, default=2, help="batches per step, each of another kind")
    p.add_argument("--fresh", type=int, default=20, help="new samples per step; the rest is drawn from the bank")
    p.add_argument("--fill", type=int, default=150, help="chunks of new samples before the first step")
    p.add_argument("--bank", type=int, default=60000, help="samples kept; one is 12 kB")
    p.add_argument("--rate", type=float, default=2e-3, help="peak learning rate")
    p.add_argument("--warmup", type=int, default=200)
    p.add_argument("--average", type=float, default=0.998, help="decay of the averaged weights that ship")
    p.add_argument("--hidden", type=int, default=256)
    p.add_argument("--depth", type=int, default=6)
    p.add_argument("--heads", type=int, default=8)
    p.add_argument("--patch", type=int, default=4, help="latent cells on a token's side")
    p.add_argument("--seed", type=int, default=0)
    p.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    p.add_argument("--threads", type=int, default=2)
    p.add_argument("--workers", type=int, default=0, help="processes that make samples; use some with a GPU")
    p.add_argument("--float32", action="store_true", help="no bfloat16 autocast")
    p.add_argument("--compile", action="store_true")
    p.add_argument("--warm", action="store_true", help="start from the shipped weights with a new optimizer")
    p.add_argument("--named", action="store_true", help="only samples in which a name decides: to begin with, for names are "
                   "learned late or never among all the others")
    p.add_argument("--every", type=int, default=50, help="steps between progress lines")
    p.add_argument("--save-every", type=int, default=200)
    p.add_argument("--minutes", type=float, help="pause after so many minutes; run again to continue")
    p.add_argument("--stop", type=int, help="pause after this step, with the schedule of --steps")
    p.add_argument("--check", action="store_true", help="only show that training repeats and resumes exactly; writes nothing")
    p.add_argument("--losses", action="store_true", help="print every step's loss in full")
    p.add_argument("--tokenizer", type=Path, help="tokenizer.json of T5 (default: the one in COMFYUI_PATH)")
    p.add_argument("--checkpoint", type=Path, default=Path(".dev/train/dit"), help="folder")
    p.add_argument("--out", type=Path, default=tiny.WEIGHTS, help="folder for the weights that ship")
    return p


if __name__ == "__main__":
    arguments = parser().parse_args()
    (check if arguments.check else train)(arguments)
