"""Learn from the real page how it writes each node type: `python -m tools.gallery.capture --url ADDRESS [TYPE …]`.

`tools/gallery/nodes.json` then holds, per type, a fresh node as the page serializes it (slots, properties, smallest size), its
widgets in order with their defaults, and its English texts. Workflows and help pages are built from it without ComfyUI or a
browser. Without types, those already known are learned anew; a new type is named once.
"""

import argparse
import json
from itertools import repeat
from pathlib import Path

from ..browser import Page, open_page
from ..files import replace_file

FILE = Path(__file__).with_name("nodes.json")
FRESH = """type => {
    const node = LiteGraph.createNode(type)
    if (!node) return null
    app.graph.add(node)
    const definition = node.constructor.nodeData ?? {}
    const inputs = {...definition.input?.required, ...definition.input?.optional}
    const widgets = (node.widgets ?? []).filter(w => w.serialize !== false).map(w => {
        const [kind, options] = inputs[w.name] ?? []
        const chosen = Array.isArray(kind) || kind === 'COMBO'
        const fallback = chosen ? options?.default ?? null : w.value
        return {name: w.name, default: fallback}
    })
    const saved = JSON.parse(JSON.stringify(node.serialize()))
    app.graph.remove(node)
    const {inputs: slots, outputs, properties, size, color, bgcolor} = saved
    return {inputs: slots, outputs, properties, size, color, bgcolor, widgets,
            values: (saved.widgets_values ?? []).length}
}"""


def capture(page: Page, types: list[str]) -> dict[str, dict]:
    """{type: how the page serializes it}. Raises KeyError for a type that ComfyUI does not know."""
    known, catalogue = page.tab.evaluate("async () => (await fetch('/object_info')).json()"), {}
    for name in sorted(types):
        node = page.tab.evaluate(FRESH, name)
        if node is None:
            raise KeyError(f"ComfyUI knows no node type {name}")
        for slot in node["inputs"]:
            slot["link"] = None
        for slot in node["outputs"]:
            slot["links"] = None
        if node.pop("values") != len(node["widgets"]):  # a widget that is drawn, but not saved
            node["widgets"] = []
        about = known.get(name)  # none of a type that only the page has, such as a note
        node["core"] = about is None or not about["python_module"].startswith("custom_nodes")
        if about:
            node["texts"] = {"display_name": about["display_name"] or name} if node["core"] else texts(about)
        catalogue[name] = {key: value for key, value in node.items() if value is not None}
    return catalogue


def texts(info: dict) -> dict:
    """A node's entry of /object_info → its texts, in the layout of locales/<language>/nodeDefs.json."""
    inputs = {key: {"name": key} | ({"tooltip": spec[1]["tooltip"]} if spec[1:] and "tooltip" in spec[1] else {})
              for part in ("required", "optional") for key, spec in info["input"].get(part, {}).items()}
    outputs = {str(i): {"name": label} | ({"tooltip": tip} if tip else {}) for i, (label, tip) in
               enumerate(zip(info["output_name"], info["output_tooltips"] or repeat(None), strict=False))}
    return {"display_name": info["display_name"], "description": info["description"], "inputs": inputs, "outputs": outputs}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tools.gallery.capture", description=__doc__.splitlines()[0])
    parser.add_argument("types", nargs="*", help="node types to learn in addition")
    parser.add_argument("--url", default="http://127.0.0.1:8188", help="a running ComfyUI with this pack")
    options = parser.parse_args()
    known = json.loads(FILE.read_text(encoding="utf-8"))
    with open_page(options.url) as page:
        catalogue = capture(page, sorted({*known, *options.types}))
    text = json.dumps(catalogue, indent=1, ensure_ascii=False) + "\n"
    replace_file(FILE, lambda path: path.write_text(text, encoding="utf-8"))
    print(f"{len(catalogue)} node types in {FILE.name}")


if __name__ == "__main__":
    main()
