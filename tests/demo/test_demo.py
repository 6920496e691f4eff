"""The demo's toy world, judge, page, arguments and pictures given. The trained model is tested in tests/server/test_demo.py."""

import argparse
import errno
import json
import socket
import struct
import zlib
from dataclasses import replace
from pathlib import Path
from random import Random

import numpy as np
import pytest
import torch
from PIL import Image, ImageFilter
from safetensors.torch import load_file

from ace_model import diffusion
from demo import score
from demo.page import own_picture, run, toys
from demo.page.html import Card, Page, Step
from demo.trainer import train, train_autoencoder
from demo.world.judge import judge
from demo.world.scenes import PHOTO_SIZE, SIZE, Picture, Scene, Thing, image_of, render, render_each, views
from demo.world.scenes.drawing import CLASS_COLORS
from demo.world.scenes.world import COLORS, PLACES
from demo.world.tasks import MULTI_TURN, TASKS, Sample, Turn, generate, subtasks
from demo.world.tasks.batch import frames_of, mask_of
from tools.gallery.graph import ROOT
from training.network import Batch

WEIGHTS = ROOT / "demo" / "weights"
EVERY = [(task, name) for task in TASKS for name in subtasks(task)]
SCENE = Scene("meadow", "day", (Thing("square", "red", "plain", "big", "bottom"),))


def pixels(picture: Picture) -> torch.Tensor:
    return render([picture])[0]


def test_a_scene_is_drawn_where_and_as_it_says():
    image = image_of(Picture(SCENE))
    assert image.getpixel(SCENE.things[0].centre) == COLORS["red"]
    assert np.allclose(image.getpixel((5, 100)), PLACES["meadow"][1], atol=1)
    maps = image_of(Picture(SCENE, "segmentation"))
    assert maps.getpixel(SCENE.things[0].centre) == CLASS_COLORS["square"] and maps.getpixel((5, 100)) == (0, 0, 0)
    depth = image_of(Picture(SCENE, "depth"))
    assert depth.getpixel((64, 90))[0] > depth.getpixel((64, 60))[0], "near is brighter than the sky"


def test_the_layer_that_is_cut_out_is_hidden_by_nothing():
    """Every pixel of it in the picture is as in the layer."""
    for seed in range(40):
        sample = generate(Random(seed), "layer editing", "split object")
        (thing,), place = sample.target.scene.things, sample.edited.scene
        alone = place.but(things=(thing,))
        inside = pixels(Picture(alone, "segmentation")).amax(0) > 0.99
        assert (pixels(sample.edited) - pixels(Picture(alone)))[:, inside].abs().max() < 0.02


@pytest.mark.parametrize(("view", "expected"), [
    ("grayscale", lambda image: image.convert("L").convert("RGB")),
    ("mosaic", lambda image: image.resize((8, 8), Image.Resampling.BOX).resize((SIZE, SIZE), Image.Resampling.NEAREST)),
    ("blur", lambda image: image.filter(ImageFilter.GaussianBlur(4))),
    ("inverted", lambda image: image.point(lambda value: 255 - value))])
def test_views_agree_with_pil(view, expected):
    wanted = np.asarray(expected(image_of(Picture(SCENE))), dtype=float)[12:-12, 12:-12]  # PIL's blur has other borders
    error = np.abs(np.asarray(image_of(Picture(SCENE, view)), dtype=float)[12:-12, 12:-12] - wanted)
    assert error.max() <= (12 if view == "blur" else 2), "PIL approximates the Gaussian by boxes"


@pytest.mark.parametrize(("task", "name"), EVERY)
def test_judge_takes_the_exact_answer_and_no_other(task, name):
    """For every subtask: the truth is right; gray, noise and the picture that went in (unless it is the truth) are wrong."""
    samples = (generate(Random(f"{name} {seed}"), task, name) for seed in range(20))
    sample = next(s for s in samples if all(p.photo is None for p in (s.target, *s.pictures)))
    truth = pixels(sample.target)
    assert judge(sample, truth)[0]
    assert not judge(sample, torch.full_like(truth, 0.5))[0]
    assert not judge(sample, torch.rand(truth.shape, generator=torch.Generator().manual_seed(0)))[0]
    for given in sample.pictures:
        if (pixels(given) - truth).abs().mean() > 0.02:
            assert not judge(sample, pixels(given))[0]


