"""What a LoRA changes: the same requests, answered without it and with it."""

from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from ..score import Answerer, cases, means, measure, parser
from ..world.scenes import SIZE, render, to_image
from ..world.tasks import TASKS, Sample
from .lessons import Lesson

PAIRED = 56  # cases of each task: 504 in all
SHOWN = 6  # requests in a picture


def answerers(lora: Path | None) -> list[Answerer]:
    """The model as it is shipped, and with the LoRA."""
    plain = Answerer(parser().parse_args([]))
    return [plain, Answerer(parser().parse_args(["--lora", str(lora)]))] if lora else [plain]


def compare(name: str, samples: list[Sample], models: Sequence[Answerer]) -> list[float]:
    """The share of right answers of each; printed too."""
    results = [measure(model(samples), samples) for model in models]
    shares = [sum(right for _, right, _ in found) / len(found) for found in results]
    kinds = [means((kind, float(right)) for kind, right, _ in found) for found in results]
    detail = ", ".join(f"{kind} {arrow(found[kind] for found in kinds)}" for kind in kinds[0])
    print(f"{name:24s} {arrow(shares)} of {len(samples)}   ({detail})", flush=True)
    return shares


def arrow(shares) -> str:
    return " → ".join(f"{each:.0%}" for each in shares)


def score(lesson: Lesson, args: Namespace) -> None:
    """args: lora, cases, seed, tasks (whether the nine tasks are scored too), paired (of their cases), picture (a file for
    before and after)."""
    models, samples = answerers(args.lora), lesson.requests(args.cases, args.seed)
    compare("unseen requests", samples, models)
    if args.picture:
        board(samples[:SHOWN], models, args.picture)
    if args.tasks:
        shares = [compare(task, cases(args.seed, task, args.paired), models) for task in TASKS]
        print(f"{'all tasks':24s} " + " → ".join(f"{sum(each) / len(each):.1%}" for each in zip(*shares, strict=True)))


def board(samples: list[Sample], models: Sequence[Answerer], path: Path) -> None:
    """A picture: one column per request; what went in, the answers, the truth. White lies between them."""
    given = torch.stack([render(s.pictures[:1])[0] if s.pictures else torch.ones(3, SIZE, SIZE) for s in samples])
    rows: list[Tensor] = [given, *(torch.stack(model(samples)) for model in models), render([s.target for s in samples])]
    framed = [[F.pad(each, (4, 4, 4, 4), value=1.0) for each in row] for row in rows]
    to_image(torch.cat([torch.cat(row, 2) for row in framed], 1)).save(path, quality=88)
