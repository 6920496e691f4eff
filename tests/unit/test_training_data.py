"""Data sets: each layout gives the records that a person would write by hand; all that is wrong is found before training."""

import json
import os
import re
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, features

from ace_model.record import Picture
from training import data
from training.formats import DataError

RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)


def draw(path, color=RED, size=(32, 16), **how):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, color).save(path, **how)
    return path


def lines(path, *each):
    path.write_text("".join(f"{line if isinstance(line, str) else json.dumps(line)}\n" for line in each), encoding="utf-8")
    return path


def turn(name="t1", target="after.png", images=("before.png",), **more):
    return {"id": name, "instruction": "make {image} night", "images": [{"file": each} for each in images],
            **({"target": {"file": target}} if target else {}), **more}


def record(*turns, **more):
    return {"version": 1, "at": turns[-1]["id"], "turns": list(turns), **more}


def told(example):
    """(instruction, sources, target) of a single turn."""
    return example.turn.instruction, [each.file for each in example.turn.images], example.turn.target.file


def problems(*arguments, **how):
    with pytest.raises(DataError) as error:
        data.read(*arguments, **how)
    return error.value.problems


# ---- layouts

def test_records(tmp_path):
    for name in ("before.png", "after.png", "later.png", "mask.png"):
        draw(tmp_path / "set" / name)
    first = turn(masks=[{"file": "mask.png"}])
    second = turn("t2", "later.png", parent="t1") | {"images": [{"answer_of": "t1"}]}
    other = turn("t3", None, parent="t1")
    found = data.read(lines(tmp_path / "set/turns.jsonl", record(first), "", record(first, second, other)))
    assert [(each.where, each.record.at, len(each.record.turns)) for each in found] == [
        ("turns.jsonl:1", "t1", 1), ("turns.jsonl:3", "t1", 1), ("turns.jsonl:3", "t2", 2)]
    assert found[2].record.turns[1].images == (Picture("after.png"),), "an earlier answer is what should have been answered"
    assert [each.target and each.target.file for each in found[2].record.turns] == [None, "later.png"]
    assert found[0].turn.masks == (Picture("mask.png"),) and found[0].folder == (tmp_path / "set").absolute()


def test_captions_and_control_folders(tmp_path):
    for stem in ("a", "b10", "b9"):
        draw(tmp_path / f"after/{stem}.png")
        (tmp_path / f"after/{stem}.txt").write_text(f"make it {stem}\n", encoding="utf-8-sig")
        draw(tmp_path / f"before/{stem}.jpg")
    draw(tmp_path / "styles/a.webp")
    draw(tmp_path / "after/.hidden.png")
    found = data.read(tmp_path / "after", [tmp_path / "before", tmp_path / "styles"])
    assert [told(each) for each in found] == [
        ("make it a", ["before/a.jpg", "styles/a.webp"], "after/a.png"), ("make it b9", ["before/b9.jpg"], "after/b9.png"),
        ("make it b10", ["before/b10.jpg"], "after/b10.png")]
    assert found[0].where == "after/a.png"
    assert found[0].unit().turns[0].instruction == "{image} make it a", "as the official tools name an unnamed picture"


def test_subfolders_that_say_what_they_are(tmp_path):
    for name in ("target/a", "control/a", "control_2/a"):
        draw(tmp_path / f"{name}.png")
    (tmp_path / "target/a.txt").write_text("{image1} on {image}")
    assert [told(each) for each in data.read(tmp_path)] == [
        ("{image1} on {image}", ["control/a.png", "control_2/a.png"], "target/a.png")]


def test_numbered_control_pictures(tmp_path):
    for stem in ("image1", "image1_0"):  # the second is a target of its own
        draw(tmp_path / f"image/{stem}.png")
        (tmp_path / f"image/{stem}.txt").write_text("do it")
    for name in ("image1_10", "image1_2", "image1_1", "image1_0", "image1_0_0"):
        draw(tmp_path / f"control/{name}.png")
    assert [told(each)[1] for each in data.read(tmp_path / "image", [tmp_path / "control"])] == [
        [f"control/image1_{n}.png" for n in (1, 2, 10)], ["control/image1_0.png", "control/image1_0_0.png"]]


