"""Layouts of data sets that people have → records with targets, each with the place it stands at. docs/training.md shows them.

Facts from ali-vilab/ACE @ 886bf95 (modules/data/dataset/dataset.py), ali-vilab/ACE_plus @ f3e410b (data/train.csv),
kohya-ss/musubi-tuner (docs/dataset_config.md) and ostris/ai-toolkit (`control_path`). Nothing is opened here but lists and
captions; data.py looks at the pictures.
"""

import csv
import io
import json
import os
import posixpath
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from .ace import errors, record, record_json

PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".avif")
LISTS = (".jsonl", ".csv")
TARGETS, CONTROLS = ("target", "targets", "image", "images"), ("control", "source")  # names of subfolders, and how they begin
SEVERAL = "#;#"  # what the authors put between fields that they list in one
PLUS = ("edit_image", "edit_mask", "ref_image", "target_image", "prompt", "data_type")  # fields of ACE++'s list
SHOWN = 20
TURN = "t1"


class DataError(errors.InputError):
    """A data set that cannot be learned from. problems: all that was found, each with its place."""

    def __init__(self, source: Path | str, *problems: str):
        self.problems = problems
        more = [f"and {len(problems) - SHOWN} more"] if len(problems) > SHOWN else []
        super().__init__(f"{source}: {problems[0]}" if len(problems) == 1 else "\n  ".join(
            [f"{source} has {len(problems)} problems:", *problems[:SHOWN], *more]))


@dataclass
class Found:
    """folder: files of the records are relative to it · records: (place, record) · problems: (place, what is wrong)."""

    folder: Path
    records: list[tuple[str, record.Record]] = field(default_factory=list)
    problems: list[tuple[str, str]] = field(default_factory=list)


def find(path: Path, controls: Sequence[Path] = (), folder: Path | None = None) -> Found:
    """Whatever data set is at `path`: a list, or a folder that holds one, or a folder of pictures with captions.

    controls: folders of source pictures for a folder of targets · folder: what the names in a list are relative to, if not the
    list's own folder. Raises DataError for what is none.
    """
    if not path.exists():
        raise DataError(path, "there is no such file or folder: look at the path.")
    lists = [path] if path.is_file() else [each for each in listing(path)
                                           if each.suffix.lower() in LISTS and each.is_file()]
    if controls or not lists:
        if path.is_file():
            raise DataError(path, "a list names its source pictures itself: leave out the control folders, or give a folder of "
                                  "target pictures.")
        return captioned(*places(path, controls))
    if len(lists) > 1:
        raise DataError(path, f"the folder holds several lists ({record.listed({each.name for each in lists})}): name one of "
                              "them.")
    kinds = {".jsonl": jsonl, ".csv": table}
    if lists[0].suffix.lower() not in kinds:
        raise DataError(path, f"this is a {lists[0].suffix or 'file without an ending'}, but a data set is a .jsonl, a .csv or "
                              "a folder: use one of them.")
    return kinds[lists[0].suffix.lower()](lists[0], (folder or lists[0].parent).absolute())


# ---- lists

def jsonl(path: Path, folder: Path) -> Found:
    """A record or a line of musubi-tuner's in each line."""
    return gathered(folder, ((f"{path.name}:{number}", lambda line=line: from_line(line, folder))
                             for number, line in enumerate(content(path).splitlines(), 1) if line.strip()))


def from_line(line: bytes, folder: Path) -> record.Record:
    line = line.removeprefix(b"\xef\xbb\xbf")
    try:
        data = json.loads(line)
    except (ValueError, RecursionError):
        return record_json.read(line)  # says what is wrong with it
    if not isinstance(data, dict) or "image_path" not in data:
        if isinstance(data, dict) and not {"version", "turns"} & data.keys():
            raise record.RecordError(f"the line has {record.listed(set(data)) or 'nothing'}, but needs turns (a record), or "
                                     "image_path and caption (musubi-tuner): write one of them.")
        return record_json.read(line)
    numbered = [(int(match[1] or 0), key) for key in data if (match := re.fullmatch(r"control_path(?:_(\d{1,9}))?", key))]
    return one_turn(data.get("caption"), data["image_path"], [data[key] for _, key in sorted(numbered)], folder,
                    ("caption", "image_path", "control_path"))


