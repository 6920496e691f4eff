"""The report: as text, as one HTML file with its pictures inside, and as one picture."""

import base64
import io
import math
import os
from collections.abc import Sequence
from html import escape
from pathlib import Path

import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from ..drawing import DIM, INK, MARGIN, PAPER, RED
from .pairs import Outcome
from .report import Report, Shown
from .verdict import BEATEN

TITLE = "ACE Check"
SIDE = 224  # pixels of a picture on the sheet
ANSWER, GOOD = "#ffb020", "#5fd07f"
STYLE = """
:root { color-scheme: light dark; --line: color-mix(in srgb, currentColor 18%, transparent); }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 1120px; margin: 0 auto; padding: 1.5rem; }
.verdict { border-left: 6px solid #2e9e4f; padding: .4rem 1rem; } .verdict.wrong { border-color: #d33; }
h2 { margin: 2.2rem 0 .5rem; border-bottom: 1px solid var(--line); }
table { border-collapse: collapse; } td, th { padding: .25rem 1rem .25rem 0; border-bottom: 1px solid var(--line); }
th { text-align: left; } td.number { text-align: right; font-variant-numeric: tabular-nums; }
code { font-size: .85em; word-break: break-all; } .not { color: #d33; }
.row { display: flex; flex-wrap: wrap; gap: .7rem; margin: .6rem 0 1.4rem; } .row p { flex-basis: 100%; margin: 0; }
figure { margin: 0; } figcaption { font-size: .8rem; opacity: .75; } img { height: 200px; border-radius: 4px; display: block; }
"""
HOW = ("Every comparison holds picture, noise and noise level fixed and exchanges one thing. Chance is the probability that a "
       "coin wins as often; below 1 in 100 the answer is yes. Errors are mean squared errors of the predicted noise in units "
       "of the noise's own: 1 is as good as no prediction. Grayscale and the hidden parts have exact answers; how coarse the "
       "authors' mosaic and blur are is not published, so the answers to those two are near.")


def chance(outcome: Outcome) -> str:
    return f"{outcome.chance:.2f}" if outcome.chance >= 0.01 else f"{outcome.chance:.0e}"


def factor(outcome: Outcome) -> str:
    return "–" if math.isnan(outcome.factor) else f"{outcome.factor:.3g}"


def text(report: Report, files: Sequence[tuple[str, str]] = ()) -> str:
    """The report in words and numbers. files: (what, name)."""
    lines = [report.verdict.headline, "", report.verdict.words, ""]
    lines += [*(f"{what}: {name}" for what, name in files), ""] if files else []
    lines += [f"{'yes' if outcome.shown else 'NO ':<4}{BEATEN[name]}: {outcome.wins} of {outcome.pairs}, chance "
              f"{chance(outcome)}, error × {factor(outcome)}" for name, outcome in ordered(report)]
    lines += ["", "Mean error of the predicted noise:"]
    for timestep, columns in report.levels.items():
        lines.append(f"  noise level {timestep} of 1000: " + ", ".join(
            f"{name} {value:.2g}" for name, value in columns.items()))
    lines += ["", "VAE round trip: " + ", ".join(f"{trip.name} {trip.decibels:.1f} dB" for trip in report.trips),
              "Latents, mean ± spread of each channel: " + ", ".join(f"{mean:.2f} ± {std:.2f}" for mean, std in report.latents),
              f"Seed {report.seed}."]
    return "\n".join(lines)


def ordered(report: Report) -> list[tuple[str, Outcome]]:
    return [(name, report.outcomes[name]) for name in BEATEN]


