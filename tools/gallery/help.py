"""Writes js/docs: a help page and a picture of the wiring for every node of the pack: `python -m tools.gallery.help`.

A page is the node's own description and tooltips (from nodes.json, or locales/ in other languages) and what
gallery/notes/<NodeId>.md adds: tips and errors.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

from ..files import replace_file
from .descriptions import wiring
from .draw import svg
from .graph import NODES, ROOT

NOTES = Path(__file__).with_name("notes")
DOCS = ROOT / "js" / "docs"
HEADINGS = {"en": ("Wiring", "Inputs", "Outputs", "default"), "zh": ("连线", "输入", "输出", "默认值")}
LITERAL = re.compile(r"\{'([{}@|])'\}")  # in locales/ the page takes bare braces, @ and | for commands


def definitions(language: str) -> dict[str, dict]:
    """Names and tooltips of the pack's nodes, in plain text: English from their schemas, others from locales/."""
    if language == "en":
        return {name: known["texts"] for name, known in NODES.items() if not known["core"]}
    return json.loads(LITERAL.sub(r"\1", (ROOT / "locales" / language / "nodeDefs.json").read_text(encoding="utf-8")))


def pages() -> dict[Path, str]:
    """{path: text} of every page and picture."""
    out = {}
    for language in HEADINGS:
        for name, about in definitions(language).items():
            path = DOCS / f"{name}.md" if language == "en" else DOCS / name / f"{language}.md"
            out[path] = page(name, about, language)
    names = {name: known["texts"]["display_name"] for name, known in NODES.items() if "texts" in known}
    flows = [make() for make in vars(wiring).values() if getattr(make, "__module__", "") == wiring.__name__]
    for name in definitions("en"):
        flow = next((flow for flow in flows if any(node.type == name for node in flow.nodes)), None)
        if flow is None:
            raise LookupError(f"gallery/descriptions/wiring.py shows {name} nowhere")
        out[DOCS / "wiring" / f"{name}.svg"] = svg(flow, name, names)
    return out


def page(name: str, about: dict, language: str) -> str:
    drawn, inputs, outputs, default = HEADINGS[language]
    note = NOTES / (f"{name}.md" if language == "en" else f"{name}.{language}.md")
    parts = [f"# {about['display_name']}", about["description"], f"## {drawn}", f"![{drawn}](wiring/{name}.svg)"]
    lines = [entry_line(entry.get("name", key), kind_of(name, key), default_of(name, key, default), entry)
             for key, entry in about.get("inputs", {}).items()]
    parts += [f"## {inputs}", "\n".join(lines)]
    lines = [entry_line(entry["name"], NODES[name]["outputs"][int(i)]["type"], "", entry)
             for i, entry in about.get("outputs", {}).items()]
    parts += [f"## {outputs}", "\n".join(lines)]
    if note.is_file():
        parts.append(note.read_text(encoding="utf-8").strip())
    return "\n\n".join(part for part in parts if part) + "\n"


def entry_line(label: str, kind: str, default: str, entry: dict) -> str:
    """A list, not a table: the page's help panel is narrow."""
    return f"- **{label}** · {kind.lower()}{default}: {entry.get('tooltip', '')}"


def kind_of(name: str, key: str) -> str:
    known = NODES[name]
    return next((slot["type"] for slot in known["inputs"] if slot["name"] == key), "")


def default_of(name: str, key: str, word: str) -> str:
    value = next((widget["default"] for widget in NODES[name]["widgets"] if widget["name"] == key), None)
    return "" if value in (None, "") else f" · {word} {str(value).lower() if isinstance(value, bool) else value}"


def main() -> int:
    made = pages()
    for path, text in made.items():
        replace_file(path, lambda temporary, text=text: temporary.write_text(text, encoding="utf-8"))
    print(f"{len(made)} files in {DOCS.relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