def test_musubi_tuners_list(tmp_path):
    for name in ("t.png", "a.png", "b.png"):
        draw(tmp_path / f"set/{name}")
    path = lines(tmp_path / "set/any.jsonl",
                 {"image_path": str(tmp_path / "set/t.png"), "control_path_10": "b.png", "control_path_2": "./a.png",
                  "caption": "{image1} in {image}"},
                 {"image_path": "t.png", "control_path": "..\\set\\a.png", "caption": "again"},
                 {"image_path": "t.png", "caption": "from nothing"})
    assert problems(path) == ("any.jsonl:2: control_path is \"../set/a.png\", but must be a name inside its folder, such as "
                              "album/cat.png, without .., a leading / or a trailing ].",)
    path.write_text(path.read_text().replace("..\\\\set\\\\a.png", "a.png"))
    assert [told(each) for each in data.read(tmp_path / "set")] == [
        ("{image1} in {image}", ["a.png", "b.png"], "t.png"), ("again", ["a.png"], "t.png"), ("from nothing", [], "t.png")]


def test_a_list_may_name_files_from_another_folder(tmp_path):
    draw(tmp_path / "pictures/deep/t.png")
    (tmp_path / "lists").mkdir()
    path = lines(tmp_path / "lists/any.jsonl", {"image_path": "deep/t.png", "caption": "x"},
                 {"image_path": str(tmp_path / "pictures/deep/t.png"), "caption": "x"})
    assert {each.turn.target.file for each in data.read(path, folder=tmp_path / "pictures")} == {"deep/t.png"}
    first, second = problems(path)
    assert "any.jsonl:1: deep/t.png is not there" in first and f"which is outside {tmp_path}/lists" in second


def test_the_authors_table(tmp_path):
    for name in ("t", "a", "b"):
        draw(tmp_path / f"images/{name}.png")
    (tmp_path / "train.csv").write_text(
        "Target:FILE,Source:FILE,Prompt,Style\r\n"
        "images/t.png,images/a.png,\"paint it,\nall of it\",oil\r\n"
        "images/t.png,images/a.png#;#images/b.png,{image1} in {image},\r\n,,,\r\n"
        "images/t.png,,a red field,\r\n"
        "images/t.png,images/c.png,x,\r\n", encoding="utf-8-sig", newline="")
    assert problems(tmp_path) == ("train.csv:7: images/c.png is not there: put it back, or take it off the list.",)
    draw(tmp_path / "images/c.png")
    assert [told(each) for each in data.read(tmp_path / "train.csv")][:3] == [
        ("paint it, all of it", ["images/a.png"], "images/t.png"),
        ("{image1} in {image}", ["images/a.png", "images/b.png"], "images/t.png"), ("a red field", [], "images/t.png")]


def test_the_table_of_ace_plus(tmp_path):
    for name in ("t", "a", "r", "m"):
        draw(tmp_path / f"{name}.png")
    rows = ["#;##;#r.png#;#t.png#;#a cup, blue#;#subject", "a.png#;#m.png#;#./r.png#;#t.png#;#put {image1} into {image}#;#x",
            "a.png#;#m.png#;##;#t.png#;#repaint#;#local_editing", "a.png#;##;##;#t.png#;#edit#;#x", "a.png#;#t.png",
            "#;##;#r.png#;##;#x#;#y"]
    path = tmp_path / "train.csv"
    path.write_text("\n".join(rows), encoding="utf-8-sig")
    assert [each.split(" ", 1)[0] for each in problems(path)] == ["train.csv:4:", "train.csv:5:", "train.csv:6:"]
    expected = "edit_image and edit_mask belong together", "the line has 2 fields, but must have 6", 'target_image is ""'
    assert all(said in problem for problem, said in zip(problems(path), expected, strict=True))
    path.write_text("\n".join(rows[:3]))
    found = data.read(path)
    assert [told(each) for each in found] == [
        ("a cup, blue", ["r.png"], "t.png"), ("put {image1} into {image}", ["a.png", "r.png"], "t.png"),
        ("repaint", ["a.png"], "t.png")]
    assert [each.turn.masks for each in found] == [(), (Picture("m.png"),), (Picture("m.png"),)]


