"""The first pass: what a person gives → requests that are checked, without doubles, with ids, as Parquet.

Ray reads these files. So an id is there before the plan begins, which its checkpoints need; an id that is made inside the plan
would come too late for what a run has already done.
"""

import io
import json
import shutil
import sqlite3
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import torch
from PIL import Image
from pyarrow import parquet

from ace_model import record_json
from ace_model.errors import InputError
from ace_model.images import TOKEN
from ace_model.lcu import shorten
from ace_model.record import Picture, Record, RecordError, Turn

from .job import PICTURES, BatchError, Job, digest

SCHEMA = pa.schema({"key": pa.int64(), "id": pa.string(), "row": pa.int64(), "name": pa.string(), "request": pa.string(),
                    "digests": pa.list_(pa.string()), "error": pa.string()})
DOUBLES = pa.schema({"id": pa.string(), "row": pa.int64(), "name": pa.string()})
SEED = "@seed"  # in place of a column: a number made of all the others
ROWS_PER_FILE = 10_000
LOOKERS = 16  # threads that read pictures: most of their time is the disk's, or the network's


@dataclass(frozen=True)
class Row:
    """One row as it was given. number: from 1 · name: its own `id`, if it has one · error: why it cannot be read."""

    number: int
    name: str = ""
    data: Any = None
    error: str = ""


@dataclass(frozen=True)
class Request:
    """One row that was looked at. id: 32 hexadecimal digits, equal for equal requests · text: JSON · digests: of its pictures,
    in the order in which it names them · error: why it cannot be done."""

    id: str
    row: int
    name: str
    text: str
    digests: tuple[str, ...] = ()
    error: str = ""


@dataclass(frozen=True)
class Found:
    """What the first pass came to. count: requests in the files, those with an error among them."""

    count: int
    doubles: int
    errors: int


# ---- rows

def rows(source: Path, instruction: str = "", settings: dict | None = None) -> Iterator[Row]:
    """The rows of a JSONL or Parquet file, or one for each picture in a folder. Raises BatchError."""
    if source.is_dir():
        yield from pictures_in(source, instruction, settings or {})
    elif source.suffix.lower() in (".jsonl", ".ndjson"):
        yield from lines(source)
    elif source.suffix.lower() in (".parquet", ".pq"):
        yield from table(source)
    else:
        raise BatchError(f"{source} is no list of requests: give a .jsonl or .parquet file, or a folder of pictures with "
                         "--instruction.")


def pictures_in(folder: Path, instruction: str, settings: dict) -> Iterator[Row]:
    if not instruction.strip():
        raise BatchError(f"{folder} is a folder of pictures: say what to do with each of them by --instruction.")
    found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in PICTURES and path.is_file())
    for number, path in enumerate(found, 1):
        name = path.relative_to(folder).as_posix()
        turn = {"id": "t1", "instruction": instruction, "images": [{"file": name}], "settings": settings}
        yield Row(number, name, {"version": record_json.VERSION, "at": "t1", "turns": [turn]})


def lines(source: Path) -> Iterator[Row]:
    with source.open("rb") as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            try:
                data = json.loads(line)
            except (ValueError, RecursionError) as error:
                yield Row(number, data=line.decode(errors="replace"), error=f"is not valid JSON ({error})")
                continue
            yield row_of(number, data)


def table(source: Path) -> Iterator[Row]:
    try:
        file = parquet.ParquetFile(source)
    except pa.ArrowException as error:
        raise BatchError(f"{source} cannot be read as Parquet ({error}): use another copy.") from None
    with file:
        number = 0
        for batch in file.iter_batches(1024):
            for data in batch.to_pylist():
                number += 1
                yield row_of(number, data)


def row_of(number: int, data: Any) -> Row:
    """A record, or an object with columns; `id` is the row's own name, `record` the record as an object or as text."""
    if not isinstance(data, dict):
        return Row(number, data=data, error="is no object: give a record, or an object with the field record")
    name = data.get("id")
    return Row(number, "" if name is None else str(name), data)


# ---- one row

def looked_at(row: Row, job: Job) -> Request:
    """Its request; one that cannot be done has an error. Nothing is raised for a bad row."""
    try:
        if row.error:
            raise BatchError(row.error)
        return values_of(row, job) if job.workflow else record_of(row, job)
    except InputError as error:
        raw = json.dumps(row.data, ensure_ascii=False, sort_keys=True, default=str)
        return Request(digest(f"{row.number} {raw}".encode("utf-8", "replace"))[:32], row.number, row.name, raw,
                       error=f"row {row.number}: {error}")


