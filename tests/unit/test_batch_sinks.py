"""Batches: files of answers, read back; names that Ray's checkpoint can tell apart; the page; the program's arguments."""

import io
import json
import sys
from pathlib import Path

import pyarrow as pa
import pytest
from PIL import Image
from pyarrow import parquet
from ray.data._internal.execution.interfaces import TaskContext
from ray.data._internal.planner.plan_write_op import WRITE_UUID_KWARG_NAME
from ray.data.block import BlockAccessor
from ray.data.checkpoint.util import PrefixTrie

from batch import __main__ as program
from batch import page, sinks, workflow
from batch.job import BatchError, Job
from batch.requests import Found
from batch.worker import ANSWERS


def png(color) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (20, 10), color).save(file, "PNG")
    return file.getvalue()


REQUEST = {"version": 1, "at": "t", "turns": [{"id": "t", "instruction": "make {image} night", "images": [{"file": "a.png"}]}]}
ROWS = [{"key": i, "id": f"{i:032x}", "row": i + 1, "name": "", "request": json.dumps(REQUEST), "picture": picture,
         "width": 20, "height": 10, "error": error, "seconds": 0.5}
        for i, (picture, error) in enumerate([(png("red"), ""), (None, "row 2: it is broken"), (png("blue"), "")])]


def written(kind: str, folder: Path) -> None:
    table = pa.Table.from_pylist(ROWS, ANSWERS)
    place = sinks.data(folder, kind)
    place.mkdir(parents=True)
    if kind == "parquet":
        parquet.write_table(table, place / "x_000000000-0.parquet")
    else:
        sink = sinks.PlainFiles(folder / "pictures", place) if kind == "files" else sinks.Shards(place)
        sink.write_block(BlockAccessor.for_block(table), 0, TaskContext(0, "write", kwargs={WRITE_UUID_KWARG_NAME: "x"}))


@pytest.mark.parametrize("kind", sinks.ENDINGS)
def test_what_is_written_is_read_back(kind, tmp_path):
    written(kind, tmp_path)
    found = list(sinks.read(tmp_path))
    for row, expected in zip(found, ROWS, strict=True):
        assert {name: row[name] for name in ("id", "row", "picture", "error")} == {
            name: expected[name] for name in ("id", "row", "picture", "error")}
        assert json.loads(row["request"]) == REQUEST
    [broken] = sinks.failed(tmp_path)
    assert broken["row"] == 2 and json.loads(broken["request"]) == REQUEST


def test_a_shard_is_what_webdataset_reads(tmp_path):
    """Samples are files of one name in a row: <id>.png and <id>.json."""
    import tarfile
    written("webdataset", tmp_path)
    with tarfile.open(next((tmp_path / "answers").glob("*.tar"))) as shard:
        names = shard.getnames()
    assert names == [f"{ROWS[0]['id']}.png", f"{ROWS[0]['id']}.json", f"{ROWS[1]['id']}.json", f"{ROWS[2]['id']}.png",
                     f"{ROWS[2]['id']}.json"]


def test_a_picture_of_its_own_has_its_id_for_a_name(tmp_path):
    written("files", tmp_path)
    assert (tmp_path / "pictures" / "00" / f"{ROWS[0]['id']}.png").read_bytes() == ROWS[0]["picture"]


def test_no_tasks_name_begins_anothers():
    """Ray deletes every file whose name begins with that of a pending checkpoint."""
    names, trie = sinks.Names(file_format="parquet"), PrefixTrie()
    trie.insert(Path(names.get_filename_for_task("x", 100_000)).stem)
    assert trie.has_prefix_of("x_000100000-0.parquet")
    others = (1_000_000, 1_000_001, 10_000, 99_999)
    assert not any(trie.has_prefix_of(names.get_filename_for_task("x", task)) for task in others)


def test_files_that_no_checkpoint_knows_go(tmp_path):
    written("parquet", tmp_path)
    (tmp_path / "checkpoint").mkdir()
    kept = tmp_path / "answers" / "x_000000000-0.parquet"
    lost = kept.with_name("x_000000001-0.parquet")
    lost.write_bytes(kept.read_bytes())
    (tmp_path / "checkpoint" / "x_000000000.parquet").write_bytes(b"")
    (tmp_path / "checkpoint" / "x_000000001.pending.parquet").write_bytes(b"")
    assert sinks.settle(tmp_path, "parquet") == 1 and kept.is_file() and not lost.exists()


