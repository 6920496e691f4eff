"""Examples to learn from: records with a target, read from the layouts that people have and checked whole before training.

    examples = read(Path("my set"))                    # docs/training.md shows what may be there
    examples = read(Path("after"), [Path("before")])   # targets with captions, and their sources
"""

import json
import os
import shutil
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from .ace import config, errors, images, lcu, opening, record, record_json, text
from .files import digest, replaced
from .formats import DataError, fail, find, natural

MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "YCbCr", "HSV", "I", "I;16", "I;16L", "I;16B", "I;16N")  # Pillow
# converts these to RGB as every program does. CMYK it converts without the file's profile, F and LAB not at all.
MOST_PIXELS = 178_956_970  # twice Pillow's own measure of a decompression bomb, where Pillow stops
MOST_TURNS = 200  # of a record: each target is an example of its own, with all turns before it
BUDGET = config.DEFAULTS["512px"].token_budget
Tokens = Callable[[str], Sequence[int]]


@dataclass(frozen=True, eq=False)
class Example:
    """One answer to learn: the branch that ends at `record.at`, whose last turn has the target.

    record: that branch alone, every picture a file relative to `folder` · where: for messages, such as turns.jsonl:12
    """

    record: record.Record
    folder: Path
    where: str

    @property
    def turn(self) -> record.Turn:
        return self.record[self.record.at]

    @cached_property
    def key(self) -> str:
        """Equal for equal examples."""
        return f"{self.folder} {record_json.write(self.record)}"

    def path(self, picture: record.Picture) -> Path:
        return self.folder / picture.file

    def pictures(self) -> list[record.Picture]:
        """All of them, masks and the target included."""
        return [each for turn in self.record.turns for each in (*turn.images, *turn.masks, turn.target) if each]

    def unit(self, budget: int = BUDGET) -> lcu.LongContextUnit:
        """As the nodes make it of the record. Raises InputError."""
        return self.record.lcu(lambda picture, mode: opened(self.path(picture), mode), budget=budget)

    def outline(self) -> lcu.LongContextUnit:
        """The same turns and instructions, with pictures that show nothing. Opens no file."""
        turns = tuple(replace(turn, masks=(), room=(0.0,) * 4, blank=False) for turn in self.record.turns)
        return replace(self.record, turns=turns).lcu(lambda picture, mode: torch.zeros(images.TOKEN, images.TOKEN, 3))


def read(path: Path | str, controls: Sequence[Path | str] = (), folder: Path | str | None = None, tokens: Tokens | None = None,
         budget: int = BUDGET) -> list[Example]:
    """The examples of a data set, every file looked at.

    path: a .jsonl, a .csv, a folder with one of them, or a folder of pictures with captions · controls: folders with the source
    pictures of such a folder · folder: what the names in a list are relative to, if not to the list's own folder · tokens: of
    a clean text, to say which instructions are too long · budget: of a picture, in tokens of 16×16 pixels.
    Raises DataError with all problems.
    """
    path = Path(path)
    found = find(path, [Path(each) for each in controls], None if folder is None else Path(folder))
    examples, problems = [], list(found.problems)
    for where, tree in found.records:
        try:
            examples += [Example(learned(tree, turn), found.folder, where) for turn in targets(tree)]
        except errors.InputError as error:
            problems.append((where, str(error)))
    problems += check(examples, tokens, budget)
    if problems:
        ordered = sorted(dict.fromkeys(problems), key=lambda problem: natural(problem[0]))
        raise DataError(path, *(f"{where}: {what}" for where, what in ordered))
    if not examples:
        raise DataError(path, "the list is empty: add an example.")
    return examples


def targets(tree: record.Record) -> list[record.Turn]:
    """The turns to learn. Raises RecordError if there are none, or what could never be learned."""
    if len(tree.turns) > MOST_TURNS:
        fail(f"the record has {len(tree.turns)} turns, but may have {MOST_TURNS} here: make several of it. ACE remembers "
             f"{lcu.DEFAULT_ROUNDS} earlier turns.")
    for turn in tree.turns:
        if turn.target and turn.target.answer_of:
            fail(f"the target of turn {turn.id} is the answer of {turn.target.answer_of}, but must be a file: write "
                 "\"target\": {\"file\": …}.")
    return [turn for turn in tree.turns if turn.target] or fail(
        "no turn has a target, so there is nothing to learn: add \"target\": {\"file\": …} to one.")


def learned(tree: record.Record, last: record.Turn) -> record.Record:
    """The branch that ends at `last`. An earlier turn's answer is its target. Raises RecordError."""
    def seen(picture: record.Picture | None) -> record.Picture | None:
        if not picture or not picture.answer_of:
            return picture
        return tree[picture.answer_of].target or fail(
            f"turn {picture.answer_of} has no target, but turn {last.id} or one before it takes its answer as a picture: give "
            "it a target.")
    turns = [replace(turn, images=tuple(map(seen, turn.images)), masks=tuple(map(seen, turn.masks)), answer=None,
                     target=turn.target if turn is last else None) for turn in tree.branch(last.id)]
    return record.Record(tuple(turns), last.id)


# ---- pictures

