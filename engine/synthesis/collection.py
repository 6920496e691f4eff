"""A folder of pictures → a data set of training/: turns.jsonl and pictures/. Run again, it goes on where it stopped."""

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from random import Random

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ..ace import data, errors, files, formats, images, record, record_json
from ..features import pictures_in, stamp
from .tasks import TASKS, Annotator, Made, MissingError, Source, make

LIST, PICTURES, NOTES = "turns.jsonl", "pictures", "synthesis.json"
JOURNAL = ".synthesis.jsonl"  # what is done, until all is
MASK = " mask"  # NAME mask.png is the mask of NAME's subject, as in starters/pictures
OTHERS = 3  # pictures that a task may choose another from
SKIPPED, BROKEN = "left out", "unreadable"


class SynthesisError(errors.InputError):
    """A folder or an option that synthesis cannot work with."""


@dataclass(frozen=True)
class Plan:
    """tasks: names of TASKS · each: examples of a task and a picture · budget: of a picture, in tokens of 16 × 16 pixels ·
    seed: of everything drawn · annotators: by name · font: for texts."""

    tasks: tuple[str, ...] = tuple(TASKS)
    each: int = 1
    budget: int = 1024
    seed: int = 0
    annotators: Mapping[str, Annotator] = field(default_factory=dict)
    font: str | None = None

    def __post_init__(self):
        unknown = [name for name in self.tasks if name not in TASKS]
        if unknown or not self.tasks:
            raise SynthesisError(f"{unknown[0] if unknown else 'nothing'} is no task: choose among {', '.join(TASKS)}.")


@dataclass(frozen=True, eq=False)
class Result:
    """counts: examples by task · left_out: {(task, why): pictures} · unreadable: {name: why}"""

    list_file: Path
    counts: Counter
    left_out: Counter
    unreadable: dict[str, str]


def synthesize(folder: Path, out: Path, plan: Plan, tick: Callable[[int], None] = lambda count: None) -> Result:
    """Write a data set of what can be made of the pictures. Raises InputError if nothing can."""
    names = sources(folder)
    if out.absolute().is_relative_to(folder.absolute()):
        raise SynthesisError(f"{out} lies in {folder}, whose pictures it would make more pictures of: give another folder.")
    (out / PICTURES).mkdir(parents=True, exist_ok=True)
    state = [plan.tasks, plan.each, plan.budget, plan.seed, sorted(plan.annotators), plan.font]
    journal = out / JOURNAL
    done = {line["from"]: line for line in entries(journal, state, folder)}
    with journal.open("w" if not done else "a", encoding="utf-8", newline="\n") as file:
        if not done:
            file.write(json.dumps({"plan": state}) + "\n")
        tick(sum(name in done for name in names))
        for name in names:
            if name not in done:
                done[name] = examples(folder, name, names, out, plan)
                file.write(json.dumps(done[name], ensure_ascii=False) + "\n")
                file.flush()
                tick(1)
    return finished(out, names, done)


def sources(folder: Path) -> list[str]:
    """The pictures of a folder that are no masks of others."""
    found = pictures_in(folder)
    stems = {name.rpartition(".")[0] for name in found}
    return [name for name in found if not (stem := name.rpartition(".")[0]).endswith(MASK) or
            stem.removesuffix(MASK) not in stems]


def entries(journal: Path, state: list, folder: Path) -> Iterator[dict]:
    """What an earlier run of the same plan did of pictures that are still the same. A line that was cut off is left out."""
    try:
        lines = journal.read_text(encoding="utf-8").splitlines()
        if not lines or json.loads(lines[0]) != json.loads(json.dumps({"plan": state})):
            return
    except (OSError, ValueError):
        return
    for line in lines[1:]:
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        if entry["stamp"] == stamp(folder / entry["from"]):
            yield entry


