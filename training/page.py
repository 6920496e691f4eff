"""The page of a run: loss curve, samples by step, settings. One HTML file with everything inside."""

import base64
import io
import math
import re
from collections.abc import Sequence
from dataclasses import asdict
from html import escape
from itertools import zip_longest
from pathlib import Path

import yaml
from PIL import Image, ImageOps
from torch import Tensor

from .checkpoints import write
from .settings import Settings

NAME = "ACE training.html"
MOST = 12  # rows of samples: the first, the last, and evenly between
SIDE = 320  # pixels, at most, of a sample on the page
STYLE = """
:root { color-scheme: light dark; --line: color-mix(in srgb, currentColor 18%, transparent); }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 1120px; margin: 0 auto; padding: 1.5rem; }
h1, h2 { line-height: 1.2; } h2 { margin: 2.2rem 0 .8rem; border-bottom: 1px solid var(--line); }
.chart { position: relative; margin: 1rem 0 0 5.5rem; height: 280px; }
.chart svg { width: 100%; height: 100%; overflow: visible; }
.chart span { position: absolute; right: 100%; margin-right: .6rem; transform: translateY(-50%); font-size: .8rem; }
.under { display: flex; flex-wrap: wrap; justify-content: space-between; margin: .4rem 0 0 5.5rem; font-size: .8rem; }
line { stroke: var(--line); vector-effect: non-scaling-stroke; }
polyline { fill: none; stroke: #2e7fd6; stroke-width: 1.2; vector-effect: non-scaling-stroke; }
polyline.smooth { stroke: #e08a00; stroke-width: 2.5; }
.key { color: #2e7fd6; } .smooth.key { color: #e08a00; } pre { overflow-x: auto; font-size: .85em; }
.row { display: flex; flex-wrap: wrap; gap: .7rem; margin: .6rem 0 1.4rem; } .row p { flex-basis: 100%; margin: 0; }
figure { margin: 0; min-width: 200px; } figcaption { font-size: .8rem; opacity: .75; max-width: 200px; }
.asked figure { align-self: end; } img { height: 200px; border-radius: 4px; display: block; }
.asked img { height: 96px; display: inline-block; margin-right: .3rem; }
"""


def make(folder: Path, settings: Settings, curve: Sequence[Sequence[float]], step: int, seconds: float,
         captions: Sequence[str] = (), notes: Sequence[str] = (), sources: Sequence[Sequence[Path]] = ()) -> Path:
    """Write the page into `folder`, with the samples that lie there (`sample_file`). curve: [step, loss] · captions, sources:
    texts and pictures of the requests · notes: lines for the top. Returns its path."""
    title = f"ACE training: {settings.output.name}"
    hours = f"{seconds / 3600:.1f} h" if seconds > 5400 else f"{seconds / 60:.0f} min" if seconds > 90 else f"{seconds:.0f} s"
    text = yaml.safe_dump(plain(used(settings)), sort_keys=False, allow_unicode=True)
    parts = [f"<h1>{escape(title)}</h1><p>Step {step} of {settings.train.steps}, {hours}.</p>",
             *(f"<p>{escape(note)}</p>" for note in notes), "<h2>Loss</h2>", chart(curve), "<h2>Samples</h2>",
             asked(captions, sources), rows(folder, captions), "<h2>Settings</h2>",
             f"<details><summary>as they were read</summary><pre>{escape(text)}</pre></details>"]
    content = ('<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
               f"<title>{escape(title)}</title><style>{STYLE}</style><body>{''.join(parts)}</body></html>\n")
    write(folder / NAME, lambda file: file.write(content.encode()))
    return folder / NAME


def keep_sample(folder: Path, step: int, number: int, pixels: Tensor) -> None:
    """pixels (H, W, 3) in [0, 1]. Raises CheckpointError."""
    image = Image.fromarray((pixels * 255).round().byte().numpy())
    write(sample_file(folder, step, number), lambda file: image.save(file, "PNG"))


def sample_file(folder: Path, step: int, number: int) -> Path:
    return folder / "samples" / f"{step:06d}-{number}.png"


