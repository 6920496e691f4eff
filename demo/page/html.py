"""The demo's page: demo_output/index.html with its pictures beside it."""

from __future__ import annotations

from dataclasses import dataclass, field
from html import escape
from pathlib import Path

from PIL import Image

from tools.files import replace_file

STYLE = """
:root { color-scheme: light dark; --line: color-mix(in srgb, currentColor 18%, transparent); --accent: #b47a00; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 1120px; margin: 0 auto; padding: 1.5rem; }
h1 { margin: 0; } h2 { margin: 2.5rem 0 .5rem; border-bottom: 1px solid var(--line); }
.note { border-left: 4px solid var(--accent); padding: .3rem 1rem; margin: 1rem 0; }
.cards { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 520px), 1fr)); gap: 1rem; }
.card { border: 1px solid var(--line); border-radius: 10px; padding: .8rem 1rem; }
.card h3 { margin: 0 0 .2rem; font-size: 1rem; } .time { float: right; font-weight: 400; opacity: .7; }
.step { display: flex; flex-wrap: wrap; gap: .6rem; align-items: flex-end; margin: .4rem 0 .8rem; }
.step p { flex-basis: 100%; margin: 0; } code { font-size: .92em; }
figure { margin: 0; } figcaption { font-size: .78rem; opacity: .75; }
img { width: 136px; height: 136px; object-fit: contain; border-radius: 4px; display: block; background: #8884; }
.answer img { outline: 3px solid var(--accent); } .arrow { align-self: center; font-size: 1.4rem; }
table { border-collapse: collapse; } td, th { padding: .25rem .9rem .25rem 0; border-bottom: 1px solid var(--line); }
th { text-align: left; }
td.number { text-align: right; font-variant-numeric: tabular-nums; }
"""


@dataclass
class Step:
    """One instruction and its result. inputs, answer: pictures · exact: the right answer · right: what the judge says."""

    instruction: str
    inputs: list[Image.Image]
    answer: Image.Image
    exact: Image.Image | None = None
    right: bool | None = None
    exact_name: str = "exact answer"


@dataclass
class Card:
    title: str
    steps: list[Step]
    seconds: float | None = None


@dataclass
class Page:
    """Sections of cards, written as a whole at the end. score: rows (name, share right, cases)."""

    title: str
    introduction: str  # HTML
    sections: list[tuple[str, str, list[Card]]] = field(default_factory=list)  # heading, HTML below it, cards
    score: list[tuple[str, float, int]] = field(default_factory=list)

    def write(self, folder: Path) -> Path:
        """Pictures first, index.html last, each renamed into place. Returns index.html's path."""
        pictures = Pictures(folder / "pictures")
        parts = [f"<h1>{escape(self.title)}</h1>", self.introduction]
        for heading, below, cards in self.sections:
            shown = "".join(card_html(card, pictures) for card in cards)
            parts.append(f'<h2>{escape(heading)}</h2>{below}<div class="cards">{shown}</div>')
        if self.score:
            rows = "".join(f'<tr><td>{escape(name)}</td><td class="number">{share:.1%}</td><td class="number">{cases}</td></tr>'
                           for name, share, cases in self.score)
            parts.append("<h2>Score</h2><p>Right answers, checked against exact truth, on cases never seen in training.</p>"
                         f"<table><tr><th>task</th><th>right</th><th>cases</th></tr>{rows}</table>")
        html = ('<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
                f"<title>{escape(self.title)}</title><style>{STYLE}</style><body>{''.join(parts)}</body></html>\n")
        replace_file(folder / "index.html", lambda path: path.write_text(html, encoding="utf-8"))
        pictures.remove_others()
        return folder / "index.html"


class Pictures:
    """Numbered PNG files."""

    def __init__(self, folder: Path):
        self.folder, self.written = folder, []

    def add(self, image: Image.Image) -> str:
        name = f"{len(self.written):03d}.png"
        replace_file(self.folder / name, lambda path: image.save(path, "PNG"))
        self.written.append(name)
        return f"{self.folder.name}/{name}"

    def remove_others(self) -> None:
        """Those that an earlier, longer page left."""
        for file in self.folder.glob("[0-9][0-9][0-9].png"):
            if file.name not in self.written:
                file.unlink()


def card_html(card: Card, pictures: Pictures) -> str:
    time = f'<span class="time">{card.seconds:.1f} s</span>' if card.seconds is not None else ""
    return (f'<div class="card"><h3>{time}{escape(card.title)}</h3>'
            + "".join(step_html(step, pictures) for step in card.steps) + "</div>")


def step_html(step: Step, pictures: Pictures) -> str:
    def figure(image: Image.Image, caption: str, kind: str = "") -> str:
        return (f'<figure class="{kind}"><img src="{pictures.add(image)}" alt="{escape(caption)}" loading="lazy">'
                f"<figcaption>{escape(caption)}</figcaption></figure>")
    names = [f"{{image{i or ''}}}" for i in range(len(step.inputs))]
    shown = "".join(figure(image, name) for image, name in zip(step.inputs, names, strict=True))
    verdict = {True: " ✓ right", False: " ✗ wrong", None: ""}[step.right]
    answer = figure(step.answer, f"answer{verdict}", "answer")
    exact = figure(step.exact, step.exact_name) if step.exact else ""
    arrow = '<span class="arrow">→</span>'
    return f'<div class="step"><p><code>{escape(step.instruction)}</code></p>{shown}{arrow}{answer}{exact}</div>'