def opened(path: Path, mode: str = "RGB") -> Tensor:
    """As ace_model.comfyui.pictures opens it: (H, W, 3) for "RGB", (H, W) for "L", in [0, 1]. Raises DataError."""
    try:
        with warnings.catch_warnings(), Image.open(path) as image:
            return opening.pixels_of(image, mode)
    except Exception as error:  # whatever a damaged file leads Pillow to: of AVIF it is RuntimeError
        raise DataError(path, unreadable(error)) from None


def look(path: Path) -> tuple[int, int] | str:
    """(width, height) of a picture that can be learned from, upright; or what is wrong with the file."""
    if os.path.exists(path) and not os.path.isfile(path):  # who opens a pipe may wait for ever
        return "is no file: use a picture."
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(path) as image:
                return wrong_with(image) or tuple(reversed(opening.pixels_of(image, "RGB").shape[:2]))
    except Image.DecompressionBombError:
        return too_large("")
    except FileNotFoundError:
        return "is not there: put it back, or take it off the list."
    except Exception as error:  # as in `opened`
        return unreadable(error)


def wrong_with(image: Image.Image) -> str:
    width, height = image.size
    if width * height > MOST_PIXELS:
        return too_large(f" ({width}×{height})")
    if min(width, height) < images.TOKEN:
        return f"is {width}×{height} pixels, but ACE needs at least {images.TOKEN}×{images.TOKEN}: use a larger picture."
    deep = image.mode == "I" and not 0 <= image.getextrema()[0] <= image.getextrema()[1] < 2**16
    if image.mode not in MODES or deep:
        what = "holds numbers of 32 bits" if deep or image.mode == "F" else f"is {image.mode}"
        return f"{what}, which has no colors that every program agrees on: save it as an RGB picture of 8 or 16 bits."
    return ""


def too_large(size: str) -> str:
    return f"has more than {MOST_PIXELS // 10**6} million pixels{size}: make it smaller."


def unreadable(error: BaseException) -> str:
    why = getattr(error, "strerror", None) or "it is damaged, or of a format that Pillow does not know"
    return f"cannot be opened as a picture ({why}): use another copy."


# ---- the check

def check(examples: Sequence[Example], tokens: Tokens | None = None, budget: int = BUDGET) -> list[tuple[str, str]]:
    """(where, what is wrong) of everything that training would stumble over. Every picture is decoded once."""
    files = list(dict.fromkeys(each.path(p) for each in examples for p in each.pictures() if not p.place))
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        looks = dict(zip(files, pool.map(look, files), strict=True))
    lengths: dict[str, int] = {}
    return [(each.where, what) for each in examples for what in wrong(each, looks, tokens, lengths, budget)]


def wrong(example: Example, looks: Mapping[Path, tuple[int, int] | str], tokens: Tokens | None, lengths: dict[str, int],
          budget: int) -> list[str]:
    problems = []
    for picture in example.pictures():
        found = looks.get(example.path(picture), "")
        if picture.place:
            problems.append(f"{picture.file} has \"in\": \"{picture.place}\", but pictures of a data set lie beside the "
                            "record: leave out in.")
        elif isinstance(found, str):
            problems.append(f"{picture.file} {found}")
    if problems:
        return problems

    def stand_in(picture: record.Picture, mode: str) -> Tensor:
        width, height = looks[example.path(picture)]
        return opened(example.path(picture), mode) if mode == "L" else torch.zeros(1).expand(height, width, 3)
    try:
        exact = any(turn.blank or any(turn.masks) or any(turn.room) for turn in example.record.turns)
        unit = example.record.lcu(stand_in, budget=budget) if exact else example.outline()
        frames = unit.frames("", example.turn.settings.target_image)
        for frame in frames[1:]:
            if frame.mask is not None:
                images.preprocess(frame.image, frame.mask, example.turn.settings.token_budget or budget, frame.blank)
        for words in dict.fromkeys(frame.text for frame in frames) if tokens else ():
            lengths[words] = lengths.get(words) or len(tokens(words))
            if lengths[words] > text.MAX_TOKENS:
                problems.append(f"the instruction has {lengths[words]} tokens, but ACE reads {text.MAX_TOKENS}: shorten it. "
                                f"It begins {lcu.shorten(words)!r}.")
    except errors.InputError as error:
        problems.append(str(error))
    return problems


# ---- out

def write(examples: Iterable[Example], folder: Path, name: str = "turns.jsonl") -> Path:
    """The examples as the pack's own JSONL, with copies of their pictures in pictures/, each content once; its path."""
    lines = []
    (folder / "pictures").mkdir(parents=True, exist_ok=True)
    for example in examples:
        def kept(picture: record.Picture | None, example: Example = example) -> record.Picture | None:
            return picture and record.Picture(copied(example.path(picture), folder))
        turns = tuple(replace(turn, images=tuple(map(kept, turn.images)), masks=tuple(map(kept, turn.masks)),
                              target=kept(turn.target)) for turn in example.record.turns)
        lines.append(json.dumps(record_json.to_data(replace(example.record, turns=turns)), ensure_ascii=False))
    replaced(folder / name, lambda part: part.write_text("\n".join([*lines, ""]), encoding="utf-8"))
    return folder / name


def copied(path: Path, folder: Path) -> str:
    name = f"pictures/{digest(path)[:20]}{path.suffix.lower()}"
    if not (folder / name).exists():
        replaced(folder / name, lambda part: shutil.copyfile(path, part))
    return name
