"""Synthesis: every answer is exact, what lacks something is left out, and the trainer reads what comes out."""

import json
from collections import Counter
from pathlib import Path
from random import Random

import numpy as np
import pytest
import torch
from kornia.filters import canny
from PIL import Image
from scipy.ndimage import gaussian_filter

from engine import __main__ as program
from engine.synthesis import collection, holes, lettering, maps
from engine.synthesis.tasks import TASKS, MissingError, Source, make
from starters import phrasings, pictures
from training import data

NEEDS_CAPTION = {name for name in TASKS if name.startswith("from-")} | {"colorize"}
ANNOTATED = {"depth", "pose", "segmentation"}


def opened(name: str, masked: bool = False):
    levels = torch.from_numpy(np.asarray(pictures.load(name, masked), np.float32) / 255)
    return (levels[..., :3], 1 - levels[..., 3]) if masked else levels


@pytest.fixture(scope="module")
def source() -> Source:
    pixels, alpha = (x[:, 100:324] for x in opened("cat", masked=True))
    annotators = {name: (lambda x, i=i: x.flip(1) * (i + 1) / 3) for i, name in enumerate(sorted(ANNOTATED))}
    return Source(pixels, "a cat", alpha, [opened("coffee")], annotators)


# ---- maps, against Pillow, numpy and scipy

def test_grayscale_is_pillows():
    pixels = opened("coffee")
    image = np.asarray(Image.fromarray((pixels * 255).byte().numpy()).convert("L"), np.float32) / 255
    assert np.abs(maps.grayscale(pixels, Random(0)).numpy() - image[..., None]).max() < 1.01 / 255


def test_mosaic_has_the_mean_of_every_square():
    pixels, found = opened("cat"), set()
    for seed in range(12):
        shown = maps.mosaic(pixels, Random(seed))
        assert shown.shape == pixels.shape
        tile = next(t for t in (24, 16, 12, 8) if torch.equal(shown[:t, :t], shown[:1, :1].expand(t, t, 3)))
        found.add(tile)
        for y, x in ((0, 0), (tile, 2 * tile)):
            assert torch.allclose(shown[y, x], pixels[y:y + tile, x:x + tile].mean((0, 1)), atol=1e-5)
    assert found == {8, 12, 16, 24}


def test_blur_is_scipys():
    pixels = opened("cat")
    sigma = Random(5).uniform(2, 6)
    wanted = gaussian_filter(pixels.numpy(), (sigma, sigma, 0), mode="nearest", radius=(round(3 * sigma),) * 2 + (0,))
    assert np.abs(maps.blur(pixels, Random(5)).numpy() - wanted).max() < 1e-4


def test_noise_has_its_strength():
    class Fixed(Random):
        def uniform(self, low, high):
            return low
    gray = torch.full((200, 200, 3), 0.5)
    assert float((maps.noise(gray, Fixed(1)) - gray).std()) == pytest.approx(0.08, rel=0.02)
    assert not torch.equal(maps.noise(gray, Fixed(1)), maps.noise(gray, Fixed(2)))


def test_edges_are_those_of_cores_canny():
    for name in ("cat", "teapot"):
        pixels = opened(name)[:128, :192, :3].contiguous()
        wanted = canny(pixels.movedim(-1, 0)[None], 0.4, 0.8)[1][0, 0]
        assert torch.equal(maps.edges(pixels, Random(0))[..., 0], wanted)


@pytest.mark.parametrize("name", ["edges", "contour", "scribble"])
def test_lines_are_where_a_square_ends(name):
    pixels = torch.zeros(128, 128, 3)
    pixels[32:96, 32:96] = torch.tensor((1.0, 0.2, 0.1))
    shown = maps.MAPS[name](pixels, Random(0))
    marked = (1 - shown if name == "contour" else shown).amax(-1) > 0.5
    rows = torch.nonzero(marked.any(1)).flatten()
    assert shown.shape == pixels.shape and 25 <= int(rows[0]) <= 33 and 94 <= int(rows[-1]) <= 102
    assert not marked[45:83, 45:83].any()
    assert marked[64, 26:38].any() and marked[26:38, 64].any()