def record_of(row: Row, job: Job) -> Request:
    data = row.data.get("record", row.data)
    record = record_json.read(data) if isinstance(data, str) else record_json.from_data(data)
    if record.at is None:
        raise RecordError("the record has no turn: add one.")
    check(record)
    turns = (json.loads(data) if isinstance(data, str) else data)["turns"]
    given = {turn["id"] for turn in turns if "seed" in turn}
    record = branch_alone(record)
    found = {picture: look(str(path_of(picture, job.folders))) for picture in files_of(record)}
    record = replace(record, turns=tuple(
        turn if turn.id in given else replace(turn, seed=seed_of(branch_alone(record, turn.id), found))
        for turn in record.turns))
    return Request(identity(record, found), row.number, row.name, record_json.write(record), tuple(found.values()))


def check(record: Record) -> None:
    """What a look at the instructions tells: names of pictures, sizes, an unknown target. Raises InputError."""
    blank = torch.zeros(TOKEN, TOKEN, 3)
    for turn in wanted(record):
        lcu = outlined(record, turn.id).lcu(lambda picture, mode: blank)
        lcu.frames(turn.settings.negative, turn.settings.target_image)
        sides = turn.settings.width, turn.settings.height
        if not all(sides) and (any(sides) or not turn.images):
            raise RecordError(f"turn {turn.id} has width {sides[0]} and height {sides[1]}: set both, or leave both out if the "
                              "turn has an image that gives the size.")


def outlined(record: Record, at: str) -> Record:
    """The same turns and instructions, without masks, and with pictures of which none is opened."""
    return Record(tuple(replace(turn, images=tuple(Picture("x") for _ in turn.images), masks=(), room=(0.0,) * 4, blank=False)
                        for turn in record.turns), at)


def wanted(record: Record) -> list[Turn]:
    """The turns that have to be made for the answer: the last, and those whose answers the conversation takes as pictures."""
    names, out = {record.at}, []
    shown = {turn.id for turn in record.branch()}
    for turn in reversed(record.turns):
        if turn.id in names:
            out.append(turn)
            shown |= {each.id for each in record.branch(turn.id)}
        if turn.id in shown:
            names |= {picture.answer_of for picture in (*turn.images, *turn.masks) if picture and picture.answer_of}
    return out[::-1]


def branch_alone(record: Record, at: str | None = None) -> Record:
    """Without the turns that have no part in the answer, and without answers that others made."""
    return Record(tuple(replace(turn, answer=None, target=None, meta={}) for turn in record.needed(at)), at or record.at)


def files_of(record: Record) -> list[Picture]:
    """Every picture with a file once, in the order of the record."""
    return list(dict.fromkeys(each for turn in record.turns for each in (*turn.images, *turn.masks) if each and each.file))


def plain(record: Record, found: dict[Picture, str]) -> list:
    """The turns as JSON, every picture as a hash of its content, every id as the turn's place."""
    places = {turn.id: str(number) for number, turn in enumerate(record.turns)}

    def named(picture: Picture | None):
        return picture and ({"answer_of": places[picture.answer_of]} if picture.answer_of else found[picture])
    return [{**record_json.to_data(Record((replace(turn, parent=None, images=(), masks=()),), turn.id))["turns"][0],
             "id": places[turn.id], "parent": turn.parent and places[turn.parent],
             "images": [named(p) for p in turn.images], "masks": [named(p) for p in turn.masks]} for turn in record.turns]


def identity(record: Record, found: dict[Picture, str]) -> str:
    at = [turn.id for turn in record.turns].index(record.at)
    return digest(json.dumps([at, plain(record, found)], sort_keys=True).encode())[:32]


def seed_of(record: Record, found: dict[Picture, str]) -> int:
    """For a turn that has none of its own: from all that it is made of, 53 bits, which JavaScript keeps exact, too."""
    return int(digest(f"seed {identity(record, found)}".encode())[:16], 16) >> 11


