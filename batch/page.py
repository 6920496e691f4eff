"""The page of a run: what it took, a sample of before and after, what failed. One HTML file with everything inside."""

import base64
import io
import json
from collections.abc import Iterator
from html import escape
from pathlib import Path

from PIL import Image

from . import sinks
from .job import Job, replaced
from .requests import Found, files_of, path_of

NAME = "ACE batch.html"
MOST = 24  # answers shown
SIDE = 320  # pixels, at most, of a picture on the page
STYLE = """
:root { color-scheme: light dark; --line: color-mix(in srgb, currentColor 18%, transparent); }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 1120px; margin: 0 auto; padding: 1.5rem; }
h2 { margin: 2.2rem 0 .5rem; border-bottom: 1px solid var(--line); }
.row { display: flex; flex-wrap: wrap; gap: .7rem; align-items: flex-end; margin: .6rem 0 1.4rem; }
.row p { flex-basis: 100%; margin: 0; } .row code { opacity: .7; }
figure { margin: 0; } figcaption { font-size: .8rem; opacity: .75; }
img { height: 200px; border-radius: 4px; display: block; } .answer img { outline: 3px solid #b47a00; }
td { padding: .2rem 1rem .2rem 0; border-bottom: 1px solid var(--line); vertical-align: top; }
td:first-child { text-align: right; font-variant-numeric: tabular-nums; }
"""


def make(folder: Path, job: Job, found: Found, reasons: dict[str, int], spent: dict[str, float]) -> Path:
    """Write the page into `folder`. reasons: of errors, with how many · spent: pictures, seconds, worker_seconds of all runs so
    far. Returns its path."""
    title, failed = f"ACE batch: {folder.name}", sum(reasons.values())
    parts = [f"<h1>{escape(title)}</h1><p>{found.count - failed:,} pictures, {failed:,} errors, {found.doubles:,} doubles left "
             f"out.</p>{cost(spent)}"]
    if reasons:
        shown = sorted(reasons.items(), key=lambda item: -item[1])[:MOST]
        parts.append("<h2>What failed</h2><p>errors.jsonl has these requests, to be tried again.</p><table>" + "".join(
            f"<tr><td>{count:,}</td><td>{escape(reason)}</td></tr>" for reason, count in shown) + "</table>")
    parts.append("<h2>Before and after</h2>" + "".join(card(row, job) for row in sample(folder)))
    content = ('<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
               f"<title>{escape(title)}</title><style>{STYLE}</style><body>{''.join(parts)}</body></html>\n")
    replaced(folder / NAME, lambda part: part.write_text(content, encoding="utf-8"))
    return folder / NAME


def cost(spent: dict[str, float]) -> str:
    if not spent.get("pictures"):
        return ""
    each = spent["worker_seconds"] / spent["pictures"]
    return (f"<p>{spent['seconds']:,.0f} s in all. A picture took {each:.2f} s of a worker, so a thousand take "
            f"{each * 1000 / 3600:.2f} hours of one: multiply that by what an hour costs.</p>")


def sample(folder: Path) -> Iterator[dict]:
    """Answers with a picture, from all parts of the run."""
    files = sinks.files(folder)
    chosen = [files[round(i * (len(files) - 1) / max(1, min(MOST, len(files)) - 1))] for i in range(min(MOST, len(files)))]
    each = -(-MOST // max(1, len(chosen)))
    for path in dict.fromkeys(chosen):
        left = each
        for row in sinks.rows(path, folder):
            if row["picture"] is not None:
                yield row
                left -= 1
            if not left:
                break


def card(row: dict, job: Job) -> str:
    words, before = asked(row, job)
    figures = "".join(figure(path.read_bytes(), name) for name, path in before if path.is_file())
    return (f"<div class='row'><p>{escape(words)} <code>{escape(row['name'] or row['id'])}</code></p>{figures}"
            f"{figure(row['picture'], 'answer', 'answer')}</div>")


def asked(row: dict, job: Job) -> tuple[str, list[tuple[str, Path]]]:
    """(what was asked for, [(name, file)] of the pictures)."""
    if job.workflow:
        values = json.loads(row["request"])
        taken = [column for node, slot, column in job.workflow.values if job.workflow.takes_picture(node, slot)]
        words = ", ".join(f"{name}: {value}" for name, value in values.items() if name not in taken)
        return words, [(name, Path(job.folders[""], str(values[name]))) for name in taken]
    from ace_model.record_json import read
    record = read(row["request"])
    words = " → ".join(turn.instruction for turn in record.branch())
    return words, [(picture.file, path_of(picture, job.folders)) for picture in files_of(record)]


def figure(content: bytes, caption: str, kind: str = "") -> str:
    buffer = io.BytesIO()
    with Image.open(io.BytesIO(content)) as image:
        small = image.convert("RGB")
        small.thumbnail((SIDE, SIDE))
        small.save(buffer, "JPEG", quality=90)
    data = base64.b64encode(buffer.getvalue()).decode()
    return (f"<figure class='{kind}'><img src='data:image/jpeg;base64,{data}' alt=''>"
            f"<figcaption>{escape(caption)}</figcaption></figure>")