def finished(out: Path, names: Sequence[str], done: Mapping[str, dict]) -> Result:
    """The list of all records, and what was left out."""
    lines = [line for name in names for line in done[name]["records"]]
    counts = Counter(task for name in names for task in done[name]["tasks"])
    left_out = Counter((task, why) for name in names for task, why in done[name]["left out"].items())
    broken = {name: done[name][BROKEN] for name in names if BROKEN in done[name]}
    if not lines:
        why = next(iter([f"{task}: {why}" for task, why in left_out] + list(broken.values())), "there is no picture.")
        raise SynthesisError(f"nothing could be made of {len(names)} pictures. {why}")
    files.replaced(out / LIST, lambda part: part.write_text(
        "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines), encoding="utf-8"))
    notes = {"examples": counts, "left out": [[task, why, count] for (task, why), count in sorted(left_out.items())],
             "unreadable": broken}
    files.replaced(out / NOTES, lambda part: part.write_text(json.dumps(notes, indent=1, ensure_ascii=False), encoding="utf-8"))
    (out / JOURNAL).unlink(missing_ok=True)
    return Result(out / LIST, counts, left_out, broken)


# ---- one picture

def examples(folder: Path, name: str, names: Sequence[str], out: Path, plan: Plan) -> dict:
    """All records of a picture, as JSON, and what was left out."""
    entry = {"from": name, "stamp": stamp(folder / name), "records": [], "tasks": [], "left out": {}}
    if isinstance(problem := data.look(folder / name), str):
        return {**entry, BROKEN: problem}
    pick = Random(f"{plan.seed} {name} others")
    others = [folder / each for each in pick.sample(names, min(len(names), OTHERS + 1)) if each != name][:OTHERS]
    source = Source(prepared(folder / name, plan.budget), caption_of(folder / name), alpha_of(folder / name, plan.budget),
                    [prepared(each, plan.budget) for each in others if not isinstance(data.look(each), str)],
                    plan.annotators, plan.font)
    for task in plan.tasks:
        for number in range(plan.each):
            try:
                made = make(task, source, Random(f"{plan.seed} {name} {task} {number}"))
            except MissingError as error:
                entry["left out"][task] = str(error)
                break
            entry["records"].append(record_json.to_data(record_of(made, out, {"task": task, "from": name})))
            entry["tasks"].append(task)
    return entry


@lru_cache(maxsize=8)
def prepared(path: Path, budget: int) -> Tensor:
    """The pixels at the size that ACE sees, to multiples of 16: what is hidden in them is then as coarse for every picture."""
    pixels, _ = images.preprocess(data.opened(path), None, budget)
    return (pixels * 255).round() / 255


def caption_of(path: Path) -> str:
    """From NAME.txt beside it; "" without one."""
    text = path.with_suffix(".txt")
    return " ".join(formats.caption_in(text).split()) if text.is_file() else ""


def alpha_of(path: Path, budget: int) -> Tensor | None:
    """The mask of the subject: NAME mask.png beside the picture, else its transparency. None if it selects nothing, or all."""
    beside = sorted(path.parent.glob(f"{glob_safe(path.stem)}{MASK}.*"))
    if beside:
        levels = data.opened(beside[0], "L")
    else:
        with Image.open(path) as image:
            if "A" not in image.getbands() and "transparency" not in image.info:
                return None
            levels = torch.from_numpy(np.asarray(image.convert("RGBA").getchannel("A"), np.float32) / 255)
    pixels, _ = images.preprocess(levels[..., None].expand(-1, -1, 3), None, budget)
    alpha = pixels[..., 0]
    return alpha if 0.002 < float((alpha > 0.5).float().mean()) < 0.98 else None


def glob_safe(text: str) -> str:
    return "".join(f"[{each}]" if each in "*?[" else each for each in text)


# ---- out

def record_of(made: Made, out: Path, meta: dict) -> record.Record:
    """One turn with its target; pictures are saved under `out`, each content once."""
    def picture(levels: Tensor) -> record.Picture:
        return record.Picture(f"{PICTURES}/{saved(levels, out / PICTURES)}")
    masks = tuple(None if mask is None else picture(mask) for mask in made.masks)
    turn = record.Turn(formats.TURN, instruction=made.instruction, images=tuple(map(picture, made.images)), masks=masks,
                       blank=made.blank, target=picture(made.target), meta=meta)
    return record.Record((turn,), turn.id)


def saved(levels: Tensor, folder: Path) -> str:
    """(H, W, 3) or (H, W) in [0, 1] → the name of a PNG that is made of its content."""
    pixels = (levels * 255).round().clamp(0, 255).byte().numpy()
    name = f"{hashlib.sha256(repr(pixels.shape).encode() + pixels.tobytes()).hexdigest()[:20]}.png"
    if not (folder / name).exists():
        files.replaced(folder / name, lambda part: Image.fromarray(pixels).save(part, "PNG"))
    return name
