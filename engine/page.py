"""The page of a pairing: groups, what was left out, and how similar pictures are, so that a person can set the thresholds."""

import base64
import io
from collections import Counter
from collections.abc import Sequence
from dataclasses import fields
from html import escape
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from .ace import data, drawing, files
from .cleaning import CAP, CHAIN, CHANGED, LONG, SHAPE, SMALL, TWIN, UNLIKE, Outcome, Rejected, sampled
from .clusters import Links
from .features import Pile
from .settings import Pairing

NAME = "ACE pairs.html"
GROUPS, EXAMPLES, MEMBERS = 60, 24, 12  # shown on the page
SIDE = 160  # pixels of a thumbnail
INK, DIM, PAPER, RED = drawing.INK, drawing.DIM, drawing.PAPER, drawing.RED
SETTING = {SMALL: "smallest", LONG: "longest", TWIN: "duplicate", CHAIN: "largest", SHAPE: "shape", UNLIKE: "least",
           CHANGED: "changed", CAP: "per_group"}
STYLE = """
:root { color-scheme: light dark; --line: color-mix(in srgb, currentColor 18%, transparent); }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 1120px; margin: 0 auto; padding: 1.5rem; }
h2 { margin: 2.2rem 0 .5rem; border-bottom: 1px solid var(--line); }
table { border-collapse: collapse; } td { padding: .2rem 1rem .2rem 0; border-bottom: 1px solid var(--line); }
td.number { text-align: right; font-variant-numeric: tabular-nums; } code { font-size: .9em; }
.row { display: flex; flex-wrap: wrap; gap: .6rem; margin: .5rem 0 1.1rem; } .row p { flex-basis: 100%; margin: 0; }
.pair { display: flex; gap: 2px; padding: .3rem; border: 1px solid var(--line); border-radius: 6px; } figure { margin: 0; }
figcaption { font-size: .78rem; opacity: .75; max-width: 160px; overflow-wrap: anywhere; }
img { width: 120px; height: 120px; object-fit: contain; border-radius: 4px; display: block; }
svg { width: 100%; height: auto; } svg text { font-size: 12px; fill: currentColor; } svg rect { fill: #2e7fd6; }
svg line { stroke: #ffb020; stroke-width: 2; }
"""


class Thumbnails:
    """Pictures as data for a page, each file read once."""

    def __init__(self):
        self.known: dict[Path, str] = {}

    def __call__(self, path: Path, caption: str = "") -> str:
        if path not in self.known:
            buffer = io.BytesIO()
            thumbnail(path).save(buffer, "JPEG", quality=85)
            self.known[path] = base64.b64encode(buffer.getvalue()).decode()
        return (f"<figure><img src='data:image/jpeg;base64,{self.known[path]}' alt='' loading='lazy'>"
                f"<figcaption>{escape(caption)}</figcaption></figure>")


def thumbnail(path: Path, side: int = SIDE) -> Image.Image:
    """RGB, the longer side at most `side`; a gray one for a file that is gone."""
    try:
        image = Image.fromarray((data.opened(path) * 255).round().byte().numpy())
    except data.DataError:
        return Image.new("RGB", (side, side), "#888888")
    image.thumbnail((side, side))
    return image


def make(folder: Path, pile: Pile, outcome: Outcome, near: Links, settings: Pairing, maker: str) -> Path:
    """Write the page into `folder`; its path."""
    shown, counts = Thumbnails(), outcome.counts
    parts = [f"<h1>ACE pairs</h1><p>{escape(words(counts))} Features: {escape(maker)}.</p>",
             "<h2>How similar pictures are</h2>", similarities(near, settings), "<h2>Groups</h2>",
             *(group(shown, pile, outcome, number) for number in picked(outcome, GROUPS)),
             "<h2>Left out</h2><p>Nearest to the threshold first: there a change of the setting tells most.</p>",
             *(reason(shown, pile, why, found, counts[why]) for why, found in sampled(outcome.rejected, EXAMPLES)),
             *unreadable(pile), "<h2>Settings</h2>", table(settings)]
    content = ('<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
               f"<title>ACE pairs</title><style>{STYLE}</style><body>{''.join(parts)}</body></html>\n")
    files.replaced(folder / NAME, lambda part: part.write_text(content, encoding="utf-8"))
    return folder / NAME


def words(counts: Counter) -> str:
    return (f"{counts['pictures']:,} pictures, {counts['grouped']:,} of them in {counts['groups']:,} groups, make "
            f"{counts['pairs']:,} pairs.")


