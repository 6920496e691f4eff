"""The rooms of docs/design.md as the code has them: lines of Python, and who imports whom: `python -m tools.house`."""

from __future__ import annotations

import ast
import re
import subprocess
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
DESIGN = ROOT / "docs" / "design.md"
ENTRY = "__init__.py"


def allowed() -> dict[str, set[str]]:
    """{room: rooms that it may import}, from the table in docs/design.md."""
    rows = re.findall(r"^\| `([\w.]+)` \|[^|]*\|([^|\n]*)\|$", DESIGN.read_text(encoding="utf-8"), re.MULTILINE)
    return {room: set(may.replace(",", " ").split()) for room, may in rows}


def files() -> list[str]:
    """Python files of the repository, committed or about to be, with paths from its root."""
    listed = subprocess.run(["git", "ls-files", "-co", "--exclude-standard", "*.py"], cwd=ROOT, check=True,
                            capture_output=True, text=True).stdout.splitlines()
    return [name for name in listed if (ROOT / name).is_file()]


def room_of(module: str, rooms) -> str | None:
    """The innermost room that a dotted module lies in; None outside all rooms."""
    inside = [room for room in rooms if module == room or module.startswith(f"{room}.")]
    return max(inside, key=len, default=None)


def imports(name: str) -> set[str]:
    """Dotted modules that a file imports, relative ones resolved from the repository's root."""
    package = name.removesuffix(".py").split("/")[:-1]
    found = set()
    for node in ast.walk(ast.parse((ROOT / name).read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = package[:len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            found |= {module, *(f"{module}.{alias.name}" for alias in node.names)} - {""}
    return found


def graph() -> tuple[dict[str, int], dict[tuple[str, str], set[str]]]:
    """({room: lines of Python}, {(room, room it imports): files that do})."""
    rooms, lines, arrows = allowed(), defaultdict(int), defaultdict(set)
    for name in files():
        own = ENTRY if name == ENTRY else room_of(name.removesuffix(".py").replace("/", "."), rooms)
        if own is None:
            continue  # dev.py stands outside: standard library only
        lines[own] += len((ROOT / name).read_text(encoding="utf-8").splitlines())
        for module in imports(name):
            other = room_of(module, rooms)
            if other not in (None, own):
                arrows[own, other].add(name)
    return dict(lines), dict(arrows)


def main() -> None:
    lines, arrows = graph()
    for room in allowed():
        to = ", ".join(sorted(other for own, other in arrows if own == room))
        print(f"{room:<18} {lines.get(room, 0):>6} lines {'→ ' + to if to else ''}".rstrip())
    print(f"{'all rooms':<18} {sum(lines.values()):>6} lines")


if __name__ == "__main__":
    main()