def table(path: Path, folder: Path) -> Found:
    """The authors' CSV: a header with Target:FILE, Source:FILE and Prompt (or prompt), one example in each row. That of ACE++
    has no header."""
    try:
        text = content(path).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(path, f"the list is not UTF-8 (byte {error.start}): save it as UTF-8.") from None
    if text.split("\n", 1)[0].count(SEVERAL) == len(PLUS) - 1:
        return gathered(folder, ((f"{path.name}:{number}", lambda line=line: from_plus(line.split(SEVERAL), folder))
                                 for number, line in enumerate(text.splitlines(), 1) if line.strip()))
    rows = csv.reader(io.StringIO(text, newline=""))
    try:
        header = [name.strip() for name in next(rows, [])]
    except csv.Error as error:
        raise DataError(path, f"the first line cannot be read ({error}): it must name the columns.") from None
    prompt = next((name for name in ("Prompt", "prompt") if name in header), None)
    if "Target:FILE" not in header or prompt is None:
        raise DataError(path, f"the first line has {record.listed(set(header) - {''}) or 'nothing'}, but must name the "
                              "columns: Target:FILE, Prompt and, for edits, Source:FILE.")

    def entries() -> Iterator[tuple[str, Callable[[], record.Record]]]:
        start = rows.line_num + 1
        try:
            for row in rows:
                if any(cell.strip() for cell in row):
                    yield f"{path.name}:{start}", lambda row=row: from_row(dict(zip(header, row, strict=False)), prompt, folder)
                start = rows.line_num + 1
        except csv.Error as error:
            yield f"{path.name}:{start}", lambda error=error: fail(f"the row cannot be read ({error}): write it anew.")
    return gathered(folder, entries())


def from_row(row: dict[str, str], prompt: str, folder: Path) -> record.Record:
    sources = [name for name in (row.get("Source:FILE") or "").split(SEVERAL) if name.strip()]
    return one_turn(row.get(prompt), row.get("Target:FILE"), sources, folder, (prompt, "Target:FILE", "Source:FILE"))


def from_plus(cells: Sequence[str], folder: Path) -> record.Record:
    if len(cells) != len(PLUS):
        fail(f"the line has {len(cells)} fields, but must have {len(PLUS)}, with {SEVERAL} between them: {', '.join(PLUS)}.")
    edit, mask, reference, target, prompt, _ = (cell.strip() for cell in cells)
    if bool(edit) != bool(mask):
        fail("edit_image and edit_mask belong together: give both, with a white mask to edit all of the picture, or neither.")
    made = one_turn(prompt, target, [each for each in (edit, reference) if each], folder,
                    ("prompt", "target_image", "edit_image or ref_image"))
    masks = (record.Picture(inside(mask, folder, "edit_mask")),) if mask else ()
    return replace(made, turns=(replace(made.turns[0], masks=masks),))


# ---- pictures with captions

def places(path: Path, controls: Sequence[Path]) -> tuple[Path, list[Path]]:
    """(folder of targets, folders of source pictures): the given ones, else subfolders by their names."""
    inner = [each for each in listing(path) if each.is_dir()]
    target = path
    if not any(is_picture(each) for each in listing(path)):
        named = [each for each in inner if each.name.lower() in TARGETS]
        target = named[0] if len(named) == 1 else path
    return target, list(controls) or [each for each in inner if each.name.lower().startswith(CONTROLS)]


def captioned(targets: Path, controls: Sequence[Path]) -> Found:
    """a.png with a.txt beside it, and for each control folder its a.png, or a_0.png, a_1.png, …"""
    for each in controls:
        if not each.is_dir():
            raise DataError(each, "there is no such folder of control pictures: look at the path.")
    try:
        folder = Path(os.path.commonpath([each.absolute() for each in (targets, *controls)]))
    except ValueError:
        raise DataError(targets, "its control folders are on other drives: put them on one.") from None
    files = listing(targets)
    pictures, captions = by_stem(filter(is_picture, files)), by_stem(each for each in files if each.suffix.lower() == ".txt")
    if not pictures:
        raise DataError(targets, "the folder holds no picture and no list: give a folder of pictures with captions, a .jsonl "
                                 "or a .csv.")
    known = [by_stem(filter(is_picture, listing(each))) for each in controls]

    def entry(stem: str) -> record.Record:
        if stem not in pictures:
            fail("this caption has no picture: add one of the same name, or delete the caption.")
        if stem not in captions:
            fail(f"this picture has no caption: write what to do into {stem}.txt beside it.")
        for group in (pictures, captions):
            if len(group[stem]) > 1:
                fail(f"there are {' and '.join(each.name for each in group[stem])}: keep one of them.")
        sources = matching(stem, pictures, known, controls)
        target, *sources = [within(each, folder) for each in (*pictures[stem], *sources)]
        return one_turn(caption_in(captions[stem][0]), target, sources, folder, (f"{stem}.txt", target, "control"))

    names = {stem: within((pictures.get(stem) or captions[stem])[0], folder) for stem in {**pictures, **captions}}
    return gathered(folder, ((names[stem], lambda stem=stem: entry(stem)) for stem in sorted(names, key=natural)))


