"""Writes workflows, boxes, phrasings and the API workflows of batches: `python -m tools.gallery.build`.

`--check` only says what differs.
"""

from __future__ import annotations

import argparse
import importlib
import pkgutil
import sys
from pathlib import Path

from starters.phrasings import PHRASINGS

from . import descriptions
from .api import api_graph
from .descriptions.boxes import BOXES
from .graph import ROOT
from .subgraph import blueprint
from .write import dump, save, workflow_json

FOR_BATCHES = ("ACE Edit", "ACE Refine with FLUX", "ACE++ Local edit", "ACE++ Subject")  # as Export (API) writes them


def contents() -> dict[Path, dict]:
    """{path: JSON} of everything that the descriptions make."""
    out = {ROOT / "subgraphs" / f"{box.title}.json": blueprint(box) for box in BOXES}
    out[ROOT / "js" / "conversation" / "phrasings.json"] = PHRASINGS
    for title, describe in workflows().items():
        out[ROOT / "workflows" / f"{title}.json"] = workflow_json(describe(title))
        if title in FOR_BATCHES:
            out[ROOT / "batch" / "workflows" / f"{title}.json"] = api_graph(describe(title))
    return out


def workflows() -> dict:
    """{file name without its ending: function that describes the workflow of that title}, of all description modules."""
    found = {}
    for module in pkgutil.iter_modules(descriptions.__path__):
        found |= getattr(importlib.import_module(f"{descriptions.__name__}.{module.name}"), "WORKFLOWS", {})
    return found


def stale(built: dict[Path, dict]) -> list[str]:
    """What is not on disk as the descriptions make it, or is there without a description."""
    differing = [path for path, content in built.items()
                 if not path.is_file() or path.read_text(encoding="utf-8") != dump(content)]
    strangers = [path for folder in ("workflows", "subgraphs", "batch/workflows") for path in (ROOT / folder).glob("*.json")
                 if path not in built]
    return [str(path.relative_to(ROOT)) for path in (*differing, *strangers)]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tools.gallery.build", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; fail if a file differs")
    options = parser.parse_args()
    built = contents()
    if options.check:
        differing = stale(built)
        print("\n".join(differing) or f"{len(built)} files are as described")
        return 1 if differing else 0
    for path, content in built.items():
        save(content, path)
    print(f"{len(built)} files written")
    return 0


if __name__ == "__main__":
    sys.exit(main())
