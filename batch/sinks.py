"""Where answers go: Parquet with encoded pictures, WebDataset shards, or plain files with a manifest.

All three are files of Ray's file sinks, so its checkpoint commits them in two phases: the ids are written down as pending, then
the file, then they are committed. After a crash Ray deletes what is pending and makes it again.
"""

import json
from collections.abc import Iterator
from pathlib import Path

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

    def __init__(self, pictures: Path, manifest: Path, **options):
        super().__init__(str(manifest), filename_provider=Names(file_format="jsonl"), **options)
        self.pictures = pictures

    def write_block_to_file(self, block, file) -> None:
        for row in block.to_arrow().to_pylist():
            line = {name: row[name] for name in TOLD} | {"request": json.loads(row["request"])}
            if row["picture"] is not None:
                path = self.pictures / row["id"][:2] / f"{row['id']}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                replaced(path, lambda part, content=row["picture"]: part.write_bytes(content))
                line["file"] = path.relative_to(self.pictures.parent).as_posix()
            file.write(json.dumps(line, ensure_ascii=False).encode() + b"\n")


def shards(place: Path, rows_per_file: int | None) -> WebDatasetDatasink:
    return WebDatasetDatasink(str(place), encoder=[as_sample], filename_provider=Names(file_format="tar"),
                              min_rows_per_file=rows_per_file)


def as_sample(row: dict) -> dict:
    """An answer as a sample of WebDataset: <id>.png and <id>.json."""
    told = {name: plain(row[name]) for name in TOLD} | {"request": json.loads(row["request"])}
    return {"__key__": row["id"], "png": row["picture"], "json": json.dumps(told, ensure_ascii=False)}


def plain(value):
    return value.item() if hasattr(value, "item") else value


def write(answers: Dataset, kind: str, folder: Path, at_once: int, rows_per_file: int) -> None:
    """Run the plan. at_once: files that are written at the same time · rows_per_file: at least, 0: one file for each block."""
    options = {"ray_remote_args": {"num_cpus": CPUS}, "concurrency": at_once}
    names, least = Names(file_format=ENDINGS[kind]), rows_per_file or None
    place = str(data(folder, kind))
    if kind == "parquet":
        answers.write_parquet(place, filename_provider=names, min_rows_per_file=least, **options)
    else:
        sink = shards(Path(place), least) if kind == "webdataset" else PlainFiles(folder / "pictures", Path(place),
                                                                                 min_rows_per_file=least)
        answers.write_datasink(sink, **options)


def data(folder: Path, kind: str) -> Path:
    return folder / ("manifest" if kind == "files" else "answers")


def settle(folder: Path, kind: str) -> int:
    """Remove what no checkpoint knows: a machine that was cut off may have gone on writing after its run was over. Returns how
    many files went."""
    known = {path.stem for path in (folder / "checkpoint").glob("*.parquet") if not path.stem.endswith(".pending")}
    lost = [path for path in data(folder, kind).glob(f"*.{ENDINGS[kind]}") if base(path) not in known]
    for path in lost:
        path.unlink()
    return len(lost)


def base(path: Path) -> str:
    """The name that a checkpoint has for a file: Parquet's own writer adds a number to it."""
    return path.stem.rsplit("-", 1)[0] if path.suffix == ".parquet" else path.stem


def files(folder: Path) -> list[Path]:
    """The files of a run's answers, whatever their format. Raises BatchError."""
    found = [path for kind, ending in ENDINGS.items() for path in data(folder, kind).glob(f"*.{ending}")]
    if not found:
        raise BatchError(f"{folder} has no answers: give the folder of a run.")
    return sorted(found)


def rows(path: Path, folder: Path, columns: list[str] | None = None) -> Iterator[dict]:
    """The answers in one file of a run, with `picture` as PNG bytes or None. columns: of Parquet, to read no more than is
    needed."""
    return READERS[path.suffix[1:]](path, folder, columns)


def read(folder: Path, columns: list[str] | None = None) -> Iterator[dict]:
    """All answers of a run. Raises BatchError."""
    for path in files(folder):
        yield from rows(path, folder, columns)


def from_parquet(path: Path, folder: Path, columns: list[str] | None) -> Iterator[dict]:
    with parquet.ParquetFile(path) as file:
        for batch in file.iter_batches(64, columns=columns):
            yield from pa.Table.from_batches([batch]).to_pylist()


def from_shard(path: Path, folder: Path, columns: list[str] | None) -> Iterator[dict]:
    import tarfile
    with tarfile.open(path) as shard:
        found: dict[str, dict] = {}
        for member in shard:
            key, _, ending = member.name.rpartition(".")
            found.setdefault(key, {})[ending] = shard.extractfile(member).read()
            if "json" in found[key]:  # the last of a sample
                told = json.loads(found[key]["json"])
                yield told | {"request": json.dumps(told["request"]), "picture": found.pop(key).get("png")}


def from_manifest(path: Path, folder: Path, columns: list[str] | None) -> Iterator[dict]:
    with path.open(encoding="utf-8") as file:
        for line in file:
            told = json.loads(line)
            picture = (folder / told["file"]).read_bytes() if "file" in told else None
            yield told | {"request": json.dumps(told["request"]), "picture": picture}


READERS = {"parquet": from_parquet, "tar": from_shard, "jsonl": from_manifest}
