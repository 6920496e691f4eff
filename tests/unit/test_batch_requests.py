"""Batches, the first pass: what is read, what is a double, what cannot be done and why."""

import json
from dataclasses import replace

import pyarrow as pa
import pytest
from PIL import Image
from pyarrow import parquet

from ace_model.record import Picture, Record, Turn
from ace_model.record_json import read, to_data
from batch.job import BatchError, Job, Workflow
from batch.requests import DOUBLES, SCHEMA, Seen, files_of, look, looked_at, prepare, row_of, wanted


@pytest.fixture
def folder(tmp_path):
    """Three pictures: a.png and its copy under another name, b.png."""
    look.cache_clear()
    for name, color in (("a.png", "red"), ("copy.png", "red"), ("b.png", "blue")):
        Image.new("RGB", (32, 16), color).save(tmp_path / name)
    return tmp_path


def job(folder, **more):
    return Job("comfyui", folders={"": str(folder), "input": str(folder / "input"), "output": ""}, **more)


def edit(instruction="make {image} night", file="a.png", **more):
    return {"version": 1, "at": "t1", "turns": [{"id": "t1", "instruction": instruction, "images": [{"file": file}], **more}]}


def listed(folder, *rows, name="list.jsonl"):
    (folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return folder / name


def made(folder, source, **more):
    """({row: request as a dict}, what was found)."""
    out = folder / "out"
    found = prepare(source, out, job(folder), **more)
    files = sorted((out / "requests").glob("*.parquet"))
    return {row["row"]: row for path in files for row in parquet.read_table(path).to_pylist()}, found


def one(folder, data, **more):
    return looked_at(row_of(1, data), job(folder, **more))


def test_equal_content_is_one_request(folder):
    rows, found = made(folder, listed(folder, edit(), edit(file="copy.png"), edit(file="b.png"), edit("make {image} day")))
    assert (found.count, found.doubles, found.errors) == (3, 1, 0) and list(rows) == [1, 3, 4]
    doubles = parquet.read_table(folder / "out" / "doubles.parquet").to_pylist()
    assert doubles == [{"id": rows[1]["id"], "row": 2, "name": ""}]


@pytest.mark.parametrize("change", [
    {"instruction": "make {image} day"}, {"seed": 5}, {"settings": {"steps": 3}}, {"blank": True, "masks": [{"file": "b.png"}]},
    {"room": [0.5, 0, 0, 0]}, {"images": [{"file": "b.png"}]}])
def test_everything_that_changes_the_answer_changes_the_id(folder, change):
    plain, other = edit(), edit()
    other["turns"][0] |= change
    assert one(folder, plain).id != one(folder, other).id


def test_names_of_turns_and_what_others_keep_do_not(folder):
    renamed = json.loads(json.dumps(edit(meta={"sku": 7}, target={"file": "b.png"})).replace('"t1"', '"other"'))
    assert one(folder, renamed).id == one(folder, edit()).id
    assert "sku" not in one(folder, renamed).text


def test_a_seed_is_made_of_the_request_unless_it_has_one(folder):
    first, again, other = (one(folder, data) for data in (edit(), edit(file="copy.png"), edit("make {image} day")))
    seeds = [read(each.text).turns[0].seed for each in (first, again, other)]
    assert seeds[0] == seeds[1] != seeds[2] and all(0 < seed < 2**53 for seed in seeds)
    assert read(one(folder, edit(seed=0)).text).turns[0].seed == 0, "given, so kept"


def test_a_record_as_text_as_object_and_as_the_row_itself(folder):
    ways = [edit(), {"record": edit(), "id": "mine"}, {"record": json.dumps(edit()), "id": 7}]
    found = [one(folder, way) for way in ways]
    assert len({each.id for each in found}) == 1 and [each.name for each in found] == ["", "mine", "7"]


def test_parquet_gives_what_jsonl_gives(folder):
    table = pa.table({"id": ["x", "y"], "record": [json.dumps(edit()), json.dumps(edit(file="b.png"))]})
    parquet.write_table(table, folder / "list.parquet")
    rows, _ = made(folder, folder / "list.parquet")
    assert [rows[i]["id"] for i in (1, 2)] == [one(folder, edit()).id, one(folder, edit(file="b.png")).id]
    assert [rows[i]["name"] for i in (1, 2)] == ["x", "y"]


def test_a_folder_of_pictures_and_one_instruction(folder):
    rows, found = made(folder, folder, instruction="make {image} night", settings={"steps": 3})
    assert found.count == 2 and found.doubles == 1  # copy.png shows what a.png shows
    record = read(rows[1]["request"])
    assert record.turns[0].settings.steps == 3 and record.turns[0].images == (Picture("a.png"),) and rows[1]["name"] == "a.png"
    with pytest.raises(BatchError, match="--instruction"):
        made(folder, folder)


BAD = {
    "missing": (edit(file="gone.png"), "gone.png is not there"),
    "outside": (edit(file="../a.png"), "inside its folder"),
    "unreadable": (edit(file="broken.png"), "cannot be opened as a picture"),
    "no turn": ({"version": 1, "turns": []}, "no turn"),
    "newer": ({"version": 9, "turns": []}, "update the pack"),
    "mistyped name": (edit("make {imgae} night"), "did you mean {image}"),
    "no such picture": (edit("make {image1} night"), "names {image1}"),
    "no size": ({"version": 1, "at": "t", "turns": [{"id": "t", "instruction": "a cat"}]}, "width 0"),
    "no such target": (edit(settings={"target_image": 3}), "target_image is 3"),
    "list": ([1, 2], "no object"), "number": (3, "no object")}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_row_becomes_an_error_with_its_reason(folder, name):
    data, words = BAD[name]
    (folder / "broken.png").write_text("no picture")
    rows, found = made(folder, listed(folder, edit(), data, edit(file="b.png")))
    assert (found.count, found.errors) == (3, 1), "the rest is done"
    assert rows[2]["error"].startswith("row 2: ") and words in rows[2]["error"] and not rows[1]["error"]


def test_a_line_that_is_no_json(folder):
    source = listed(folder, edit())
    source.write_text(source.read_text() + '{"version": 1, "turns"\n\n' + json.dumps(edit(file="b.png")) + "\n")
    rows, found = made(folder, source)
    assert found.errors == 1 and "row 2: is not valid JSON" in rows[2]["error"] and 4 in rows, "an empty line has a number, too"


def test_two_rows_with_one_id_of_their_own(folder):
    rows, found = made(folder, listed(folder, {"id": "sku", "record": edit()}, {"id": "sku", "record": edit(file="copy.png")},
                                      {"id": "sku", "record": edit(file="b.png")}))
    assert (found.count, found.doubles, found.errors) == (2, 1, 1)
    assert "row 1 has that id and asks for something else" in rows[3]["error"]


def test_keys_that_collide_are_told_apart():
    """A key is 63 of an id's 128 bits."""
    seen, rest = Seen(), "0" * 16
    first = looked_at(row_of(1, {}), Job("x"))
    requests = [replace(first, id="00000000000000a0" + rest, name=""), replace(first, id="00000000000000a1" + rest, name="")]
    assert [seen.add(each)[1] for each in (*requests, *requests)] == [0x50, 0x51, None, None]


def test_empty_and_foreign_input(folder):
    for source, words in ((listed(folder), "is empty"), (folder / "no.jsonl", "is not there"), (folder / "a.png", "no list")):
        with pytest.raises(BatchError, match=words):
            made(folder, source)
    (folder / "bad.parquet").write_text("no parquet")
    with pytest.raises(BatchError, match="cannot be read as Parquet"):
        made(folder, folder / "bad.parquet")


def test_what_is_written_has_the_columns_that_workers_read(folder):
    made(folder, listed(folder, edit()))
    [path] = (folder / "out" / "requests").glob("*.parquet")
    assert parquet.read_schema(path).equals(SCHEMA)
    assert parquet.read_schema(folder / "out" / "doubles.parquet").equals(DOUBLES)


def conversation(*turns):
    return Record(tuple(turns), turns[-1].id)


def test_only_answers_that_are_taken_have_to_be_made():
    first = Turn("a", None, "night", (Picture("a.png"),))
    plain = Turn("b", "a", "a moon in {previous.image}", (Picture("b.png"),))
    taking = Turn("c", "b", "brighter", (Picture(answer_of="b"),))
    aside = Turn("d", "a", "day", (Picture(answer_of="a"),))
    assert [turn.id for turn in wanted(conversation(first, plain))] == ["b"], "no picture of the first is looked at"
    assert [turn.id for turn in wanted(conversation(first, plain, taking))] == ["b", "c"]
    assert [turn.id for turn in wanted(conversation(first, plain, aside))] == ["a", "d"]
    late = Turn("e", "d", "again", ())
    assert [turn.id for turn in wanted(conversation(first, aside, late))] == ["a", "e"], "an earlier turn shows that answer"


def test_a_branch_stands_alone(folder):
    first, aside = Turn("a", None, "{image}", (Picture("a.png"),)), Turn("x", "a", "{image}", (Picture("gone.png"),))
    data = to_data(conversation(first, aside, Turn("b", "a", "{image}", (Picture(answer_of="a"),))))
    request = one(folder, data)
    assert not request.error and [turn.id for turn in read(request.text).turns] == ["a", "b"]
    assert len(request.digests) == len(files_of(read(request.text))) == 1


# ---- workflows

FLOW = Workflow({"1": {"class_type": "LoadImage", "inputs": {"image": "example.png"}},
                 "2": {"class_type": "Words", "inputs": {"text": "", "seed": 0}}},
                (("1", "image", "photo"), ("2", "text", "words"), ("2", "seed", "@seed")))


def test_a_workflows_row_is_told_apart_by_its_values_and_its_pictures(folder):
    first, again, other, words = (one(folder, row, workflow=FLOW) for row in (
        {"photo": "a.png", "words": "x", "more": 1}, {"photo": "copy.png", "words": "x", "more": 2},
        {"photo": "b.png", "words": "x"}, {"photo": "a.png", "words": "y"}))
    assert json.loads(first.text) == {"photo": "a.png", "words": "x"} and len(first.digests) == 1
    assert len({first.id, other.id, words.id}) == 3 and not any(each.error for each in (first, again, other, words))


def test_a_workflows_row_without_a_column(folder):
    assert "words is not there" in one(folder, {"photo": "a.png"}, workflow=FLOW).error
    assert "gone.png is not there" in one(folder, {"photo": "gone.png", "words": "x"}, workflow=FLOW).error