def test_multi_turn_questions_need_the_history():
    asked = [generate(Random(seed), MULTI_TURN) for seed in range(60)]
    assert sum(sample.history for sample in asked) > 40
    for sample in asked:
        assert len(sample.turns) > 1 and not (sample.history and sample.edited == sample.target)


def write_huge_png(path: Path) -> None:
    """20000 × 20000 pixels in a header; no such data follows."""
    header = struct.pack(">IIBBBBB", 20000, 20000, 8, 2, 0, 0, 0)
    chunk = struct.pack(">I", len(header)) + b"IHDR" + header + struct.pack(">I", zlib.crc32(b"IHDR" + header))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk + struct.pack(">I", 0) + b"IDAT" + struct.pack(">I", zlib.crc32(b"IDAT")))


def test_picture_with_transparency_lies_on_white(tmp_path):
    Image.new("RGBA", (300, 200), (255, 0, 0, 0)).save(tmp_path / "clear.png")
    loaded = own_picture.load(tmp_path / "clear.png")
    assert loaded.size == (PHOTO_SIZE, PHOTO_SIZE) and loaded.mode == "RGB" and loaded.getextrema() == ((255, 255),) * 3


def test_picture_of_16_bits_keeps_its_grays(tmp_path):
    values = np.tile(np.linspace(0, 65535, 256, dtype=np.uint16), (256, 1))
    Image.fromarray(values).save(tmp_path / "deep.png")
    row = np.asarray(own_picture.load(tmp_path / "deep.png"))[128, :, 0].astype(int)
    assert row[0] <= 2 and row[-1] >= 253 and abs(row[128] - 128) <= 2


def test_picture_is_turned_upright(tmp_path):
    image = Image.new("RGB", (200, 200), "black")
    image.paste("white", (0, 0, 200, 100))  # the upper half, which EXIF 6 (turn by 90° clockwise) brings to the right
    exif = Image.Exif()
    exif[0x0112] = 6
    image.save(tmp_path / "turned.png", exif=exif)
    loaded = own_picture.load(tmp_path / "turned.png")
    assert loaded.getpixel((240, 128)) == (255, 255, 255) and loaded.getpixel((16, 128)) == (0, 0, 0)


def test_picture_loses_only_its_long_sides(tmp_path):
    image = Image.new("RGB", (400, 200), "blue")
    image.paste("red", (100, 0, 300, 200))
    image.save(tmp_path / "wide.png")
    assert own_picture.load(tmp_path / "wide.png").getextrema()[0][0] > 200, "the middle square"


def test_bad_pictures_are_named(tmp_path):
    (tmp_path / "text.png").write_text("no picture")
    whole = tmp_path / "whole.jpg"
    Image.effect_noise((400, 400), 80).save(whole)
    (tmp_path / "cut.jpg").write_bytes(whole.read_bytes()[:3000])
    write_huge_png(tmp_path / "huge.png")
    for name, words in (("text.png", "not a picture"), ("cut.jpg", "damaged"), ("huge.png", "100 megapixels"),
                       ("none.png", "no such file"), (".", "no such file")):
        with pytest.raises(own_picture.PictureError, match=words) as error:
            own_picture.load(tmp_path / name)
        assert str(tmp_path / name) in str(error.value)


def arguments(tmp_path, **changes) -> argparse.Namespace:
    return argparse.Namespace(**{"image": None, "instruction": None, "port": None, "output": tmp_path / "out", "seed": 0,
                                 **changes})


def test_run_refuses_before_it_starts(tmp_path):
    good = tmp_path / "good.png"
    Image.new("RGB", (40, 40)).save(good)
    (tmp_path / "file").write_text("in the way")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        for changes, word in (({"image": good}, "needs --instruction"), ({"instruction": "edges"}, "needs --image"),
                              ({"port": 0}, "not a port"), ({"port": taken.getsockname()[1]}, "is taken"),
                              ({"output": tmp_path / "file"}, "--output"), ({"output": tmp_path / "file" / "x"}, "--output")):
            with pytest.raises(run.Refused, match=word):
                run.check(arguments(tmp_path, **changes))
    run.check(arguments(tmp_path, image=good, instruction="edge map"))
    assert list((tmp_path / "out").iterdir()) == []