def html(report: Report, files: Sequence[tuple[str, ...]] = ()) -> str:
    """One file, to look at and to share. files: rows of a table (what, name), or (what, name, size, SHA-256)."""
    verdict = report.verdict
    parts = [f"<h1>{TITLE}</h1><div class='verdict{'' if verdict.right else ' wrong'}'><h3>{escape(verdict.headline)}</h3>"
             f"<p>{escape(verdict.words)}</p></div>"]
    if files:
        parts.append("<h2>Files</h2>" + table(("for", "file", "size", "SHA-256")[:len(files[0])], files))
    rows = [("yes" if outcome.shown else "NO", BEATEN[name], f"{outcome.wins} of {outcome.pairs}", chance(outcome),
             factor(outcome)) for name, outcome in ordered(report)]
    parts.append(f"<h2>Comparisons</h2><p>{escape(HOW)}</p>" + table(("", "comparison", "won", "chance", "error ×"), rows))
    columns = list(next(iter(report.levels.values())))
    levels = [(str(t), *(f"{found[name]:.2g}" for name in columns)) for t, found in report.levels.items()]
    parts.append("<h2>Mean errors</h2>" + table(("noise level of 1000", *columns), levels))
    parts.append("<h2>Pictures</h2>" + "".join(map(edit_html, report.edits)))
    trips = "".join(figure(trip.back, f"{trip.name}, {trip.decibels:.1f} dB") for trip in report.trips)
    spread = ", ".join(f"{mean:.2f} ± {std:.2f}" for mean, std in report.latents)
    parts.append(f"<h2>Through the VAE and back</h2><div class='row'>{trips}</div><p>Latents, mean ± spread of each channel: "
                 f"{spread}. Seed {report.seed}.</p>")
    return ('<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
            f"<title>{TITLE}</title><style>{STYLE}</style><body>{''.join(parts)}</body></html>\n")


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    body = "".join("<tr>" + "".join(f"<td{marks(cell)}>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><tr>{''.join(f'<th>{escape(name)}</th>' for name in head)}</tr>{body}</table>"


def marks(cell: str) -> str:
    return " class='not'" if cell == "NO" else " class='number'" if cell[:1].isdigit() and len(cell) < 16 else ""


def edit_html(shown: Shown) -> str:
    pictures = [figure(pixels, "image" if i == 0 else f"image{i}") for i, pixels in enumerate(shown.inputs)]
    pictures.append(figure(shown.answer, "answer"))
    pictures += [figure(shown.truth, "exact answer")] if shown.truth is not None else []
    return (f"<div class='row'><p><b>{escape(shown.edit.title)}</b> · {escape(shown.edit.words)}</p>{''.join(pictures)}</div>")


def figure(pixels: Tensor, caption: str) -> str:
    buffer = io.BytesIO()
    picture(pixels).save(buffer, "JPEG", quality=92)
    data = base64.b64encode(buffer.getvalue()).decode()
    return f"<figure><img src='data:image/jpeg;base64,{data}' alt=''><figcaption>{escape(caption)}</figcaption></figure>"


def picture(pixels: Tensor) -> Image.Image:
    return Image.fromarray((pixels.cpu().float().clamp(0, 1) * 255).round().byte().numpy())


def sheet(report: Report) -> Tensor:
    """(1, H, W, 3) in [0, 1]: the verdict, and every edit in a row: its pictures, its answer, the exact one if it is known."""
    font, small = ImageFont.load_default(17), ImageFont.load_default(13)
    rows = [[*shown.inputs, shown.answer, *([] if shown.truth is None else [shown.truth])] for shown in report.edits]
    step, top = SIDE + 46, MARGIN + 52
    width = 2 * MARGIN + max(3, *map(len, rows)) * (SIDE + 12)
    page = Image.new("RGB", (width, top + len(rows) * step + MARGIN), PAPER)
    pen = ImageDraw.Draw(page)
    headline = shortened(report.verdict.headline, font, width - 2 * MARGIN)
    pen.text((MARGIN, MARGIN - 4), headline, GOOD if report.verdict.right else RED, font)
    pen.text((MARGIN, MARGIN + 18), "Framed: the answer. Right of it: the exact one, where it is known.", DIM, small)
    for i, (shown, pictures) in enumerate(zip(report.edits, rows, strict=True)):
        y = top + i * step
        pen.text((MARGIN, y), shown.edit.title, INK, small)
        pen.text((MARGIN, y + 16), shortened(shown.edit.words, small, width - 2 * MARGIN), DIM, small)
        for column, pixels in enumerate(pictures):
            one = picture(pixels)
            one.thumbnail((SIDE, SIDE - 4))
            if max(one.size) < SIDE // 2 + 20:  # toy pictures
                one = one.resize((one.width * (SIDE - 4) // max(one.size), one.height * (SIDE - 4) // max(one.size)))
            x = MARGIN + column * (SIDE + 12)
            page.paste(one, (x, y + 36))
            if column == len(shown.inputs):
                pen.rectangle((x - 3, y + 33, x + one.width + 2, y + 38 + one.height), outline=ANSWER, width=3)
    levels = torch.frombuffer(bytearray(page.tobytes()), dtype=torch.uint8).view(page.height, page.width, 3)
    return levels[None].float() / 255


def shortened(words: str, font, width: int) -> str:
    """As much as fits in a line."""
    if font.getlength(words) <= width:
        return words
    while words and font.getlength(words + " ...") > width:
        words = words[:-1]
    return words + " ..."


def write(path: Path, content: str) -> Path:
    """Whole, or not at all. Returns the path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        part.write_text(content, encoding="utf-8")
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    return path