def matching(stem: str, targets: dict, known: Sequence[dict], controls: Sequence[Path]) -> list[Path]:
    """The source pictures of a target, folder by folder; a later folder may lack it. Raises RecordError."""
    out, lacking = [], None
    for group, folder in zip(known, controls, strict=True):
        numbered = [name for name in group if re.fullmatch(re.escape(stem) + r"_\d+", name) and name not in targets]
        found = [path for name in [stem] * (stem in group) + sorted(numbered, key=natural) for path in group[name]]
        if len({path.stem for path in found}) < len(found):
            fail(f"{folder.name} has {' and '.join(path.name for path in found)}: keep one of each name.")
        if found and lacking:
            break
        lacking = lacking or (None if found else folder)
        out += found
    if lacking and (found or not out):
        fail(f"{lacking.name} has no picture named {stem} or {stem}_0: add it.")
    return out


def caption_in(path: Path) -> str:
    if not path.is_file():  # who opens a pipe may wait for ever
        fail(f"{path.name} is no file: write the caption into one.")
    try:
        return path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        return fail(f"{path.name} is not UTF-8 (byte {error.start}): save it as UTF-8.")
    except OSError as error:
        return fail(f"{path.name} cannot be read ({error.strerror}).")


# ---- what all have in common

def gathered(folder: Path, entries: Iterator[tuple[str, Callable[[], record.Record]]]) -> Found:
    found = Found(folder)
    for where, read in entries:
        try:
            found.records.append((where, read()))
        except errors.InputError as error:
            found.problems.append((where, str(error)))
    return found


def content(path: Path) -> bytes:
    """Raises DataError."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(path, f"the list cannot be read ({error.strerror}): look at its rights.") from None


def one_turn(caption: object, target: object, sources: Sequence[object], folder: Path, names: Sequence[str]) -> record.Record:
    """A record of a single turn. names: what its caption, target and sources are called in the layout."""
    if not isinstance(caption, str) or not caption.strip():
        fail(f"{names[0]} is {record.shown(caption)}, but must say what to do: write an instruction.")
    pictures = [record.Picture(inside(name, folder, what))
                for name, what in ((target, names[1]), *((source, names[2]) for source in sources))]
    return record.Record((record.Turn(TURN, instruction=" ".join(caption.split()), images=tuple(pictures[1:]),
                                      target=pictures[0]),), TURN)


def inside(name: object, folder: Path, where: str) -> str:
    """A file's name relative to its folder, with forward slashes. Raises RecordError for one that leaves it."""
    if not isinstance(name, str) or not name.strip():
        fail(f"{where} is {record.shown(name)}, but must be the name of a file.")
    path = Path(name.strip().replace("\\", "/"))
    if path.is_absolute() and not path.is_relative_to(folder):
        fail(f"{where} is {record.shown(name)}, which is outside {folder}: give the folder that all pictures lie in.")
    plain = posixpath.normpath((path.relative_to(folder) if path.is_absolute() else path).as_posix())
    return record_json.relative(plain, where)


def fail(text: str):
    raise record.RecordError(text)


def within(path: Path, folder: Path) -> str:
    return path.absolute().relative_to(folder).as_posix()


def listing(folder: Path) -> list[Path]:
    """What lies in a folder and is not hidden, a2 before a10. Raises DataError."""
    try:
        return sorted((each for each in folder.iterdir() if not each.name.startswith(".")), key=lambda each: natural(each.name))
    except OSError as error:
        raise DataError(folder, f"the folder cannot be read ({error.strerror}): look at its rights.") from None


def by_stem(paths) -> dict[str, list[Path]]:
    out: dict[str, list[Path]] = {}
    for path in paths:
        out.setdefault(path.stem, []).append(path)
    return out


def is_picture(path: Path) -> bool:
    return path.suffix.lower() in PICTURES and path.is_file()


def natural(text: str) -> list:
    """For sorting: a2 before a10."""
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in re.split(r"(\d+)", text)]