def test_page_is_whole_or_not_there(tmp_path, monkeypatch):
    picture = Image.new("RGB", (8, 8))
    page = Page("<Title>", "<p>intro</p>", [("One", "", [Card("a & b", [Step("edge <b>", [picture], picture, picture, True)],
                                                              1.25)])], [("editing", 0.5, 10)])
    page.write(tmp_path)
    html = (tmp_path / "index.html").read_text(encoding="utf-8")
    assert "&lt;Title&gt;" in html and "a &amp; b" in html and "edge &lt;b&gt;" in html and "50.0%" in html and "✓" in html
    assert sorted(file.name for file in (tmp_path / "pictures").iterdir()) == ["000.png", "001.png", "002.png"]

    def full(*args, **kwargs):
        raise OSError(errno.ENOSPC, "No space left on device")
    monkeypatch.setattr(Image.Image, "save", full)
    with pytest.raises(OSError, match="No space"):
        page.write(tmp_path)
    assert (tmp_path / "index.html").read_text(encoding="utf-8") == html
    assert not list(tmp_path.rglob("*.part"))
    monkeypatch.undo()
    Page("shorter", "", [("One", "", [Card("c", [Step("x", [], picture)])])]).write(tmp_path)
    assert [file.name for file in (tmp_path / "pictures").iterdir()] == ["000.png"]


@pytest.mark.parametrize("title", toys.titles())
def test_every_workflow_has_a_toy_case(title):
    toy = toys.toy(title)
    for picture, region in toy.pictures:
        shown = toys.with_mask(picture, region)
        assert (shown.mode == "RGBA") == (region is not None)
    for sample in toy.steps:
        assert judge(sample, pixels(sample.target))[0]


def test_masks_are_transparency():
    sample = generate(Random(1), "repainting", "inpainting")
    turn = sample.turns[0]
    alpha = np.asarray(toys.with_mask(turn.pictures[0], turn.regions[0]).getchannel("A"))
    assert np.array_equal(alpha == 0, mask_of(turn.regions[0])[0].numpy() == 1)


def test_files_are_small_and_say_how_they_were_made():
    from safetensors import safe_open
    files = sorted(WEIGHTS.glob("*/*.safetensors"))
    assert [file.parent.name for file in files] == ["diffusion_models", "loras", "text_encoders", "vae"]
    assert sum(file.stat().st_size for file in files) < 30e6
    for file in files:
        with safe_open(file, "pt") as opened:
            settings = json.loads(opened.metadata()["training"])
            assert {"steps", "seed"} <= set(settings)
            tensors = {key: opened.get_tensor(key) for key in opened.keys()}  # noqa: SIM118
            assert {tensor.dtype for key, tensor in tensors.items()
                    if key not in ("vae_scale", "vae_shift") and not key.endswith(".alpha")} == {torch.float16}


def test_weighted_loss_is_the_error_of_the_clean_latent():
    """A predictor whose clean latent is off by 0.3 everywhere costs 0.3², at any noise below the ceiling."""
    clean = torch.randn(6, 4, 8, 8, generator=torch.Generator().manual_seed(1))
    batch = Batch(clean[None], torch.ones(1, 6, 1, 8, 8), [[""] * 6], torch.zeros(1, 6))
    timestep = torch.tensor([20, 200, 400, 500, 600, 700])

    def off(x, t):
        signal, noise = (table[t].view(-1, 1, 1, 1) for table in diffusion.signal_and_noise())
        return (x - signal * (clean + 0.3)) / noise
    loss = diffusion.training_loss(off, clean, torch.Generator().manual_seed(0), timestep, train.weights(batch, timestep))
    assert abs(loss - 0.3**2) < 1e-4


def test_an_edit_weighs_four_times_where_it_changes_something():
    before, after = torch.zeros(1, 1, 4, 8, 8), torch.zeros(1, 1, 4, 8, 8)
    after[..., :4, :] = 1
    timestep = torch.tensor([500])
    both = Batch(torch.cat([after, before]), torch.ones(2, 1, 1, 8, 8), [[""], [""]], torch.zeros(2, 1))
    weight = train.weights(both, timestep)
    alone = train.weights(Batch(after, torch.ones(1, 1, 1, 8, 8), [[""]], torch.zeros(1, 1)), timestep)
    assert torch.allclose(weight[0, 0, 0] / weight[0, 0, 7], torch.tensor(4.0)) and torch.allclose(weight.mean(), alone.mean())