# ---- masks

@pytest.mark.parametrize("size", [(64, 64), (512, 512), (128, 320)])
def test_a_mask_selects_a_part(size):
    for seed in range(20):
        hole, border = holes.hole(*size, Random(seed)), holes.border(*size, Random(seed))
        assert 0.05 <= float(hole.mean()) <= 0.5 and set(hole.unique().tolist()) == {0, 1}
        assert 0.1 <= float(border.mean()) < 0.95
        left = torch.nonzero(border == 0)
        top, start = left.min(0).values.tolist()
        bottom, end = left.max(0).values.tolist()
        assert not border[top:bottom + 1, start:end + 1].any(), "what stays is one rectangle"


# ---- tasks

@pytest.mark.parametrize("task", TASKS)
def test_every_task_says_what_it_does(task, source):
    made = make(task, source, Random(3))
    assert all("{image" + (str(i) if i else "") + "}" in made.instruction for i in range(len(made.images)))
    assert len(made.masks) in (0, len(made.images)) and not made.blank or any(m is not None for m in made.masks)
    assert all(x.shape[-1] == 3 and float(x.min()) >= 0 and float(x.max()) <= 1 for x in (*made.images, made.target))
    assert all(m is None or m.shape == x.shape[:2] for m, x in zip(made.masks, made.images, strict=False))
    again = make(task, source, Random(3))
    assert again.instruction == made.instruction and torch.equal(again.target, made.target)


@pytest.mark.parametrize("task", sorted(NEEDS_CAPTION | {"deblur", "denoise"}))
def test_a_task_turned_round_gives_the_picture_back(task, source):
    made = make(task, source, Random(1))
    assert torch.equal(made.target, source.pixels) and not torch.equal(made.images[0], source.pixels)


def test_texts_are_written_within_their_mask(source):
    for seed in range(8):
        made = make("write-text", source, Random(seed))
        changed = (made.target - made.images[0]).abs().amax(-1) > 0.02
        assert changed.sum() > 50 and not (changed & (made.masks[0] < 0.5)).any()
        quoted = made.instruction.split('"')[1]
        assert quoted == phrasings.spell(quoted) and len(quoted) > 2
        removed = make("remove-text", source, Random(seed))
        assert torch.equal(removed.target, source.pixels) and not torch.equal(removed.images[0], source.pixels)
        if removed.masks:
            assert not (((removed.images[0] - removed.target).abs().amax(-1) > 0.02) & (removed.masks[0] < 0.5)).any()


def test_letters_are_read_on_what_is_behind():
    for level in (0.0, 0.4, 0.6, 1.0):
        plain = torch.full((128, 256, 3), level)
        written, (left, top, right, bottom) = lettering.write(plain, "abc", Random(0))
        assert float((written[top:bottom, left:right] - level).abs().max()) > 0.3
    assert lettering.write(torch.zeros(16, 16, 3), "a long text", Random(0)) is None


def test_what_covers_a_picture_is_under_the_mask(source):
    for seed in range(5):
        made = make("removal", source, Random(seed))
        changed = (made.images[0] - made.target).abs().amax(-1) > 0.01
        assert changed.any() and torch.equal(made.target, source.pixels) and not (changed & (made.masks[0] < 0.5)).any()


def test_layers_add_up(source):
    alone = make("cut-out", source, Random(0)).target
    assert torch.equal(alone[source.alpha > 0.99], source.pixels[source.alpha > 0.99])
    assert (alone[source.alpha < 0.01] == 1).all()
    fused, split = make("fuse", source, Random(2)), make("background", source, Random(2))
    behind, subject = fused.images
    assert torch.equal(split.target, behind) and torch.equal(split.images[0], fused.target), "one is the other's reverse"
    there = (subject - 1).abs().amax(-1) > 0.001
    changed = (fused.target - behind).abs().amax(-1) > 0.001
    assert 0.01 < float(changed.float().mean()) < 0.7 and (changed & ~there).float().mean() < 0.002


