"""A folder of pictures → pairs that could be edits: features, clusters, groups, cleaning, and a page to judge them by."""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from . import clusters, features, page, pairs
from .ace import files
from .cleaning import Outcome, Rejected, clean
from .features import Maker, Pile
from .settings import Pairing

WORK = "features"  # of the pictures, kept for the next time
LEFT_OUT, COUNTS = "left_out.jsonl", "pairing.json"


@dataclass(frozen=True, eq=False)
class Paired:
    pile: Pile
    outcome: Outcome
    list_file: Path
    page_file: Path


def pair(folder: Path, out: Path, settings: Pairing, make: Maker = features.from_pixels, maker: str = "pixels",
         homes: np.ndarray | None = None, names: Sequence[str] | None = None,
         tick: Callable[[int], None] = lambda count: None) -> Paired:
    """Write `out`/pairs.jsonl, what was left out, the counts, and the page. Raises InputError.

    make: of features · maker: what it is called · names: of the pictures, default all in the folder · homes (names, each):
    their clusters, if you have them · tick: called with how many pictures are seen.
    """
    out.mkdir(parents=True, exist_ok=True)
    names = features.pictures_in(folder) if names is None else list(names)
    pile = features.pile(folder, out / WORK, make, maker, names, tick)
    if homes is None:
        homes = clusters.clustered(pile.features, settings)
    elif pile.unreadable:
        homes = homes[[name not in pile.unreadable for name in names]]
    groups, near = clusters.grouped(pile.features, homes, settings)
    outcome = clean(pile, groups, settings)
    pairs.write(out / pairs.NAME, outcome.pairs)
    lines = [json.dumps(line(each, folder), ensure_ascii=False) for each in outcome.rejected]
    files.replaced(out / LEFT_OUT, lambda part: part.write_text("\n".join([*lines, ""]), encoding="utf-8"))
    counts = {"features": maker, "settings": asdict(settings), "counts": dict(outcome.counts)}
    files.replaced(out / COUNTS, lambda part: part.write_text(json.dumps(counts, indent=1), encoding="utf-8"))
    return Paired(pile, outcome, out / pairs.NAME, page.make(out, pile, outcome, near, settings, maker))


def line(each: Rejected, folder: Path) -> dict:
    """What was left out, with names relative to the folder of pictures."""
    paths = {"source": each.source, "target": each.target, "kept": each.kept}
    named = {name: path.relative_to(folder).as_posix() for name, path in paths.items() if path}
    return {**named, "group": each.group, "why": each.why, "value": round(each.value, 6)}
