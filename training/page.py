"""The page of a run: loss curve, samples by step, settings. One HTML file with everything inside."""

import base64
import io
import math
import re
from collections.abc import Sequence
from dataclasses import asdict
from html import escape
from pathlib import Path

import yaml
from PIL import Image
from torch import Tensor

from .checkpoints import write
from .settings import Settings

NAME = "ACE training.html"
MOST = 12  # rows of samples: the first, the last, and evenly between
SIDE = 320  # pixels, at most, of a sample on the page
STYLE = """
:root { color-scheme: light dark; --line: color-mix(in srgb, currentColor 18%, transparent); }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 1120px; margin: 0 auto; padding: 1.5rem; }
h2 { margin: 2.2rem 0 .5rem; border-bottom: 1px solid var(--line); }
svg { width: 100%; height: auto; } svg text { font-size: 12px; fill: currentColor; opacity: .75; }
svg line { stroke: var(--line); } svg polyline { fill: none; stroke: #2e7fd6; stroke-width: 1.5; }
svg .smooth { stroke: #ffb020; stroke-width: 2.5; } pre { overflow-x: auto; font-size: .85em; }
.row { display: flex; flex-wrap: wrap; gap: .7rem; margin: .6rem 0 1.4rem; } .row p { flex-basis: 100%; margin: 0; }
figure { margin: 0; } figcaption { font-size: .8rem; opacity: .75; max-width: 200px; }
img { height: 200px; border-radius: 4px; display: block; }
"""


def make(folder: Path, settings: Settings, curve: Sequence[Sequence[float]], step: int, seconds: float,
         captions: Sequence[str] = (), notes: Sequence[str] = ()) -> Path:
    """Write the page into `folder`, with the samples that lie there (`sample_file`). curve: [step, loss] · captions: of the
    samples · notes: lines for the top. Returns its path."""
    title = f"ACE training: {settings.output.name}"
    hours = f"{seconds / 3600:.1f} h" if seconds > 5400 else f"{seconds / 60:.0f} min"
    parts = [f"<h1>{escape(title)}</h1><p>Step {step} of {settings.train.steps}, {hours}.</p>",
             *(f"<p>{escape(note)}</p>" for note in notes), "<h2>Loss</h2>", chart(curve), "<h2>Samples</h2>",
             rows(folder, captions), "<h2>Settings</h2>",
             f"<pre>{escape(yaml.safe_dump(plain(asdict(settings)), sort_keys=False, allow_unicode=True))}</pre>"]
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


def chart(curve: Sequence[Sequence[float]], width: int = 1060, height: int = 300) -> str:
    """The loss by step as SVG, and its mean over a tenth of the points around each."""
    points = [(step, loss) for step, loss in curve if math.isfinite(loss)]
    if len(points) < 2:
        return "<p>The curve needs two points.</p>"
    left, bottom, top = 64, height - 28, 12
    first, last = points[0][0], points[-1][0]
    low, high = min(y for _, y in points), max(y for _, y in points)
    high = high if high > low else low + 1

    def place(step: float, loss: float) -> str:
        return (f"{left + (step - first) / max(1, last - first) * (width - left - 12):.1f},"
                f"{bottom - (loss - low) / (high - low) * (bottom - top):.1f}")
    reach = max(1, len(points) // 20)
    near = [points[max(0, i - reach):i + reach + 1] for i in range(len(points))]
    smooth = [(points[i][0], sum(y for _, y in each) / len(each)) for i, each in enumerate(near)]
    lines = []
    for i in range(5):
        y, loss = bottom - i / 4 * (bottom - top), low + i / 4 * (high - low)
        lines.append(f'<line x1="{left}" y1="{y:.1f}" x2="{width - 12}" y2="{y:.1f}"/>'
                     f'<text x="{left - 6}" y="{y + 4:.1f}" text-anchor="end">{loss:.4g}</text>')
    ends = (f'<text x="{left}" y="{height - 8}">step {first}</text>'
            f'<text x="{width - 12}" y="{height - 8}" text-anchor="end">{last}</text>')
    return (f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="loss by step">{"".join(lines)}{ends}'
            f'<polyline points="{" ".join(place(*p) for p in points)}"/>'
            f'<polyline class="smooth" points="{" ".join(place(*p) for p in smooth)}"/></svg>')


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
        figures = "".join(figure(path, captions[i] if i < len(captions) else "") for i, path in sorted(steps[step].items()))
        out.append(f"<div class='row'><p><b>step {step}</b></p>{figures}</div>")
    return "".join(out) or "<p>None yet.</p>"


def figure(path: Path, caption: str) -> str:
    buffer = io.BytesIO()
    with Image.open(path) as image:
        small = image.convert("RGB")
        small.thumbnail((SIDE, SIDE))
        small.save(buffer, "JPEG", quality=90)
    data = base64.b64encode(buffer.getvalue()).decode()
    return f"<figure><img src='data:image/jpeg;base64,{data}' alt=''><figcaption>{escape(caption)}</figcaption></figure>"


def plain(value: object) -> object:
    """What YAML can write."""
    if isinstance(value, dict):
        return {key: plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    return str(value) if isinstance(value, Path) else value