def test_one_picture_is_enough(tmp_path):
    draw(tmp_path / "a.PNG", format="PNG")
    (tmp_path / "a.txt").write_text("a red field")
    example, = data.read(tmp_path)
    assert told(example) == ("a red field", [], "a.PNG")


def test_written_and_read_again(tmp_path):
    for i, name in enumerate(("before.png", "after.png", "mask.png")):
        draw(tmp_path / "set" / name, (50 * i, 0, 0))
    draw(tmp_path / "set/same.png", (50, 0, 0))
    first = turn(masks=[{"file": "mask.png"}], settings={"negative": "fog"}, meta={"by": "hand"})
    second = turn("t2", "same.png", ("before.png",), parent="t1")
    found = data.read(lines(tmp_path / "set/turns.jsonl", record(first, second)))
    path = data.write(found, tmp_path / "out")
    again = data.read(path)
    assert len(again) == len(found) == 2 and len(list((tmp_path / "out/pictures").iterdir())) == 3
    for old, new in zip(found, again, strict=True):
        assert [new.path(p).read_bytes() for p in new.pictures()] == [old.path(p).read_bytes() for p in old.pictures()]
        assert new.turn.settings == old.turn.settings and new.turn.meta == old.turn.meta and new.record.at == old.record.at


def test_the_pages_own_examples(tmp_path):
    """docs/training.md: its trees of files and its lists."""
    page = (Path(__file__).parents[2] / "docs/training.md").read_text(encoding="utf-8").split("## Data\n")[1].split("\n## ")[0]
    layouts = [re.findall(r"```(\w*)\n(.*?)```", part, re.DOTALL) for part in re.split(r"^### ", page, flags=re.MULTILINE)]
    layouts = [blocks for blocks in layouts if blocks and blocks[0][1].startswith("my set/")]
    found = []
    for i, blocks in enumerate(layouts):
        folder, inner = tmp_path / f"{i}", ""
        folder.mkdir()
        for line in blocks[0][1].splitlines()[1:]:
            names = re.sub(r"  +(the|what|\").*", "", line.translate({ord(c): " " for c in "├└│─"})).split()
            inner = inner if line.startswith((" ", "│")) else ""
            for name in names:
                if name.endswith(".txt"):
                    (folder / inner / name).write_text(re.search('"(.*)"', blocks[0][1])[1])
                elif name.endswith((".png", ".jpg")):
                    draw(folder / inner / name)
                inner = name if name.endswith("/") else inner
        for kind, text in blocks[1:]:
            if kind in ("json", "csv"):
                (folder / re.search(r"\w+\.(jsonl|csv)", blocks[0][1])[0]).write_text(
                    " ".join(text.split("\n")) if "turns" in text else text)
                for name in re.findall(r"[\w/]+\.png", text):
                    draw(folder / name)
        found.append([told(each) for each in data.read(folder)])
    assert [len(each) for each in found] == [2, 1, 2, 3, 2, 2]
    assert found[1] == [("make it night", ["control/street.png"], "target/street.png")]
    assert found[3][1] == ("put {image1} into {image}", ["images/room.png", "images/sofa.png"], "images/both.png")
    assert found[4][0] == ("The vase stands in the room.", ["images/room.png", "images/vase.png"], "images/full.png")
    assert found[5][1] == ("add a moon to {image}", ["night.png"], "moon.png")


# ---- pictures

