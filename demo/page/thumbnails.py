"""Draws workflows/<title>.jpg, the pictures in ComfyUI's template browser: `python -m demo.page.thumbnails`.

Each shows what goes in and what is asked for, as a case of the same task in the demo model's toy world with its exact
answer (demo/world/tasks). They say what a workflow does, not how well the published model does it.
"""

from __future__ import annotations

import sys
from pathlib import Path
from random import Random

from PIL import Image, ImageDraw

from tools.gallery.build import workflows
from tools.gallery.graph import ROOT

from ..lessons.lessons import LESSONS
from ..world.scenes import SIZE, Picture, image_of
from ..world.tasks import Region, Sample, Turn, generate
from ..world.tasks.base import ANALYSIS, CONTROL, ELEMENT, GENERATION, LAYER, MULTI_TURN, REFERENCE, REPAINTING, SEMANTIC
from ..world.tasks.batch import mask_of
from ..world.tasks.names import named

CASES: dict[str, tuple[str, str, int]] = {  # title: (task, subtask, seed)
    "ACE Talk to your pictures": (MULTI_TURN, "put back", 4), "ACE What the model sees": (REFERENCE, "shape and color", 2),
    "ACE Start here": (SEMANTIC, "color", 3), "ACE Text to image": (GENERATION, "text to image", 5),
    "ACE Fast": (SEMANTIC, "color", 21),
    "ACE Edit": (SEMANTIC, "background", 8), "ACE Edit at full size": (SEMANTIC, "color", 9),
    "ACE Mask from words": (ELEMENT, "remove object", 6), "ACE Face edit": (SEMANTIC, "expression", 2),
    "ACE Style from a picture": (SEMANTIC, "style of a picture", 3), "ACE Analysis": (ANALYSIS, "depth", 2),
    "ACE Controllable generation": (CONTROL, "from edge", 4), "ACE Add or replace an object": (ELEMENT, "add object", 4),
    "ACE Remove an object": (ELEMENT, "remove object", 1), "ACE Text in pictures": (ELEMENT, "add text", 2),
    "ACE Inpaint": (REPAINTING, "inpainting", 21), "ACE Outpaint": (REPAINTING, "outpainting", 3),
    "ACE Detail of a large photograph": (REPAINTING, "inpainting", 31), "ACE Fuse layers": (LAYER, "fuse layers", 2),
    "ACE Reference": (REFERENCE, "multi-reference", 3), "ACE Try-on": (REFERENCE, "try-on", 2),
    "ACE Conversation": (MULTI_TURN, "color of earlier", 5), "ACE Step by step": (ELEMENT, "remove object", 4),
    "ACE Refine with FLUX": (CONTROL, "deblur", 3), "ACE Pair pictures": (SEMANTIC, "background", 12),
    "ACE Make pairs": (CONTROL, "from mosaic", 6),
    "ACE++ Portrait": (REFERENCE, "face", 2), "ACE++ Portrait with Redux": (REFERENCE, "face", 9),
    "ACE++ Reference with the FFT": (LAYER, "fuse layers", 11), "ACE++ Subject": (REFERENCE, "subject in a setting", 3),
    "ACE++ Place an object": (LAYER, "fuse layers", 7), "ACE++ Try-on": (REFERENCE, "try-on", 4),
    "ACE++ Face swap": (REFERENCE, "face", 6), "ACE++ Local edit": (SEMANTIC, "color", 7),
    "ACE++ Upscale": (CONTROL, "deblur", 9), "ACE++ Follow contours": (CONTROL, "from contour", 5),
}
SIDE, LARGE, EDGE = 480, 264, 10  # pixels of the whole, of a picture, of the margin
GROUND, INK, MASK = (30, 32, 38), (245, 179, 1), (255, 0, 200)


def thumbnail(sample: Sample) -> Image.Image:
    """Square, as the template browser shows it: condition pictures top left, the answer bottom right. Masks are tinted."""
    inputs = [tint(picture, turn.region(i), turn.blank) for turn in sample.turns for i, picture in enumerate(turn.pictures)]
    sheet = Image.new("RGB", (SIDE, SIDE), GROUND)
    answer = enlarge(image_of(sample.target), LARGE if inputs else SIDE - 2 * EDGE)
    cell = LARGE if len(inputs) == 1 else (LARGE - EDGE) // 2
    for i, picture in enumerate(inputs[:4]):
        sheet.paste(enlarge(picture, cell), (EDGE + (i % 2) * (cell + EDGE), EDGE + (i // 2) * (cell + EDGE)))
    corner = SIDE - EDGE - answer.width
    draw = ImageDraw.Draw(sheet)
    draw.rectangle((corner - 6, corner - 6, SIDE, SIDE), fill=GROUND)
    sheet.paste(answer, (corner, corner))
    if inputs:
        x, y = SIDE - EDGE - LARGE // 2, EDGE + LARGE // 3
        draw.line(((EDGE + LARGE + 14, y), (x, y), (x, corner - 26)), fill=INK, width=9, joint="curve")
        draw.polygon(((x, corner - 8), (x - 18, corner - 32), (x + 18, corner - 32)), fill=INK)
    return sheet


def tint(picture: Picture, region: Region | None, blank: bool) -> Image.Image:
    """The picture with its mask; what the model does not get to see is covered."""
    shown = image_of(picture)
    if region is None:
        return shown
    mask = Image.fromarray((mask_of(region)[0] * (230 if blank else 110)).byte().numpy())
    return Image.composite(Image.new("RGB", shown.size, MASK), shown, mask)


def enlarge(picture: Image.Image, side: int) -> Image.Image:
    """Whole multiples first, so that edges of the 128-pixel world stay crisp."""
    big = picture.resize((SIZE * 4, SIZE * 4), Image.Resampling.NEAREST)
    return big.resize((side, side), Image.Resampling.LANCZOS)


def teaching() -> Sample:
    """Examples of a ring, and one that was asked for."""
    *examples, new = [s.target for s in LESSONS["subject"].examples() if s.target.scene.light == "day"][:4]
    return Sample("", "", (Turn("", tuple(examples)),), new)


def case(title: str) -> Sample:
    """The toy case of a workflow, the first by daylight from its seed on. KeyError names a workflow that has none."""
    if title == "ACE Teach a subject":
        return teaching()
    if title not in CASES:
        raise KeyError(f"{title} has no thumbnail: add its toy case to CASES in demo/page/thumbnails.py")
    task, subtask, seed = CASES[title]
    cases = (generate(Random(number), task, subtask) for number in range(seed, seed + 500))  # some subtasks always relight
    return next(one for one in cases if as_in_a_template(one)
                and all(p.scene and p.scene.light == "day" for p in (*one.pictures, one.target)))


def as_in_a_template(sample: Sample) -> bool:
    """The picture that is edited comes first, and none goes unnamed."""
    return all(turn.edited == 0 and (len(turn.pictures) < 2 or len(named(turn.instruction)) == len(turn.pictures))
               for turn in sample.turns)


def main(folder: Path = ROOT / "workflows") -> int:
    for title in workflows():
        thumbnail(case(title)).save(folder / f"{title}.jpg", quality=88)
    print(f"{len(workflows())} thumbnails in {folder.name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