def test_what_is_missing_is_named():
    bare = Source(opened("cat"))
    for task, words in (("colorize", "no caption"), ("depth", "no annotator for depth: give its weights by --depth"),
                        ("cut-out", "no mask of its subject"), ("removal", "no other picture")):
        with pytest.raises(MissingError, match=words):
            make(task, bare, Random(0))


# ---- a folder

@pytest.fixture
def folder(tmp_path) -> Path:
    made = tmp_path / "in"
    (made / "sub").mkdir(parents=True)
    pictures.load("cat").resize((160, 96)).save(made / "cat.jpg")
    Image.open(pictures.mask_of("cat")).convert("L").resize((160, 96)).save(made / "cat mask.png")
    (made / "cat.txt").write_text('a "tabby" cat\n', encoding="utf-8")
    pictures.load("coffee").resize((90, 90)).save(made / "sub" / "coffee.png")
    (made / "broken.png").write_bytes(b"\x89PNG")
    return made


def test_a_folder_becomes_a_data_set(folder, tmp_path, capsys):
    assert program.main(["synthesize", str(folder), str(tmp_path / "out"), "--each", "2"]) == 0
    shown = capsys.readouterr().out
    assert "1 pictures could not be opened, such as broken.png, which cannot be opened as a picture" in shown
    found = data.read(tmp_path / "out")
    counts = Counter(each.turn.meta["task"] for each in found)
    assert all(counts[task] == 2 for task in NEEDS_CAPTION if task.split("-")[-1] not in ANNOTATED)
    assert counts["grayscale"] == 4 and counts["cut-out"] == 2 and not ANNOTATED & counts.keys()
    assert {each.turn.meta["from"] for each in found} == {"cat.jpg", "sub/coffee.png"}
    captioned = [each.turn.instruction for each in found if each.turn.meta["task"] == "colorize"]
    assert all("a 'tabby' cat" in text for text in captioned), "quotes in a caption would end it"
    notes = json.loads((tmp_path / "out" / collection.NOTES).read_text(encoding="utf-8"))
    assert notes["examples"] == counts
    assert ["depth", "no annotator for depth: give its weights by --depth, or connect map.", 2] in notes["left out"]
    for each in found:
        target = data.opened(each.path(each.turn.target))
        assert all(side % 16 == 0 for side in target.shape[:2])


def test_a_stopped_run_goes_on(folder, tmp_path, monkeypatch):
    plan, out, seen = collection.Plan(tasks=("grayscale", "blur")), tmp_path / "out", []
    whole = collection.synthesize(folder, tmp_path / "whole", plan)
    make_examples = collection.examples

    def counted(folder, name, *rest):
        if len(seen) == 2:
            raise KeyboardInterrupt
        seen.append(name)
        return make_examples(folder, name, *rest)
    monkeypatch.setattr(collection, "examples", counted)
    with pytest.raises(KeyboardInterrupt):
        collection.synthesize(folder, out, plan)
    assert not (out / collection.LIST).exists()
    with (out / collection.JOURNAL).open("a") as file:
        file.write('{"from": "cut o')
    seen.clear()
    collection.synthesize(folder, out, plan)
    assert len(seen) == 1 and (out / collection.LIST).read_bytes() == whole.list_file.read_bytes()
    assert not (out / collection.JOURNAL).exists()


def test_bad_requests_are_named(folder, tmp_path, capsys):
    for command, words in ((["--tasks", "greyscale"], "greyscale is no task: choose among grayscale"),
                           (["--tasks", ""], "nothing is no task"), (["--each", "0"], "--each is 0, but must be from 1"),
                           (["--font", "none.ttf"], "none.ttf is not there"),
                           (["--tasks", "depth"], "nothing could be made of 3 pictures. depth: no annotator")):
        assert program.main(["synthesize", str(folder), str(tmp_path / "out"), *command]) == 1
        assert words in capsys.readouterr().err
    assert program.main(["synthesize", str(folder), str(folder / "out")]) == 1
    assert "lies in" in capsys.readouterr().err
