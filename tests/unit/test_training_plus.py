"""ACE++'s examples and loss, held against canvases made by hand and against the paper's formula."""

import json
import math

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from ace_model.errors import InputError
from training import data, plus
from training.draws import Draws
from training.feed import together
from training.formats import DataError
from training.network import Batch
from training.settings import Plus

RED, GREEN, BLUE, GRAY = (1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0), (0.5, 0.5, 0.5)


def draw(path, color, size):
    Image.new("RGB", size, tuple(round(255 * each) for each in color)).save(path)


@pytest.fixture
def folder(tmp_path):
    """A red picture and a green reference, blue as the target, and a mask of the picture's left half."""
    draw(tmp_path / "picture.png", RED, (64, 32))
    draw(tmp_path / "reference.png", GREEN, (32, 64))
    draw(tmp_path / "target.png", BLUE, (64, 32))
    mask = Image.new("L", (64, 32))
    mask.paste(255, (0, 0, 32, 32))
    mask.save(tmp_path / "mask.png")
    return tmp_path


def turn(images, masks=(), words="put it there", **more):
    return {"id": "t", "instruction": words, "images": [{"file": each} for each in images],
            "masks": [each and {"file": each} for each in masks], "target": {"file": "target.png"}, **more}


def examples(folder, *turns, **more):
    lines = [json.dumps({"version": 1, "at": "t", "turns": [each]}) for each in turns]
    (folder / "turns.jsonl").write_text("\n".join(lines))
    return data.read(folder / "turns.jsonl", **more)


def canvas(example, options=None, budget=4096):
    return plus.canvas_of(example.record, example.folder, options or Plus(), budget)


def painted(height, *columns):
    """(1, height, …, 3): columns of one color each, left to right, (width, color)."""
    return torch.cat([torch.tensor(color).expand(1, height, width, 3) for width, color in columns], dim=2)


def near(given, expected):
    return given.shape == expected.shape and (given - expected).abs().max() < 2 / 255


def test_a_reference_and_a_picture_with_a_mask(folder):
    """The reference (1:2) gets the picture's height of 32 and stands on the left; under its mask the picture is gray."""
    one, = examples(folder, turn(["picture.png", "reference.png"], ["mask.png"]))
    made = canvas(one)
    assert near(made.pixels, painted(32, (16, GREEN), (32, GRAY), (32, RED)))
    assert torch.equal(made.mask, painted(32, (16, (0.0,) * 3), (32, (1.0,) * 3), (32, (0.0,) * 3))[..., 0])
    assert near(plus.clean_of(data.opened(folder / "target.png"), made), painted(32, (16, GREEN), (64, BLUE)))


def test_a_reference_alone_makes_a_new_picture_of_the_target_s_size(folder):
    draw(folder / "target.png", BLUE, (48, 32))
    one, = examples(folder, turn(["reference.png"]))
    made = canvas(one)
    assert near(made.pixels, painted(32, (16, GREEN), (48, GRAY)))
    assert made.mask[:, :, :16].eq(0).all() and made.mask[:, :, 16:].eq(1).all()


@pytest.mark.parametrize("strength, color", [(None, (0.75, 0.25, 0.25)), (1.0, GRAY), (0.0, RED)])
def test_local_editing_sees_half_of_what_is_under_the_mask(folder, strength, color):
    one, = examples(folder, turn(["picture.png"], ["mask.png"]))
    assert near(canvas(one, Plus(fill_strength=strength)).pixels, painted(32, (32, color), (32, RED)))


def test_other_shapes_and_small_budgets(folder):
    """A target of another shape than the picture: the picture's middle is used, as ACE++ Canvas does it."""
    draw(folder / "target.png", BLUE, (64, 64))
    one, = examples(folder, turn(["picture.png", "reference.png"], ["mask.png"]))
    made = canvas(one)
    assert made.layout.canvas == (64, 96) and made.layout.window.size == (32, 32)
    draw(folder / "picture.png", RED, (640, 320))
    draw(folder / "target.png", BLUE, (640, 320))
    wide, = examples(folder, turn(["picture.png"], ["mask.png"]))
    assert canvas(wide, budget=200).layout.tokens <= 200
    draw(folder / "target.png", BLUE, (640, 64))
    long, = examples(folder, turn(["reference.png"]))
    made = canvas(long)
    assert made.layout.output == (64, 256)
    assert plus.clean_of(data.opened(folder / "target.png"), made).shape == made.pixels.shape


def test_what_cannot_be_learned_is_said(folder):
    bad = [turn([]), turn(["picture.png"] * 2, ["mask.png"] * 2), turn(["reference.png"], words="word " * 600)]
    first = {"id": "s", "instruction": "x", "images": [{"file": "picture.png"}], "target": {"file": "target.png"}}
    back = {"version": 1, "at": "t", "turns": [first, turn(["reference.png"], words="as {previous.image}", parent="s")]}
    found = examples(folder, *bad)
    (folder / "turns.jsonl").write_text(json.dumps(back))
    problems, largest = plus.check([*found, *data.read(folder)[1:]], Plus(), 4096, lambda words: [*words.split(), 1])
    assert [where for where, _ in problems] == ["turns.jsonl:1", "turns.jsonl:2", "turns.jsonl:3", "turns.jsonl:1"]
    expected = ("there is no picture beside the target", "2 pictures have a mask, but ACE++ edits one",
                "has 601 tokens, but ACE++ reads 512", "names {previous.image}, but ACE++ knows no")
    assert all(said in what for (_, what), said in zip(problems, expected, strict=True))
    assert largest == (32, 80)


