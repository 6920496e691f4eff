"""A lesson as a data set: the pack's own JSONL, its pictures, and a settings file for the trainer."""

import json
from pathlib import Path

from torch import Tensor

from ace_model import record_json
from ace_model.record import Picture, Record, Settings, Turn
from tools.files import replace_file
from tools.gallery.models import DEMO_VAE

from ..requests import InputFiles, Sampling
from ..score import Answerer, parser
from ..trainer.model import DIT_FILE, TEXT_FILE, WEIGHTS
from ..world.scenes import SIZE, render, to_image
from ..world.tasks import Sample
from .lessons import Lesson, ordinary

LIST, KNOWN, SETTINGS, PICTURES = "turns.jsonl", "known.jsonl", "SETTINGS.yaml", "pictures"


def make(name: str, lesson: Lesson, folder: Path) -> Path:
    """Write the lesson's data set into `folder`; the path of its settings file."""
    files = InputFiles(folder / PICTURES)
    known = ordinary()[:lesson.ordinary]
    answers = Answerer(parser().parse_args([]))(known) if known else []  # its own: nobody has to draw them
    lists = {LIST: [(s, render([s.target])[0]) for s in lesson.examples()], KNOWN: list(zip(known, answers, strict=True))}
    for file, examples in lists.items():
        lines = [record_json.write(record(sample, target, files)) for sample, target in examples]
        if lines:
            replace_file(folder / file, lambda path, lines=lines: path.write_text("\n".join([*lines, ""]), encoding="utf-8"))
    shown = [record(sample, None, files) for sample in lesson.requests(len(lesson.kinds))]
    requests = "\n".join(f"    - {record_json.write(each)}" for each in shown)
    text = settings(name, lesson, requests)
    replace_file(folder / SETTINGS, lambda path: path.write_text(text, encoding="utf-8"))
    return folder / SETTINGS


def record(sample: Sample, target: Tensor | None, files: InputFiles) -> Record:
    """target: (3, H, W), the answer to learn; None for a request."""
    files.add([sample.turns])

    def picture(file: str) -> Picture:
        return Picture(f"{PICTURES}/{file}")
    turns = []
    for number, turn in enumerate(sample.turns, 1):
        masks = tuple(region and picture(files.masks[region]) for region in map(turn.region, range(len(turn.pictures))))
        last, side = target is not None and turn is sample.turns[-1], 0 if turn.pictures else SIZE
        turns.append(Turn(f"t{number}", f"t{number - 1}" if number > 1 else None, turn.instruction,
                          tuple(picture(files.names[each]) for each in turn.pictures), masks if any(masks) else (), turn.blank,
                          settings=Settings(Sampling.steps, Sampling.guidance, Sampling.rescale, width=side, height=side,
                                            target_image=turn.edited),
                          target=picture(files.save(to_image(target))) if last else None))
    return Record(tuple(turns), turns[-1].id)


def settings(name: str, lesson: Lesson, requests: str) -> str:
    """The settings file. requests: a line of YAML for each sample."""
    own = "\n".join(f"{section}: {json.dumps(values)}" for section, values in lesson.settings.items())
    return f"""\
# python dev.py train {SETTINGS}
data: {{path: {LIST}{f", preserve: {KNOWN}" if lesson.ordinary else ""}}}
output: {name}
model:
  diffusion: {json.dumps(str(WEIGHTS / DIT_FILE))}
  text_encoder: {json.dumps(str(WEIGHTS / TEXT_FILE))}
  vae: {json.dumps(str(WEIGHTS / "vae" / DEMO_VAE))}
  base: float32
  checkpointing: false
{own}
samples:
  every: {lesson.settings["train"]["steps"] // 4}
  requests:
{requests}
"""