def values_of(row: Row, job: Job) -> Request:
    """Of a workflow: the columns that it takes; files among them are told apart by content."""
    values, found, flow = {}, {}, job.workflow
    for node, slot, column in flow.values:
        if column == SEED:
            continue
        value = values[column] = row.data.get(column)
        if value is None or isinstance(value, dict | list):
            raise BatchError(f"{column} is {'not there' if value is None else shorten(json.dumps(value))}, but --set "
                             f"{node}.{slot}={column} needs a text, a number, true or false.")
        if flow.takes_picture(node, slot):
            found[column] = look(str(path_of(Picture(str(value)), job.folders)))
    content = json.dumps([job.identity(), {**values, **found}], sort_keys=True)
    text = json.dumps(values, ensure_ascii=False, sort_keys=True)
    return Request(digest(content.encode())[:32], row.number, row.name, text, tuple(found.values()))


# ---- pictures

def path_of(picture: Picture, folders: dict[str, str]) -> Path:
    """Raises RecordError for a name that leaves its folder."""
    return Path(folders[picture.place], record_json.relative(picture.file, "file"))


@lru_cache(100_000)  # one picture may stand in many requests
def look(path: str) -> str:
    """A hash of a picture's content, if it begins like one. Raises BatchError. Whether all of it can be read, the worker finds
    out."""
    try:
        content = Path(path).read_bytes()
        with Image.open(io.BytesIO(content)):
            return digest(content)
    except FileNotFoundError:
        raise BatchError(f"{path} is not there: put it back, or take it off the list.") from None
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        why = getattr(error, "strerror", None) or "it is damaged, too large, or of a format that Pillow does not know"
        raise BatchError(f"{path} cannot be opened as a picture ({why}): use another copy.") from None


# ---- all of them

def prepare(source: Path, folder: Path, job: Job, instruction: str = "", settings: dict | None = None) -> Found:
    """Write the requests of `source` into folder/requests and the doubles into folder/doubles.parquet. Raises BatchError."""
    if not source.exists():
        raise BatchError(f"{source} is not there: give a .jsonl or .parquet file, or a folder of pictures.")
    new, final = folder / "requests.new", folder / "requests"
    for path in (new, final):
        shutil.rmtree(path, ignore_errors=True)
    new.mkdir(parents=True)
    seen, doubles, count, errors = Seen(), 0, 0, 0
    with ThreadPoolExecutor(LOOKERS) as pool, parquet.ParquetWriter(folder / "doubles.parquet", DOUBLES) as twice:
        given = rows(source, instruction, settings)
        while part := list(islice(given, ROWS_PER_FILE)):
            single, again = [], []
            for request in pool.map(lambda row: looked_at(row, job), part):
                request, key = seen.add(request)
                (again if key is None else single).append((key, request))
            if again:
                twice.write_table(pa.Table.from_pylist([{"id": r.id, "row": r.row, "name": r.name} for _, r in again], DOUBLES))
            if single:
                table = pa.Table.from_pylist([{
                    "key": key, "id": r.id, "row": r.row, "name": r.name, "request": r.text, "digests": list(r.digests),
                    "error": r.error} for key, r in single], SCHEMA)
                parquet.write_table(table, new / f"{count:09d}.parquet")
            count, doubles = count + len(single), doubles + len(again)
            errors += sum(bool(request.error) for _, request in single)
    if not count:
        raise BatchError(f"{source} is empty: add a request.")
    new.rename(final)
    return Found(count, doubles, errors)


class Seen:
    """What was there before, on disk: ten million ids are too many to hold twice. A key is 63 bits of an id, for Ray holds the
    keys of all that is done in memory (docs/scale.md counts them)."""

    def __init__(self):
        self.db = sqlite3.connect("")  # a file of its own that goes with it
        self.db.execute("create table keys (key integer primary key, id text)")
        self.db.execute("create table names (name text primary key, id text, row integer) without rowid")

    def add(self, request: Request) -> tuple[Request, int | None]:
        """The request and its key, None for a double. A name that stood for another request makes it an error."""
        if request.name:
            known = self.db.execute("select id, row from names where name = ?", (request.name,)).fetchone()
            if known and known[0] != request.id and not request.error:
                text = f"{request.row} {request.text}"
                request = replace(request, id=digest(text.encode())[:32], digests=(), error=(
                    f"row {request.row}: its id is {shorten(request.name)}, but row {known[1]} has that id and asks for "
                    "something else: give it another."))
            elif not known:
                self.db.execute("insert into names values (?, ?, ?)", (request.name, request.id, request.row))
        key = int(request.id[:16], 16) >> 1
        while known := self.db.execute("select id from keys where key = ?", (key,)).fetchone():
            if known[0] == request.id:
                return request, None
            key = (key + 1) % 2**63
        self.db.execute("insert into keys values (?, ?)", (key, request.id))
        return request, key