def test_pictures_are_read_as_pillow_reads_them(tmp_path):
    ramp = np.arange(24 * 16 * 3, dtype=np.uint8).reshape(24, 16, 3)
    turned = Image.Exif()
    turned[0x0112] = 6  # to be turned clockwise by 90 degrees
    Image.fromarray(ramp).save(tmp_path / "turned.png", exif=turned)
    assert torch.equal(data.opened(tmp_path / "turned.png"), torch.from_numpy(np.rot90(ramp, -1).copy() / np.float32(255)))
    assert data.look(tmp_path / "turned.png") == (24, 16)

    clear = np.dstack([ramp, np.zeros((24, 16), np.uint8)])
    Image.fromarray(clear).save(tmp_path / "clear.png")
    assert torch.equal(data.opened(tmp_path / "clear.png"), torch.from_numpy(ramp / np.float32(255))), "alpha is left out"

    deep = (np.arange(24 * 16, dtype=np.uint16) * 170).reshape(24, 16)
    Image.fromarray(deep).save(tmp_path / "deep.png")
    assert torch.equal(data.opened(tmp_path / "deep.png", "L"), torch.from_numpy((deep >> 8).astype(np.float32) / 255))
    assert data.look(tmp_path / "deep.png") == (16, 24)

    frames = [Image.new("RGB", (16, 16), color) for color in (RED, BLUE)]
    frames[0].save(tmp_path / "moving.gif", save_all=True, append_images=frames[1:])
    assert torch.equal(data.opened(tmp_path / "moving.gif"), torch.tensor([1.0, 0, 0]).expand(16, 16, 3))


def tiny_png_that_claims(width, height):
    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
            + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b""))