def picked(outcome: Outcome, most: int) -> list[int]:
    """Groups from the largest to the smallest, evenly."""
    numbers = list(outcome.groups)
    return numbers if len(numbers) <= most else [numbers[i * (len(numbers) - 1) // (most - 1)] for i in range(most)]


def group(shown: Thumbnails, pile: Pile, outcome: Outcome, number: int) -> str:
    rows = outcome.groups[number]
    own = np.asarray(pile.features[rows[:MEMBERS]], np.float32)
    pairs = sum(pair.group == number for pair in outcome.pairs)
    figures = "".join(shown(pile.path(row), "medoid" if i == 0 else f"{float(own[i] @ own[0]):.3f}")
                      for i, row in enumerate(rows[:MEMBERS]))
    more = f" (the first {MEMBERS})" if len(rows) > MEMBERS else ""
    return (f"<div class='row'><p>Group {number}: {len(rows)} pictures{more}, {pairs} pairs. Below a picture: its similarity "
            f"to the medoid, {escape(pile.names[rows[0]])}.</p>{figures}</div>")


def reason(shown: Thumbnails, pile: Pile, why: str, found: Sequence[Rejected], count: int) -> str:
    made = []
    for each in found:
        other = each.target or each.kept
        pictures = shown(each.source, each.source.name) + (shown(other, other.name) if other else "")
        made.append(f"<div><div class='pair'>{pictures}</div>{SETTING[why]} {each.value:.3g}</div>")
    return f"<div class='row'><p><b>{escape(why)}</b>: {count:,} (<code>{SETTING[why]}</code>)</p>{''.join(made)}</div>"


def unreadable(pile: Pile) -> list[str]:
    if not pile.unreadable:
        return []
    lines = "".join(f"<li>{escape(name)} {escape(why)}</li>" for name, why in list(pile.unreadable.items())[:EXAMPLES])
    return [f"<p><b>cannot be opened</b>: {len(pile.unreadable):,}</p><ul>{lines}</ul>"]


def similarities(near: Links, settings: Pairing, width: int = 1060, height: int = 220, bars: int = 60) -> str:
    """A histogram of all pairs from `loose` up, with the thresholds."""
    if not len(near):
        return f"<p>No two pictures are as similar as {settings.loose:g} (<code>loose</code>).</p>"
    low, high = float(settings.loose), max(1.0, float(settings.loose) + 1e-6)
    counts, _ = np.histogram(near.similarity, bars, (low, high))
    step, top = width / bars, np.log1p(counts.max())
    rects = "".join(f'<rect x="{i * step:.1f}" y="{height - 30 - tall:.1f}" width="{step - 1:.1f}" height="{tall:.1f}">'
                    f"<title>{count:,} pairs</title></rect>" for i, count in enumerate(counts)
                    if (tall := (height - 60) * np.log1p(count) / top) > 0)
    at = (settings.strict - low) / (high - low) * width
    return (f'<svg viewBox="0 0 {width} {height}">{rects}<line x1="{at:.1f}" x2="{at:.1f}" y1="20" y2="{height - 30}"/>'
            f'<text x="{min(at + 4, width - 90):.1f}" y="16">strict {settings.strict:g}</text>'
            f'<text x="0" y="{height - 10}">loose {low:g}</text><text x="{width - 12}" y="{height - 10}">1</text></svg>'
            f"<p>{len(near):,} pairs of one cluster, by similarity; heights are logarithms.</p>")


def table(settings: Pairing) -> str:
    rows = "".join(f"<tr><td><code>{each.name}</code></td><td class='number'>{getattr(settings, each.name):g}</td>"
                   f"<td>{escape(each.metadata['what'])}</td></tr>" for each in fields(settings))
    return f"<table>{rows}</table><p>Change one by <code>--set {fields(settings)[2].name}=0.97</code>.</p>"


def sheet(pile: Pile, outcome: Outcome, most: int = 12, wide: int = 8, side: int = 112) -> Image.Image:
    """A picture of the groups: one in each row, the medoid first; framed in red what was left out by itself."""
    numbers = picked(outcome, most)
    step, gone = side + 8, {each.source for each in outcome.rejected if each.target is None}
    columns = max([4, *(min(wide, len(outcome.groups[number])) for number in numbers)])
    page = Image.new("RGB", (8 + columns * step, 56 + max(1, len(numbers)) * step), PAPER)
    pen, font = ImageDraw.Draw(page), ImageFont.load_default(14)
    for line, (text, ink) in enumerate(((words(outcome.counts), INK), ("Framed in red: left out.", DIM))):
        pen.text((8, 8 + 20 * line), text, ink, font)
    for y, number in enumerate(numbers):
        for x, row in enumerate(outcome.groups[number][:wide]):
            picture = thumbnail(pile.path(row), side)
            at = 8 + x * step + (side - picture.width) // 2, 52 + y * step + (side - picture.height) // 2
            page.paste(picture, at)
            if pile.path(row) in gone:
                pen.rectangle((at[0] - 2, at[1] - 2, at[0] + picture.width + 1, at[1] + picture.height + 1), None, RED, 3)
    return page
