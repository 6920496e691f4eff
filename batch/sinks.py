"""Where answers go: Parquet with encoded pictures, WebDataset shards, or plain files with a manifest.

All three are files of Ray's file sinks, so its checkpoint commits them in two phases: the ids are written down as pending, then
the file, then they are committed. After a crash Ray deletes what is pending and makes it again.
"""

import json
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import parquet
from ray.data import Dataset
from ray.data._internal.datasource.webdataset_datasink import WebDatasetDatasink
from ray.data.datasource import BlockBasedFileDatasink, FilenameProvider

from .job import BatchError, replaced

ENDINGS = {"parquet": "parquet", "webdataset": "tar", "files": "jsonl"}
CPUS = 0.25  # of a machine that writes: it waits for the disk
TOLD = ("id", "row", "name", "width", "height", "seconds", "error")  # of an answer, in a manifest


class Names(FilenameProvider):
    """Nine digits for a task. Ray's own six are too few for a million tasks: 100000 begins 1000000, and what Ray deletes after
    a crash it finds by the beginning of its name."""

    def get_filename_for_task(self, write_uuid: str, task_index: int) -> str:
        return f"{write_uuid}_{task_index:09}.{self.file_format}"


class PlainFiles(BlockBasedFileDatasink):
    """A PNG for each answer in `pictures`, and a part of the manifest for each block. A picture's name is its id, so that a
    block that is made again replaces its pictures."""

    def __init__(self, pictures: Path, manifest: Path, rows_per_file: int | None = None):
        super().__init__(str(manifest), filename_provider=Names(file_format="jsonl"), min_rows_per_file=rows_per_file)
        self.pictures = pictures

    def write_block_to_file(self, block, file) -> None:
        for row in block.to_arrow().to_pylist():
            line = told(row)
            if row["picture"] is not None:
                path = self.pictures / row["id"][:2] / f"{row['id']}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                replaced(path, lambda part, content=row["picture"]: part.write_bytes(content))
                line["file"] = path.relative_to(self.pictures.parent).as_posix()
            file.write(as_line(line))


class Shards(WebDatasetDatasink):
    """WebDataset's samples, <id>.png and <id>.json, and beside each shard a list of what is in it: who wants to know what
    failed must not read all pictures."""

    def __init__(self, folder: Path, rows_per_file: int | None = None):
        super().__init__(str(folder), encoder=[as_sample], filename_provider=Names(file_format="tar"),
                         min_rows_per_file=rows_per_file)

    def write_block_to_file(self, block, file) -> None:
        super().write_block_to_file(block, file)
        shard = Path(self.path, Path(self.writing).stem + ".jsonl")
        replaced(shard, lambda part: part.write_bytes(b"".join(as_line(told(row)) for row in block.to_arrow().to_pylist())))

    def open_output_stream(self, path: str):
        self.writing = path
        return super().open_output_stream(path)


def told(row: dict) -> dict:
    return {name: row[name] for name in TOLD} | {"request": json.loads(row["request"])}


def as_line(line: dict) -> bytes:
    return json.dumps(line, ensure_ascii=False, default=plain).encode() + b"\n"


def as_sample(row: dict) -> dict:
    return {"__key__": row["id"], "png": row["picture"], "json": as_line(told(row)).strip()}


def plain(value: Any) -> Any:
    """A number of NumPy's as Python's."""
    return value.item()


def write(answers: Dataset, kind: str, folder: Path, at_once: int, rows_per_file: int) -> None:
    """Run the plan. at_once: files that are written at the same time · rows_per_file: at least, 0: one file for each block."""
    options = {"ray_remote_args": {"num_cpus": CPUS}, "concurrency": at_once}
    least, place = rows_per_file or None, data(folder, kind)
    if kind == "parquet":
        answers.write_parquet(str(place), filename_provider=Names(file_format=kind), min_rows_per_file=least, **options)
    else:
        sink = Shards(place, least) if kind == "webdataset" else PlainFiles(folder / "pictures", place, least)
        answers.write_datasink(sink, **options)


def data(folder: Path, kind: str) -> Path:
    return folder / ("manifest" if kind == "files" else "answers")


def settle(folder: Path, kind: str) -> int:
    """Remove what no checkpoint knows: a machine that was cut off may have gone on writing after its run was over. Returns how
    many files went."""
    known = {path.stem for path in commits(folder)}
    lost = [path for path in data(folder, kind).iterdir() if base(path) not in known]
    for path in lost:
        path.unlink()
    return len(lost)


def commits(folder: Path) -> list[Path]:
    """Files of keys whose answers are there for good."""
    return [path for path in (folder / "checkpoint").glob("*.parquet") if not path.stem.endswith(".pending")]


def keys(folder: Path) -> np.ndarray:
    """Of all answers that are there for good, sorted."""
    found = [parquet.read_table(path)["key"].to_numpy() for path in commits(folder)]
    return np.sort(np.concatenate(found)) if found else np.empty(0, np.int64)


def base(path: Path) -> str:
    """The name that a checkpoint has for a file: Parquet's own writer adds a number to it."""
    return path.stem.rsplit("-", 1)[0] if path.suffix == ".parquet" else path.stem


def files(folder: Path) -> list[Path]:
    """The files of a run's answers, whatever their format. Raises BatchError."""
    found = [path for kind, ending in ENDINGS.items() for path in data(folder, kind).glob(f"*.{ending}")]
    if not found:
        raise BatchError(f"{folder} has no answers: give the folder of a run.")
    return sorted(found)


def read(folder: Path) -> Iterator[dict]:
    """All answers of a run, whatever their format, with `picture` as PNG bytes or None. Raises BatchError."""
    for path in files(folder):
        yield from rows(path, folder)


def rows(path: Path, folder: Path) -> Iterator[dict]:
    """The answers in one file of a run."""
    return READERS[path.suffix](path, folder)


def failed(folder: Path) -> Iterator[dict]:
    """The answers that are errors. Opens no picture."""
    for path in files(folder):
        if path.suffix == ".parquet":
            yield from parquet.read_table(path, columns=[*TOLD, "request"], filters=[("error", "!=", "")]).to_pylist()
        else:
            yield from (row for row in lines(path.with_suffix(".jsonl")) if row["error"])


def from_parquet(path: Path, folder: Path) -> Iterator[dict]:
    with parquet.ParquetFile(path) as file:
        for batch in file.iter_batches(64):
            yield from pa.Table.from_batches([batch]).to_pylist()


def from_shard(path: Path, folder: Path) -> Iterator[dict]:
    with tarfile.open(path) as shard:
        parts: dict[str, bytes] = {}
        for member in shard:
            ending = member.name.rpartition(".")[2]
            parts[ending] = shard.extractfile(member).read()
            if ending == "json":  # the last of a sample
                row = json.loads(parts["json"])
                yield row | {"request": json.dumps(row["request"]), "picture": parts.get("png")}
                parts = {}


def from_manifest(path: Path, folder: Path) -> Iterator[dict]:
    for row in lines(path):
        yield row | {"picture": (folder / row["file"]).read_bytes() if "file" in row else None}


def lines(path: Path) -> Iterator[dict]:
    with path.open(encoding="utf-8") as file:
        for line in file:
            row = json.loads(line)
            yield row | {"request": json.dumps(row["request"])}


READERS = {".parquet": from_parquet, ".tar": from_shard, ".jsonl": from_manifest}