def bad_pictures(folder):
    """{file: what must be said of it}"""
    whole = draw(folder / "whole.png", size=(64, 64)).read_bytes()
    (folder / "cut.png").write_bytes(whole[:len(whole) // 2])
    draw(folder / "whole.jpg", size=(256, 256))
    (folder / "cut.jpg").write_bytes((folder / "whole.jpg").read_bytes()[:700])
    (folder / "words.png").write_text("not a picture")
    (folder / "empty.png").write_bytes(b"")
    (folder / "huge.png").write_bytes(tiny_png_that_claims(20_000, 15_000))
    (folder / "folder.png").mkdir()
    Image.new("CMYK", (32, 32)).save(folder / "print.jpg")
    Image.new("F", (32, 32)).save(folder / "float.tif")
    Image.fromarray(np.full((32, 32), 70_000, np.int32)).save(folder / "long.tif")
    Image.new("LAB", (32, 32)).save(folder / "lab.tif")
    draw(folder / "small.png", size=(32, 15))
    return {"cut.png": "cannot be opened", "cut.jpg": "cannot be opened", "words.png": "cannot be opened",
            "empty.png": "cannot be opened", "huge.png": "has more than 178 million pixels", "folder.png": "is no file",
            "print.jpg": "is CMYK", "float.tif": "holds numbers of 32 bits", "long.tif": "holds numbers of 32 bits",
            "lab.tif": "is LAB", "small.png": "is 32×15 pixels, but ACE needs at least 16×16", "gone.png": "is not there"}


def test_bad_pictures(tmp_path):
    expected = bad_pictures(tmp_path)
    found = problems(lines(tmp_path / "turns.jsonl", *(record(turn(target=name, images=["whole.png"])) for name in expected)))
    assert [each.split(":")[1] for each in found] == [str(i) for i in range(1, len(expected) + 1)]
    for problem, (name, what) in zip(found, expected.items(), strict=True):
        assert f" {name} {what}" in problem


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "YCbCr", "HSV", "I;16", "I;16B"])
def test_modes_that_can_be_learned_from(mode, tmp_path):
    """The same colors as Pillow's own conversion; 16 bits lose the lower eight."""
    color = Image.new("RGB", (16, 16), (200, 100, 40))
    image = Image.new(mode, (16, 16), 40_000) if mode.startswith("I") else color.convert(mode)
    image.save(tmp_path / "a.tif") if mode not in ("HSV", "P") else image.convert("RGB").save(tmp_path / "a.tif")
    expected = np.full((16, 16, 3), 40_000 // 256, np.uint8) if mode.startswith("I") else np.array(image.convert("RGB"))
    assert data.look(tmp_path / "a.tif") == (16, 16)
    assert torch.equal(data.opened(tmp_path / "a.tif"), torch.from_numpy(expected / np.float32(255)))


# ---- what is wrong

def test_all_problems_are_told_with_their_lines(tmp_path):
    draw(tmp_path / "before.png")
    draw(tmp_path / "after.png", size=(48, 96))  # another shape than the source: allowed
    fine, circle = record(turn()), record(turn("t1", parent="t2"), turn("t2", parent="t1"))
    path = lines(
        tmp_path / "turns.jsonl", fine, "{\"version\": 1,", {**fine, "version": 7}, circle, {"image": "before.png"}, [1],
        record(turn(images=["gone.png", "gone, too.png"])), record(turn(images=["../before.png"])), record(turn(target=None)),
        record(turn() | {"instruction": "put {image1} into {image}"}),
        record(turn() | {"images": [{"file": "a.png", "in": "input"}]}),
        record(turn("t1", None), turn("t2", parent="t1") | {"images": [{"answer_of": "t1"}]}),
        record(turn(settings={"target_image": 2})), record(turn(blank=True)))
    found = problems(path)
    expected = {2: "not valid JSON", 3: "version is 7, but this ACE Editor reads records up to version 1",
                4: "turns[0].parent is t2, which stands after it", 5: "the line has image, but needs turns",
                6: "version is null", 7: "gone.png is not there", 8: "must be a name inside its folder",
                9: "no turn has a target", 10: "names {image1}",
                11: "leave out in", 12: "turn t1 has no target", 13: "target_image is 2",
                14: "no mask marks a part"}
    assert len(found) == len(expected) + 1  # the seventh has two
    for number, what in expected.items():
        assert any(each.startswith(f"turns.jsonl:{number}: ") and what in each for each in found), (number, found)
    assert [int(each.split(":")[1]) for each in found] == sorted([*expected, 7])
    path.write_text("\n".join([json.dumps(record(turn(images=[f"{i}.png"]))) for i in range(35)]))
    with pytest.raises(DataError, match=r"has 35 problems:\n  turns.jsonl:1: 0.png is not there(.|\n)*and 15 more$") as error:
        data.read(path)
    assert len(str(error.value).splitlines()) == 22


def test_masks_are_looked_at(tmp_path):
    draw(tmp_path / "before.png", size=(320, 32))
    draw(tmp_path / "after.png")
    mask = Image.new("L", (320, 32))
    mask.paste(255, (0, 0, 10, 32))  # cropped away: ACE sees the middle 128 columns
    mask.save(tmp_path / "edge.png")
    path = lines(tmp_path / "turns.jsonl", record(turn(masks=[{"file": "edge.png"}])), record(turn(room=[0, 0, 0, 4])),
                 record(turn(room=[4, 0, 0, 0])))
    cropped, stretched = problems(path)
    assert cropped.startswith("turns.jsonl:1: the mask of image selects only what is cropped away")
    assert stretched.startswith("turns.jsonl:3: the padded picture would be")


def test_captions_and_pictures_that_are_alone(tmp_path):
    for name in ("a.png", "b.png", "c.png", "c.jpg", "e.png", "f.png"):
        draw(tmp_path / "after" / name)
    for name in ("a", "c", "d", "e", "f"):
        (tmp_path / f"after/{name}.txt").write_text("do it")
    (tmp_path / "after/e.txt").write_bytes(b"\xff\xfe caf\xe9")
    (tmp_path / "after/f.txt").write_text(" \n")
    for name in ("b.png", "c.png", "e.png", "f.png"):
        draw(tmp_path / "before" / name)
    for name in ("a", "b", "c", "e", "f"):
        draw(tmp_path / f"more/{name}.png")
    found = problems(tmp_path / "after", [tmp_path / "before", tmp_path / "more"])
    assert [each.split(": ")[0] for each in found] == [f"after/{name}" for name in ("a.png", "b.png", "c.jpg", "d.txt", "e.png",
                                                                                     "f.png")]
    for problem, what in zip(found, ("before has no picture named a or a_0", "has no caption", "there are c.jpg and c.png",
                                     "has no picture", "e.txt is not UTF-8", "must say what to do"), strict=True):
        assert what in problem


def test_instructions_that_the_model_reads_in_part(tmp_path):
    draw(tmp_path / "a.png")
    path = lines(tmp_path / "a.jsonl", *({"image_path": "a.png", "caption": "word " * n} for n in (119, 120, 300)))
    found = problems(path, tokens=lambda words: words.split() + ["</s>"])
    assert [each.split(" tokens")[0] for each in found] == ["a.jsonl:2: the instruction has 121",
                                                            "a.jsonl:3: the instruction has 301"]


@pytest.mark.parametrize(("name", "content", "what"), [
    ("empty", None, "holds no picture and no list"), ("gone", "", "there is no such file or folder"),
    ("empty.jsonl", b"\n\n", "the list is empty"), ("a.csv", b"Image,Text\nx,y\n", "the first line has Image, Text, but"),
    ("b.csv", b"", "the first line has nothing"), ("c.csv", b"Target:FILE,Prompt\n\xff", "not UTF-8"),
    ("d.csv", b"Target:FILE,Prompt\n", "the list is empty"), ("words.docx", b"", "this is a .docx"),
    ("e.csv", b"Target:FILE,Prompt\n" + b"x" * 200_000 + b",y\n", "e.csv:2: the row cannot be read")])
def test_what_is_no_data_set(name, content, what, tmp_path):
    path = tmp_path / name
    if content is None:
        path.mkdir()
    elif content or "." in name:
        path.write_bytes(content)
    with pytest.raises(DataError, match="^.*" + what.replace(".", r"\.")) as error:
        data.read(path)
    assert str(path) in str(error.value)


def test_which_list(tmp_path):
    lines(tmp_path / "a.jsonl", record(turn()))
    lines(tmp_path / "b.jsonl", record(turn()))
    with pytest.raises(DataError, match="several lists \\(a.jsonl, b.jsonl\\): name one"):
        data.read(tmp_path)
    with pytest.raises(DataError, match="a list names its source pictures itself"):
        data.read(tmp_path / "a.jsonl", [tmp_path])


# ---- lists from somebody who means ill

def nested(depth, inner="1"):
    return '{"a": ' * depth + inner + "}" * depth


def noted(meta):
    return json.dumps(record(turn())).replace('"target"', f'"meta": {meta}, "target"')


ILL = {
    "5000 digits": ('{"image_path": "after.png", "caption": "x", "control_path_' + "9" * 5000 + '": "before.png"}', None),
    "an answer for a target": (record(turn() | {"target": {"answer_of": "t1"}}), "the target of turn t1 is the answer of t1"),
    "deep notes": (noted(nested(101)), "turns[0].meta is nested more than 100 deep"),
    "endless notes": (noted('{"a": 1e999}'), "turns[0].meta has a number that is not finite"),
    "lists in lists": ("[" * 1_000_000, "nested too deeply"), "objects in objects": (nested(5000), "nested too deeply"),
    "a giant key": ({"x" * 10_000_000: 1}, "the line has xxx"), "a giant id": (record(turn("y" * 1_000_000)), 'at is "yyy'),
    "out of the folder": ({"image_path": "../" * 1000 + "etc/passwd", "caption": "x"}, "image_path is"),
    "somewhere else": ({"image_path": "/etc/../etc/passwd", "caption": "x"}, "which is outside"),
    "a giant name": ({"image_path": "x" * 300 + ".png", "caption": "x"}, "cannot be opened"),
    "endless turns": (record(*(turn(f"t{n}") for n in range(201))), "has 201 turns, but may have 200")}


@pytest.mark.parametrize("line, said", ILL.values(), ids=ILL)
def test_lines_that_mean_ill(tmp_path, line, said):
    """Each is refused by name in a few words, or taken as what it says; none stops the reading of the others."""
    for name in ("before.png", "after.png"):
        draw(tmp_path / name)
    path = lines(tmp_path / "list.jsonl", line, record(turn()))
    if said is None:
        assert len(data.read(path)) == 2
        return
    found, = problems(path)
    assert found.startswith("list.jsonl:1: ") and said in found and len(found) < 1500


def test_what_goes_in_comes_out(tmp_path):
    """Notes of a turn that no file could hold are mended when they are read, so that every copy can be written."""
    for name in ("before.png", "after.png"):
        draw(tmp_path / name)
    path = lines(tmp_path / "list.jsonl", noted(json.dumps({"\ud800": ["\udfff", {"é": None}]})))
    data.write(data.read(path), tmp_path / "copy")
    example, = data.read(tmp_path / "copy")
    assert example.turn.meta == {"\ufffd": ["\ufffd", {"é": None}]}


def test_absolute_names_stay_in_the_folder(tmp_path):
    draw(tmp_path / "set/t.png")
    draw(tmp_path / "other.png")
    path = lines(tmp_path / "set/list.jsonl", {"image_path": f"{tmp_path}/set/../other.png", "caption": "x"})
    assert "must be a name inside its folder" in problems(path)[0]


@pytest.mark.parametrize("header", [b"\x00" * 300_000, b"x" * 300_000 + b",Prompt\n", b"\"" + b"x,\n" * 100_000],
                         ids=["zeros", "a giant name", "an open quote"])
def test_tables_that_mean_ill(tmp_path, header):
    (tmp_path / "train.csv").write_bytes(header)
    found, = problems(tmp_path)
    assert "the first line" in found and len(found) < 500


@pytest.mark.skipif(not features.check("avif"), reason="this Pillow reads no AVIF")
def test_a_damaged_avif_is_named(tmp_path):
    """Pillow raises RuntimeError for one whose pixels are no code; of other formats it is OSError."""
    content = draw(tmp_path / "t.avif").read_bytes()
    pixels = content.index(b"mdat") + 4
    (tmp_path / "t.avif").write_bytes(content[:pixels] + bytes(len(content) - pixels))
    path = lines(tmp_path / "list.jsonl", {"image_path": "t.avif", "caption": "x"})
    assert problems(path) == ("list.jsonl:1: t.avif cannot be opened as a picture (it is damaged, or of a format that Pillow "
                              "does not know): use another copy.",)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="Windows has no such files")