def test_the_page_shows_before_after_and_what_failed(tmp_path):
    written("parquet", tmp_path)
    (tmp_path / "pictures").mkdir()
    Image.new("RGB", (20, 10), "green").save(tmp_path / "pictures" / "a.png")
    job = Job("x", folders={"": str(tmp_path / "pictures"), "input": "", "output": ""})
    spent = {"pictures": 2, "seconds": 4.0, "worker_seconds": 6.0}
    path = page.make(tmp_path, job, Found(3, 1, 0), {"it is broken <b>": 1}, spent)
    text = path.read_text(encoding="utf-8")
    assert text.count("<img") == 4 and "make {image} night" in text and "it is broken &lt;b&gt;" in text
    assert "2 pictures, 1 errors, 1 doubles" in text and "3.00 s of a worker" in text and "0.83 hours" in text


# ---- the program

def test_it_says_how_to_install_what_is_missing(monkeypatch, capsys):
    monkeypatch.setattr(program, "is_there", lambda name: name != "pandas")
    assert program.main(["a.jsonl", "out"]) == 2
    told = capsys.readouterr().err
    assert sys.executable in told and "--no-deps --target" in told and "ray[data]==" in told
    assert all(program.is_there(each.split("==")[0]) for each in program.extras()) is False


def test_everything_that_is_pinned_is_found_by_its_module():
    assert not program.missing()


@pytest.mark.parametrize("arguments", [["--workers", "0"], ["--batch", "65"], ["--tries", "x"], ["--format", "gif"]])
def test_numbers_out_of_bounds_are_refused(arguments):
    with pytest.raises(SystemExit):
        program.parse(["a.jsonl", "out", *arguments])


def test_a_lora_and_its_strength():
    assert program.lora("cat.safetensors=0.5") == ("cat.safetensors", 0.5) and program.lora("cat.safetensors")[1] == 1.0
    with pytest.raises(BatchError, match="must be a number"):
        program.lora("cat=strong")


# ---- workflows

GRAPH = {"1": {"class_type": "LoadImage", "inputs": {"image": "x.png"}, "_meta": {"title": "Photo"}},
         "2": {"class_type": "LoadImage", "inputs": {"image": "y.png"}, "_meta": {"title": "Style"}},
         "3": {"class_type": "Words", "inputs": {"text": "", "from": ["1", 0]}}}


def flow(tmp_path, *values, take="", graph=None):
    (tmp_path / "flow.json").write_text(json.dumps(GRAPH if graph is None else graph), encoding="utf-8")
    return workflow.read(tmp_path / "flow.json", values, take)


def test_nodes_are_called_by_id_title_or_kind(tmp_path):
    found = flow(tmp_path, "1.image=photo", "Style.image=style", "Words.text=words", take="Photo")
    assert found.values == (("1", "image", "photo"), ("2", "image", "style"), ("3", "text", "words")) and found.take == "1"
    assert found.takes_picture("1", "image") and not found.takes_picture("3", "text") and not found.takes_picture("3", "from")


@pytest.mark.parametrize(("values", "words"), [
    (["LoadImage.image=photo"], "2 nodes are called LoadImage"), (["9.image=x"], "no node is called 9"),
    (["1.picture=x"], "has no input picture"), (["1.image"], "NODE.INPUT=COLUMN"), ([], "at least once")])
def test_what_goes_nowhere_is_refused(values, words, tmp_path):
    with pytest.raises(BatchError, match=words):
        flow(tmp_path, *values)


@pytest.mark.parametrize("graph", [{"nodes": [], "links": []}, [], {}, {"1": {"inputs": {}}}])
def test_a_file_that_is_no_api_workflow(graph, tmp_path):
    with pytest.raises(BatchError, match=r"Export \(API\)"):
        flow(tmp_path, "1.image=x", graph=graph)
