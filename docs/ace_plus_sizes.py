"""The table of sizes in docs/ace_plus.md: `python docs/ace_plus_sizes.py` writes it, `--check` only compares.

Official: by formula from what ali-vilab/ACE_plus @ f3e410b does. It joins both pictures, scales the whole to a multiple
of 16, rounds the border apart from that, and gives back the picture's size from before scaling: the three do not fit.
Ours: by running ace_model.plus on a white reference beside a black picture.
"""

import math
import sys
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from ace_model import plus  # noqa: E402 - found by the line above

PAGE = Path(__file__).with_name("ace_plus.md")
BEGIN, END = "<!-- sizes: written by ace_plus_sizes.py -->\n", "<!-- end of sizes -->\n"
BUDGET = 4096
PAIRS = [  # (reference, picture), each width × height
    ((512, 512), (512, 512)), ((768, 1024), (768, 1024)), ((600, 800), (1000, 750)), ((1024, 1024), (1024, 1024)),
    ((1200, 900), (1080, 1350)), ((853, 1280), (1280, 853)), ((1000, 1500), (1920, 1080)), ((2000, 2000), (777, 1333)),
    ((345, 678), (901, 567)), ((1280, 720), (720, 1280)),
]
HEAD = ("| reference | picture | official node: result | reference columns in it | official script: cut off, stretched "
        "| ours: result | reference columns in it |\n|---|---|---|---|---|---|---|\n")


def official(reference: tuple[int, int], picture: tuple[int, int]) -> tuple[tuple[int, int], int, int, float]:
    """(width, height) of the node's result, columns of the reference in it, and what the script cuts off (pixels of the
    canvas) and stretches (width over height)."""
    width, height = picture
    border = int(reference[0] * height / reference[1])
    whole = border + width
    scale = min(1.0, math.sqrt(BUDGET / ((height / 16) * (whole / 16))))
    canvas_height, canvas_width, start = (int(side * scale) // 16 * 16 for side in (height, whole, border))
    columns = sum(math.floor((x + 0.5) * whole / canvas_width) < border for x in range(canvas_width))  # nearest
    result = min(width, canvas_width - start), min(height, canvas_height)
    shown = canvas_width - start - 30
    return result, max(0, columns - start), start + 30 - columns, (width / shown) / (height / canvas_height)


def ours(reference: tuple[int, int], picture: tuple[int, int]) -> tuple[tuple[int, int], int]:
    """(width, height) of the result and the columns of the reference in it."""
    white, black = torch.ones(1, *reference[::-1], 3), torch.zeros(1, *picture[::-1], 3)
    made = plus.make_canvas([white], black, fill_strength=0, max_tokens=BUDGET)
    leaked = plus.crop(made.pixels, made.layout).amax(dim=(0, 1, 3)) > 0
    result = plus.restore(made.pixels, made.layout)
    return (result.shape[2], result.shape[1]), int(leaked.sum())


def table() -> str:
    rows = []
    for reference, picture in PAIRS:
        size, leaked, cut, stretch = official(reference, picture)
        own, own_leaked = ours(reference, picture)
        cells = ["×".join(map(str, pair)) for pair in (reference, picture, size)]
        cells += [str(leaked), f"{cut} px, {round(stretch - 1, 3) + 0.0:+.1%} in width"]
        rows.append(f"| {' | '.join([*cells, '×'.join(map(str, own)), str(own_leaked)])} |\n")
    return HEAD + "".join(rows)


def main() -> int:
    page = PAGE.read_text(encoding="utf-8")
    before, rest = page.split(BEGIN)
    new = before + BEGIN + table() + END + rest.split(END)[1]
    if "--check" in sys.argv[1:]:
        print("up to date" if new == page else "the table is out of date: run python docs/ace_plus_sizes.py")
        return int(new != page)
    PAGE.write_text(new, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
