"""Train the demo's autoencoder: `python -m demo.trainer.train_autoencoder --help`. Resumes from its checkpoint."""

import argparse
import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from random import Random

import torch
from safetensors.torch import load_file, save_file

from tools.files import replace_file
from tools.gallery.models import DEMO_VAE
from training.checkpoints import Checkpoints
from training.loop import Loop

from ..world.scenes import SIZE, Picture, photographs, random_scene, render_each
from ..world.scenes.views import STYLES
from ..world.scenes.world import STUDIO
from .autoencoder import FULL, LATENT, Autoencoder, Widths, loss

WEIGHTS = Path(__file__).parents[1] / "weights" / "vae" / DEMO_VAE
VIEWS = ("segmentation", "depth", "pose", "edge", "contour", "scribble", "grayscale", "mosaic", "blur", "noisy", *STYLES)
AVERAGE = 0.998  # decay of the averaged weights that ship
CPU_WIDTHS = Widths((16, 32, 64, 64), (0, 1, 2, 2), (1, 2, 2, 3))


def random_picture(rng: Random, photo_share: float = 0.12) -> Picture:
    """Anything that a frame of a task may show."""
    view = rng.choice(VIEWS) if rng.random() < 0.35 else "picture"
    if rng.random() < photo_share:
        view = "picture" if view in ("segmentation", "pose") else view
        return Picture(photo=rng.randrange(len(photographs.load())), view=view, seed=rng.getrandbits(31),
                       crop=(rng.random(), rng.random(), rng.random()))
    scene = random_scene(rng, "figure" if view == "pose" else None)
    if rng.random() < 0.08:
        scene = scene.but(place=STUDIO, light="day")
    return Picture(scene, view, rng.getrandbits(31))


def window(rng: Random, image: torch.Tensor) -> torch.Tensor:
    """(3, 128, 128) of a picture that may be larger."""
    y, x = (rng.randrange(side - SIZE + 1) for side in image.shape[1:])
    return image[:, y:y + SIZE, x:x + SIZE]


def batch(seed: int, size: int, device: str) -> torch.Tensor:
    """(size, 3, 128, 128); a third of the pictures has a black rectangle, as blanked masks and padding do."""
    rng = Random(seed)
    images = torch.stack([window(rng, x) for x in render_each([random_picture(rng) for _ in range(size)], device)])
    for image in images[: size // 6]:
        x, y = rng.randrange(0, SIZE - 32), rng.randrange(0, SIZE - 32)
        image[:, y:y + rng.randrange(32, SIZE), x:x + rng.randrange(32, SIZE)] = 0
    return images


def train(args: argparse.Namespace) -> None:
    """Run to args.steps, or for args.minutes."""
    torch.manual_seed(args.seed)
    torch.set_num_threads(args.threads)
    model = Autoencoder(FULL if args.full else CPU_WIDTHS).to(args.device).to(memory_format=torch.channels_last)
    if WEIGHTS.exists() and args.warm:
        model.load_full(load_file(WEIGHTS, device=args.device))
    optimizer = torch.optim.AdamW(model.parameters(), lr=args.rate, betas=(0.9, 0.98), weight_decay=0.0)
    loop = Loop(model.state_dict(keep_vars=True), [optimizer], lambda step: learning_rate(args, step),
                Checkpoints(args.checkpoint, keep=1), AVERAGE, identity={"--full": args.full})
    if loop.resume():
        print(f"resuming at step {loop.step}", flush=True)

    def work(step: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        images = batch(args.seed * 1_000_003 + step, args.batch, args.device)
        generator = torch.Generator().manual_seed(args.seed + step)
        noise = 0.12 * torch.randn(len(images), LATENT, SIZE // 8, SIZE // 8, generator=generator).to(args.device)
        with torch.autocast(args.device.split(":")[0], torch.bfloat16):
            value = loss(model, images.contiguous(memory_format=torch.channels_last), noise)
        yield value, value

    loop.run(work, args.steps, args.every, args.every, minutes=args.minutes, export=lambda: export(args, model, loop))


def learning_rate(args: argparse.Namespace, step: int) -> float:
    """Warm-up, a plateau, and a line down to a fiftieth over the last third."""
    return args.rate * min((step + 1) / 100, 1) * max(0.02, min(1, 3 * (1 - step / args.steps)))


def export(args: argparse.Namespace, model: Autoencoder, loop: Loop) -> None:
    """The averaged weights as the file that ships."""
    averaged = Autoencoder(model.widths)
    averaged.load_state_dict({k: v.cpu() for k, v in loop.average.items()})
    settings = {"widths": asdict(model.widths), "steps": loop.step, "batch": args.batch, "rate": args.rate, "seed": args.seed}
    tensors = {k: v.half() if v.ndim else v for k, v in averaged.full_state_dict().items()}
    replace_file(args.out, lambda path: save_file(tensors, path, {"training": json.dumps(settings)}))


def load(device: str = "cpu") -> Autoencoder:
    """The shipped autoencoder, for inference. Raises FileNotFoundError with the way out."""
    if not WEIGHTS.exists():
        raise FileNotFoundError(f"{WEIGHTS} is missing: run python -m demo.trainer.train_autoencoder first.")
    from safetensors import safe_open
    with safe_open(WEIGHTS, "pt") as file:
        widths = Widths(**{k: tuple(v) for k, v in json.loads(file.metadata()["training"])["widths"].items()})
    model = Autoencoder(widths)
    model.load_full(load_file(WEIGHTS))
    return model.to(device).to(memory_format=torch.channels_last).eval().requires_grad_(False)


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(prog="python -m demo.trainer.train_autoencoder", description=__doc__)
    p.add_argument("--steps", type=int, default=2200)
    p.add_argument("--minutes", type=float, help="pause after so many minutes; run again to continue")
    p.add_argument("--batch", type=int, default=8)
    p.add_argument("--rate", type=float, default=1e-3, help="peak learning rate")
    p.add_argument("--seed", type=int, default=0)
    p.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    p.add_argument("--threads", type=int, default=2)
    p.add_argument("--every", type=int, default=50, help="steps between progress lines and checkpoints")
    p.add_argument("--full", action="store_true", help="all 64 channels and blocks: for a GPU")
    p.add_argument("--warm", action="store_true", help="start from the shipped weights")
    p.add_argument("--checkpoint", type=Path, default=Path(".dev/train/autoencoder"), help="folder")
    p.add_argument("--out", type=Path, default=WEIGHTS, help="file that ships")
    return p


if __name__ == "__main__":
    train(parser().parse_args())
