"""Distil the demo model into a LoRA for few steps without guidance: `python -m demo.trainer.fast --help`.

The trainer's own objective (training/consistency.py) and loop, with the toy world's fresh samples as data. Runs that were
interrupted go on from their checkpoint.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path
from random import Random

import torch
from torch import Tensor

from tools.gallery.models import DEMO_FAST
from training import lora
from training.checkpoints import Checkpoints
from training.consistency import consistency
from training.draws import Draws
from training.loop import Loop, rate
from training.settings import Consistency

from ..requests import Sampling
from ..world.tasks.batch import Chunks
from . import model as tiny
from . import train_autoencoder
from .text import Tokenizer
from .train import Bank

STEPS = 1, 2, 4  # that the LoRA is for
OTHER = 1000  # seeds of samples that the demo model was not trained on begin here


def train(args: argparse.Namespace) -> None:
    """Run to args.steps, or for args.minutes."""
    torch.set_num_threads(args.threads)
    network = tiny.network_of(tiny.load(Tokenizer(args.tokenizer)), device=args.device)
    live = lora.add(network.dit, args.rank, args.rank, seed=args.seed)
    options = Consistency(args.guidance, args.rescale, args.solver, STEPS, args.share, args.huber, args.damping)
    optimizer = torch.optim.AdamW(live.values(), lr=args.rate, betas=(0.9, 0.99), weight_decay=0.0)
    loop = Loop(live, [optimizer], rate("cosine", args.rate, args.warmup, args.steps), Checkpoints(args.checkpoint, keep=1),
                args.average, identity={"--rank": args.rank})
    if loop.resume():
        print(f"resuming at step {loop.step}", flush=True)
    first = args.fill // args.fresh  # chunks before the first step
    chunks = Chunks(OTHER + args.seed, args.fresh)
    bank = Bank(train_autoencoder.load(args.device), args.bank, args.device, fast=True)
    for number in range(max(0, loop.step + first - args.bank // args.fresh), loop.step + first):
        bank.add(chunks[number])
    print(f"{len(bank)} samples to start with, steps {loop.step} … {args.steps}", flush=True)

    def work(step: int) -> Iterator[tuple[Tensor, Tensor]]:
        bank.add(chunks[first + step])
        batch = bank.draw(Random(f"{args.seed}-{step}"), args.batch, drop_text=0.0).to(args.device)
        loss = consistency(network, batch, Draws(args.seed, step, range(len(batch.latents[0]))), options)
        yield loss, loss

    def export() -> None:
        about = {"steps": loop.step, "batch": args.batch, "rate": args.rate, "seed": args.seed, "device": args.device,
                 "seconds": round(loop.seconds), "options": vars(options), "curve": loop.curve}
        lora.save_file(args.out, loop.average, args.rank, about, "fp16")

    loop.run(work, args.steps, args.every, args.save_every, minutes=args.minutes, export=export)


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(prog="python -m demo.trainer.fast", description=__doc__,
                                formatter_class=argparse.RawTextHelpFormatter)
    own = Consistency()
    p.add_argument("--steps", type=int, default=1000)
    p.add_argument("--batch", type=int, default=32)
    p.add_argument("--fresh", type=int, default=4, help="new samples per step; the rest is drawn from the bank")
    p.add_argument("--fill", type=int, default=1600, help="new samples before the first step")
    p.add_argument("--bank", type=int, default=20000, help="samples kept; one is 12 kB")
    p.add_argument("--rate", type=float, default=6e-4, help="peak learning rate")
    p.add_argument("--warmup", type=int, default=20)
    p.add_argument("--average", type=float, default=0.99, help="decay of the averaged weights that ship")
    p.add_argument("--rank", type=int, default=16)
    p.add_argument("--guidance", type=float, default=Sampling.guidance, help="of the teacher")
    p.add_argument("--rescale", type=float, default=Sampling.rescale, help="of the teacher's guidance")
    p.add_argument("--solver", type=int, default=own.solver, help="steps of the teacher's path")
    p.add_argument("--share", type=float, default=own.share, help="of the timesteps drawn from those of 2 and 4 steps")
    p.add_argument("--huber", type=float, default=own.huber)
    p.add_argument("--damping", type=float, default=own.damping)
    p.add_argument("--seed", type=int, default=0)
    p.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    p.add_argument("--threads", type=int, default=2)
    p.add_argument("--every", type=int, default=50, help="steps between progress lines")
    p.add_argument("--save-every", type=int, default=200)
    p.add_argument("--minutes", type=float, help="pause after so many minutes; run again to continue")
    p.add_argument("--tokenizer", type=Path, help="tokenizer.json of T5 (default: the one in COMFYUI_PATH)")
    p.add_argument("--checkpoint", type=Path, default=Path(".dev/train/fast"), help="folder")
    p.add_argument("--out", type=Path, default=tiny.WEIGHTS / "loras" / DEMO_FAST, help="file that ships")
    return p


if __name__ == "__main__":
    train(parser().parse_args())
