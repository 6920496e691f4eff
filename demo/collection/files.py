"""The pile on the disk: pictures/, and truth.json, which pairing never opens."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from ace_model import record_json
from engine import pairing, turns
from engine.labels import Label
from engine.settings import Pairing
from tools.files import replace_file
from training.data import copied

from ..lessons import dataset
from ..lessons.lessons import Lesson
from ..world.scenes import Face, Figure, Scene, Sign, Thing, render, to_image
from ..world.scenes import Picture as Shown
from . import eye
from .pile import Entry

PICTURES, TRUTH, PAIRED, LEARNED = "pictures", "truth.json", "paired", "data set"
SETTINGS = Pairing(strict=0.976, loose=0.972, least=0.9, smallest=128, largest=16)  # set by the page of another pile


def write(entries: Sequence[Entry], folder: Path) -> None:
    """00000.png, 00001.png, … and the truth about them."""
    for start in range(0, len(entries), 64):
        part = entries[start:start + 64]
        for number, pixels in enumerate(render([Shown(entry.scene) for entry in part]), start):
            replace_file(folder / PICTURES / f"{number:05}.png", lambda path, pixels=pixels: to_image(pixels).save(path, "PNG"))
    truth = [asdict(entry) for entry in entries]
    replace_file(folder / TRUTH, lambda path: path.write_text(json.dumps(truth), encoding="utf-8"))


def read(folder: Path) -> list[Entry]:
    """Raises FileNotFoundError."""
    data = json.loads((folder / TRUTH).read_text(encoding="utf-8"))
    return [Entry(scene_of(each["scene"]), each["family"], each["role"]) for each in data]


def scene_of(data: dict) -> Scene:
    parts = {"face": Face, "figure": Figure, "sign": Sign}
    return Scene(data["place"], data["light"], tuple(Thing(**thing) for thing in data["things"]),
                 **{name: data[name] and kind(**data[name]) for name, kind in parts.items()})


def pair(folder: Path, settings: Pairing = SETTINGS) -> pairing.Paired:
    """Pairs of folder/pictures, by the eye's features. Opens nothing else."""
    model = eye.load()
    return pairing.pair(folder / PICTURES, folder / PAIRED, settings,
                        lambda pictures, names: eye.look(model, [each.movedim(-1, 0) for each in pictures]), "eye")


def write_examples(labels: Sequence[Label], folder: Path, lesson: Lesson) -> Path:
    """Labelled pairs as a data set, and a settings file of the trainer; its path."""
    made = folder / LEARNED
    (made / dataset.PICTURES).mkdir(parents=True, exist_ok=True)
    lines = [record_json.write(each) for each in turns.records(labels, lambda path: copied(path, made), longest=1)]
    replace_file(made / dataset.LIST, lambda path: path.write_text("\n".join([*lines, ""]), encoding="utf-8"))
    files = dataset.InputFiles(made / dataset.PICTURES)
    shown = "\n".join(f"    - {record_json.write(dataset.record(sample, None, files))}" for sample in lesson.requests(4))
    text = dataset.settings("ring", lesson, shown)
    replace_file(made / dataset.SETTINGS, lambda path: path.write_text(text, encoding="utf-8"))
    return made / dataset.SETTINGS

