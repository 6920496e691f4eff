"""Train the demo's autoencoder: `python -m demo.trainer.train_autoencoder --help`. Resumes from its checkpoint."""

import argparse
import json
import math
import time
from dataclasses import asdict
from pathlib import Path
from random import Random

import torch
from safetensors.torch import load_file, save_file

from tools.files import replace_file
from tools.gallery.models import DEMO_VAE

from ..world.scenes import SIZE, Picture, photographs, random_scene, render_each
from ..world.scenes.views import STYLES
from ..world.scenes.world import STUDIO
from .autoencoder import FULL, LATENT, Autoencoder, Widths, loss

WEIGHTS = Path(__file__).parents[1] / "weights" / "vae" / DEMO_VAE
VIEWS = ("segmentation", "depth", "pose", "edge", "contour", "scribble", "grayscale", "mosaic", "blur", "noisy", *STYLES)
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
    torch.manual_seed(args.seed)
    torch.set_num_threads(args.threads)
    widths = FULL if args.full else CPU_WIDTHS
    model = Autoencoder(widths).to(args.device).to(memory_format=torch.channels_last)
    average = {k: v.clone() for k, v in model.state_dict().items()}
    optimizer = torch.optim.AdamW(model.parameters(), lr=args.rate, betas=(0.9, 0.98), weight_decay=0.0)
    step, begun, log = 0, time.time(), []
    if args.checkpoint.exists():
        state = torch.load(args.checkpoint, map_location=args.device, weights_only=True)
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        average, step = state["average"], state["step"]
    elif WEIGHTS.exists() and args.warm:
        model.load_full(load_file(WEIGHTS, device=args.device))
    last, until = args.steps, time.time() + 60 * (args.minutes or math.inf)
    while step < last:
        if time.time() > until:
            last = step + 1
        for group in optimizer.param_groups:
            group["lr"] = args.rate * min((step + 1) / 100, 1) * max(0.02, min(1, 3 * (1 - step / args.steps)))
        images = batch(args.seed * 1_000_003 + step, args.batch, args.device)
        generator = torch.Generator().manual_seed(args.seed + step)
        noise = 0.12 * torch.randn(len(images), LATENT, SIZE // 8, SIZE // 8, generator=generator).to(args.device)
        with torch.autocast(args.device.split(":")[0], torch.bfloat16):
            value, parts = loss(model, images.contiguous(memory_format=torch.channels_last), noise)
        optimizer.zero_grad()
        value.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        for key, v in model.state_dict().items():
            average[key].lerp_(v, 1 - min(0.998, (step + 1) / (step + 10)))
        step += 1
        if step % args.every == 0 or step == last:
            log.append(parts)
            print(f"{step:6d}/{args.steps}  " + "  ".join(f"{k} {sum(p[k] for p in log) / len(log):.4f}" for k in parts)
                  + f"  {time.time() - begun:.0f} s", flush=True)
            log.clear()
            save(args, model, optimizer, average, step, widths)


def save(args, model, optimizer, average, step, widths) -> None:
    """The checkpoint to resume from, and the averaged weights as the file that ships."""
    state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "average": average, "step": step}
    replace_file(args.checkpoint, lambda path: torch.save(state, path))
    averaged = Autoencoder(widths)
    averaged.load_state_dict({k: v.cpu() for k, v in average.items()})
    settings = {"widths": asdict(widths), "steps": step, "batch": args.batch, "rate": args.rate, "seed": args.seed}
    tensors = {k: v.half() if v.ndim else v for k, v in averaged.full_state_dict().items()}
    replace_file(WEIGHTS, lambda path: save_file(tensors, path, {"training": json.dumps(settings)}))


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


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m demo.trainer.train_autoencoder", description=__doc__)
    parser.add_argument("--steps", type=int, default=2200)
    parser.add_argument("--minutes", type=float, help="pause after so many minutes; run again to continue")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rate", type=float, default=1e-3, help="peak learning rate")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--every", type=int, default=50, help="steps between progress lines and checkpoints")
    parser.add_argument("--full", action="store_true", help="all 64 channels and blocks: for a GPU")
    parser.add_argument("--warm", action="store_true", help="start from the shipped weights")
    parser.add_argument("--checkpoint", type=Path, default=Path(".dev/train/autoencoder.pt"))
    train(parser.parse_args())


if __name__ == "__main__":
    main()