def test_what_is_no_file(tmp_path):
    """Who opened a pipe would wait for ever."""
    draw(tmp_path / "t.png")
    (tmp_path / "folder.jsonl").mkdir()
    os.mkfifo(tmp_path / "pipe.png")
    os.mkfifo(tmp_path / "t.txt")
    assert problems(tmp_path) == ("t.png: t.txt is no file: write the caption into one.",)
    (tmp_path / "zero.png").symlink_to("/dev/zero")
    (tmp_path / "gone.png").symlink_to("nowhere")
    path = lines(tmp_path / "list.jsonl", *({"image_path": f"{each}.png", "caption": "x"} for each in ("pipe", "zero", "gone")))
    assert problems(path) == ("list.jsonl:1: pipe.png is no file: use a picture.",
                              "list.jsonl:2: zero.png is no file: use a picture.",
                              "list.jsonl:3: gone.png is not there: put it back, or take it off the list.")


def test_a_list_that_cannot_be_read(tmp_path, monkeypatch):
    path = lines(tmp_path / "list.jsonl", {})
    monkeypatch.setattr(Path, "read_bytes", lambda self: (_ for _ in ()).throw(PermissionError(13, "Permission denied")))
    assert problems(path) == ("the list cannot be read (Permission denied): look at its rights.",)