def test_bank_keeps_the_newest_samples():
    bank = train.Bank(train_autoencoder.load("cpu"), 5, "cpu", fast=False)
    chunks = train.Chunks(0, 2)
    made = [frames for i in range(4) for frames in chunks[i]]
    for i in range(4):
        bank.add(chunks[i])
    assert len(bank) == 5 and [bank[i][2] for i in range(5)] == [frames.texts for frames in made[-5:]]
    batch = bank.draw(Random(0), 12)
    assert len(batch.texts) == len(batch.latents) == len(batch.masks)


def test_batches_of_photographs_have_as_many_cells_as_those_of_scenes():
    bank = train.Bank(train_autoencoder.load("cpu"), 8, "cpu", fast=False)
    scene, photograph = Picture(SCENE), Picture(photo=0)
    for picture in (scene, photograph):
        sample = Sample("visual analysis", "edge", (Turn("edge map of {image}", (picture,)),), replace(picture, view="edge"))
        bank.add(frames_of([sample]))
    sizes = {tuple(bank.draw(Random(seed), 8).latents[0].shape) for seed in range(12)}
    assert sizes == {(8, 4, 16, 16), (2, 4, 32, 32)}


def test_the_autoencoder_in_pieces_is_the_autoencoder_in_one_go(tmp_path):
    def run(name, *pause):
        file, threads = tmp_path / f"{name}.safetensors", str(torch.get_num_threads())
        arguments = ["--steps", "2", "--batch", "1", "--threads", threads, "--checkpoint", str(tmp_path / name), *pause]
        train_autoencoder.train(train_autoencoder.parser().parse_args([*arguments, "--out", str(file)]))
        return load_file(file)
    whole, begun, pieces = run("whole"), run("pieces", "--minutes", "1e-9"), run("pieces")
    assert all(torch.equal(pieces[key], whole[key]) for key in whole)
    assert any(not torch.equal(begun[key], whole[key]) for key in whole)


def test_scenes_and_photographs_are_rendered_together_in_order():
    pictures = [Picture(photo=0), Picture(SCENE), Picture(photo=-1, view="edge")]
    for picture, shown in zip(pictures, render_each(pictures), strict=True):
        assert shown.shape == (3, picture.size, picture.size) and torch.equal(shown, pixels(picture))
    with pytest.raises(ValueError, match="render_each"):
        render(pictures)


def test_lines_grow_with_the_picture():
    """The outlines of a disc: on twice the side they cover the same share of the picture."""
    def disc(side):
        y, x = torch.meshgrid(*[(torch.arange(side) + 0.5) / side - 0.5] * 2, indexing="ij")
        return ((0.3 - torch.hypot(x, y)) * side + 0.5).clamp(0, 1).expand(1, 3, -1, -1) * 0.6
    for view in ("edge", "scribble", "contour"):
        small, large = (views.apply(view, disc(side), [0]).mean() for side in (128, 256))
        assert abs(large - small) < 0.1 * min(small, 1 - small)


def test_the_depth_guess_follows_its_cues():
    """Low in the picture is nearer than high; at one height red is nearer than blue, dark nearer than light."""
    gray = views.apply("depth", torch.full((1, 3, 64, 64), 0.5), [0])[0, 0]
    assert (gray.diff(dim=0) > 0).all() and gray.diff(dim=1).abs().max() < 1e-6
    for near, far in (((0.8, 0.1, 0.1), (0.1, 0.1, 0.8)), ((0.1, 0.1, 0.1), (0.7, 0.7, 0.7))):
        halves = torch.tensor([near, far]).T[None, :, None].repeat_interleave(64, 2).repeat_interleave(32, 3)
        row = views.apply("depth", halves, [0])[0, 0, 32]
        assert row[10] - row[-10] > 0.3


def test_readme_has_the_score():
    table = score.table(json.loads(score.REPORT.read_text(encoding="utf-8")))
    assert table in score.README.read_text(encoding="utf-8"), "run: python -m demo.score --publish"