def chart(curve: Sequence[Sequence[float]]) -> str:
    """The loss by step as SVG, and its mean over a tenth of the points around each."""
    points = [(step, loss) for step, loss in curve if math.isfinite(loss)]
    if len(points) < 2:
        return "<p>The curve needs two points.</p>"
    first, last = points[0][0], points[-1][0]
    levels = ticks(min(y for _, y in points), max(y for _, y in points))
    low, high = levels[0][0], levels[-1][0]

    def height(loss: float) -> float:
        return 100 * (high - loss) / (high - low)

    def place(step: float, loss: float) -> str:
        return f"{100 * (step - first) / max(1, last - first):.2f},{height(loss):.2f}"
    reach = max(1, len(points) // 20)
    near = [points[max(0, i - reach):i + reach + 1] for i in range(len(points))]
    smooth = [(points[i][0], sum(y for _, y in each) / len(each)) for i, each in enumerate(near)]
    lines = "".join(f'<line x1="0" y1="{height(y):.2f}" x2="100" y2="{height(y):.2f}"/>' for y, _ in levels)
    labels = "".join(f'<span style="top: {height(y):.2f}%">{label}</span>' for y, label in levels)
    return (f'<div class="chart"><svg viewBox="0 0 100 100" preserveAspectRatio="none" role="img" aria-label="loss by step">'
            f'{lines}<polyline points="{" ".join(place(*p) for p in points)}"/>'
            f'<polyline class="smooth" points="{" ".join(place(*p) for p in smooth)}"/></svg>{labels}</div>'
            f'<div class="under"><span>step {first}</span><span><b class="key">—</b> loss <b class="smooth key">—</b> its mean '
            f'over a tenth of the run</span><span>step {last}</span></div>')


def ticks(low: float, high: float) -> list[tuple[float, str]]:
    """3 to 7 round numbers that enclose low and high, ascending, and how to write them."""
    high = high if high > low else low + max(abs(low), 1) / 10
    power = math.floor(math.log10((high - low) / 4))
    size, digits = next((factor * 10**power, max(0, (factor == 2.5) - power)) for factor in (1, 2, 2.5, 5, 10)
                        if (high - low) / (factor * 10**power) <= 5)
    return [(i * size, f"{i * size:.{digits}f}") for i in range(math.floor(low / size), math.ceil(high / size) + 1)]


def asked(captions: Sequence[str], sources: Sequence[Sequence[Path]]) -> str:
    """The requests, each with its pictures."""
    figures = (f"<figure>{''.join(picture(path) for path in paths)}<figcaption>{escape(caption)}</figcaption></figure>"
               for caption, paths in zip_longest(captions, sources, fillvalue=()))
    return f"<div class='row asked'><p><b>asked</b></p>{''.join(figures)}</div>" if captions else ""


def rows(folder: Path, captions: Sequence[str]) -> str:
    """A row of pictures for each step that has some."""
    steps: dict[int, dict[int, Path]] = {}
    for path in sorted((folder / "samples").glob("*.png")) if (folder / "samples").is_dir() else ():
        if found := re.fullmatch(r"(\d+)-(\d+)\.png", path.name):
            steps.setdefault(int(found[1]), {})[int(found[2])] = path
    shown = sorted(steps)
    if len(shown) > MOST:
        shown = [shown[round(i * (len(shown) - 1) / (MOST - 1))] for i in range(MOST)]
    out = []
    for step in reversed(shown):
        figures = "".join(f"<figure>{picture(path, captions[i] if i < len(captions) else '')}</figure>"
                          for i, path in sorted(steps[step].items()))
        when = f"step {step}" if step else "before training"
        out.append(f"<div class='row'><p><b>{when}</b></p>{figures}</div>")
    return "".join(out) or "<p>None yet.</p>"


def picture(path: Path, text: str = "") -> str:
    buffer = io.BytesIO()
    with Image.open(path) as image:
        small = ImageOps.exif_transpose(image).convert("RGB")
        small.thumbnail((SIDE, SIDE))
        small.save(buffer, "JPEG", quality=90)
    data = base64.b64encode(buffer.getvalue()).decode()
    return f'<img src="data:image/jpeg;base64,{data}" alt="" title="{escape(text)}">'


def used(settings: Settings) -> dict[str, object]:
    """Without what belongs to other objectives."""
    return {name: value for name, value in asdict(settings).items()
            if name not in ("consistency", "plus") or name == settings.train.objective}


def plain(value: object) -> object:
    """What YAML can write."""
    if isinstance(value, dict):
        return {key: plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    return str(value) if isinstance(value, Path) else value