# ---- the loss

def test_the_loss_is_the_paper_s():
    """Velocity noise − x0, mean squared over reference and target, on x = (1 − σ)·x0 + σ·noise; σ is a logistic normal's."""
    clean, shown = torch.randn(3, 16, 4, 6), torch.randn(3, 16, 4, 6)
    mask = torch.ones(3, 1, 32, 48, dtype=torch.bool)
    seen = {}

    class Network:
        def velocity(self, noisy, sigma, batch):
            seen.update(noisy=noisy, sigma=sigma, shown=batch.latents[1])
            return torch.full_like(noisy, 0.25)
    loss = plus.objective(Network(), Batch([clean, shown], [mask], [["x"] * 3]), Draws(5, 6, range(3)))
    level = seen["sigma"].reshape(3, 1, 1, 1)
    noise = (seen["noisy"] - (1 - level) * clean) / level
    assert abs(noise.mean()) < 0.1 and abs(noise.std() - 1) < 0.1
    assert loss == pytest.approx(((0.25 - (noise - clean)) ** 2).mean().item(), rel=1e-4)
    assert torch.equal(seen["shown"], shown), "conditions stay clean"

    class Spy(Network):
        def velocity(self, noisy, sigma, batch):
            seen["sigma"] = sigma
            return noisy
    many = torch.zeros(4000, 16, 1, 1)
    plus.objective(Spy(), Batch([many, many], [], [[]]), Draws(0, 0, range(4000)))
    expected = torch.tensor([1 / (1 + math.exp(0.6745)), 0.5, 1 / (1 + math.exp(-0.6745))])  # quartiles
    assert (seen["sigma"].quantile(torch.tensor([0.25, 0.5, 0.75])) - expected).abs().max() < 0.02


def test_errors_count_everywhere():
    clean = torch.zeros(1, 16, 2, 4)

    def loss(columns):
        class Network:
            def velocity(self, noisy, sigma, batch):
                right = noisy / sigma  # noise − 0, exactly
                right[..., columns] += 1
                return right
        return plus.objective(Network(), Batch([clean, clean], [], [["x"]]), Draws(1, 1, range(1))).item()
    assert loss(slice(0, 0)) == pytest.approx(0, abs=1e-9)
    assert loss(slice(0, 1)) == pytest.approx(0.25, rel=1e-4) == loss(slice(3, 4)), "reference and target alike"


# ---- encoding

def encoders(made):
    def encode_picture(pixels):
        made.append(tuple(pixels.shape))
        means = torch.nn.functional.avg_pool2d(pixels.permute(2, 0, 1)[None], 8)[0]
        return means.repeat(6, 1, 1)[:16]
    def encode_text(words):
        return {"text": torch.full((4, 3), float(len(words))), "pooled": torch.zeros(2)}
    return plus.Encoders(encode_text, encode_picture, "both")


def test_canvases_are_encoded_once_and_anew_when_something_changes(folder, tmp_path):
    one, = examples(folder, turn(["picture.png", "reference.png"], ["mask.png"]))
    made = []

    def encoder(options=None, split=False):
        made.clear()
        return plus.Encoder(encoders(made), tmp_path / "cache", options or Plus(), 4096, split)
    first = encoder()
    first.prepare([one])
    assert made == [(32, 80, 3)] * 2 and first(one).latents[0].shape == (16, 4, 10) and first(one).masks[0].shape == (1, 32, 80)
    assert {tuple(load_file(path)) for path in (tmp_path / "cache").rglob("*.safetensors")} == {
        ("pooled", "text"), ("canvas", "clean", "mask")}
    encoder()(one)
    assert not made
    encoder(Plus(fill_strength=0.3))(one)
    assert made
    three = encoder(split=True)(one).latents
    assert len(made) == len(three) == 3
    draw(folder / "target.png", RED, (64, 32))
    encoder()(one)
    assert made
    batch = together([first(one), first(one)], [False, True])
    assert batch.texts == [["put it there", ""]] and [tuple(x.shape) for x in batch.latents] == [(2, 16, 4, 10)] * 2
    assert tuple(batch.masks[0].shape) == (2, 1, 32, 80)


def test_sampling_starts_at_the_shifted_noise_levels():
    """ModelSamplingFlux at 4096 tokens: shift 1.15; at 256: 0.5."""
    for tokens, shift in ((4096, 1.15), (256, 0.5)):
        found = plus.sigmas(tokens, 4)
        expected = [math.exp(shift) / (math.exp(shift) + 1 / t - 1) for t in (1, 0.75, 0.5, 0.25)]
        assert found.tolist() == pytest.approx([*expected, 0], abs=1e-6)


def test_a_picture_that_is_gone_is_named(folder):
    one, = examples(folder, turn(["reference.png"]))
    (folder / "reference.png").unlink()
    with pytest.raises(DataError, match="reference.png"):
        canvas(one)
    assert issubclass(DataError, InputError)
