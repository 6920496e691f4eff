"""What examples become, kept and found again; which of them a step learns from. tests/parity/test_training.py holds the numbers
to the nodes' own."""

import json
from collections import Counter

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from training import data
from training.batches import Batches, bucket
from training.cache import Cache
from training.encode import SCALE, Encoder, Encoders
from training.formats import DataError

TEXTS, PICTURES = [], []


def encoders(text="text 1", picture="vae 1"):
    """Real enough to tell texts and pictures apart: a number per letter, and means of 8×8 pixels."""
    def encode_text(words):
        TEXTS.append(words)
        return torch.tensor([[ord(letter) / 100, len(words)] for letter in words or " "])

    def encode_picture(pixels):
        PICTURES.append(tuple(pixels.shape))
        means = torch.nn.functional.avg_pool2d(pixels.permute(2, 0, 1)[None], 8)[0]
        return torch.cat([means, means[:1]])
    return Encoders(encode_text, encode_picture, text, picture)


@pytest.fixture(autouse=True)
def forget():
    TEXTS.clear()
    PICTURES.clear()


def draw(path, color, size=(64, 32)):
    Image.new("RGB", size, color).save(path)


@pytest.fixture
def examples(tmp_path):
    """Three turns of which the second and third are learned; the third looks like an edit of its own."""
    for i, name in enumerate(("one", "two", "three", "style")):
        draw(tmp_path / f"{name}.png", (60 * i + 10, 0, 0))
    mask = Image.new("L", (64, 32))
    mask.paste(255, (0, 0, 32, 32))
    mask.save(tmp_path / "mask.png")

    def turn(name, parent, words, images, target):
        return {"id": name, "parent": parent, "instruction": words, "images": images, "target": {"file": target}}
    one, style = {"file": "one.png"}, {"file": "style.png"}
    turns = [turn("a", None, "make {image} red", [one], "two.png") | {"masks": [{"file": "mask.png"}]},
             turn("b", "a", "now {image} in the style of {image1}", [{"answer_of": "a"}, style], "three.png"),
             turn("c", "a", "{image} as {previous.image} was", [style], "one.png")]
    (tmp_path / "turns.jsonl").write_text(json.dumps({"version": 1, "at": "b", "turns": turns}))
    return data.read(tmp_path)


def test_frames(examples):
    first, second, third = map(Encoder(encoders()), examples)
    now = "now {image1} in the style of {image2}"
    assert second.words == (now, "make {image} red", now, now)
    assert second.negative_words == ("", "make {image} red", now, "")
    reds = [round(float(latent[0, 0, 0]) / SCALE * 255) for latent in second.latents]
    assert reds == [130, 10, 70, 190] and {tuple(latent.shape) for latent in second.latents} == {(4, 4, 8)}
    assert [float(mask.mean()) for mask in second.masks] == [1, 0.5, 1, 1]
    assert [float(mask.mean()) for mask in first.masks] == [0.5, 0.5], "the target has the mask of the picture that it edits"
    assert [len(text) for text in second.texts] == [37, 16, 37, 37] and len(second.negatives[0]) == 1
    assert torch.equal(second.names, torch.tensor([[ord("{") / 100, 7.0]] + [[ord("{") / 100, 8.0]] * 9))


def test_without_history(examples):
    first, second, third = map(Encoder(encoders()), examples)
    assert first.recent is None, "there is none"
    assert third.recent is None, "it names a picture that is history"
    assert second.recent.words == ("now {image} in the style of {image1}",) * 3
    assert second.recent.negative_words == ("", "now {image} in the style of {image1}", "")
    assert all(torch.equal(a, second.latents[i]) for a, i in zip(second.recent.latents, (0, 2, 3), strict=True))


def test_each_text_and_picture_is_encoded_once(examples, tmp_path):
    encoder = Encoder(encoders(), tmp_path / "cache")
    encoder.prepare(examples)
    assert len(TEXTS) == len(set(TEXTS)) and "" in TEXTS
    assert len(PICTURES) == 6, "three targets, and three sources: one.png with its mask, two.png, style.png"
    encoded = [encoder(each) for each in examples]
    again = Encoder(encoders(), tmp_path / "cache")
    for old, new in zip(encoded, map(again, examples), strict=True):
        assert all(torch.equal(a, b) for a, b in zip(old.latents + old.masks + old.texts, new.latents + new.masks + new.texts,
                                                     strict=True))
    assert len(PICTURES) == 6 and len(TEXTS) == len(set(TEXTS)), "another run finds them on the disk"


def test_what_makes_it_anew(examples, tmp_path):
    def count(encoder):
        TEXTS.clear()
        PICTURES.clear()
        encoder.prepare(examples[:1])
        return len(TEXTS) > 0, len(PICTURES)
    cache = tmp_path / "cache"
    assert count(Encoder(encoders(), cache)) == (True, 2)
    assert count(Encoder(encoders(), cache)) == (False, 0)
    assert count(Encoder(encoders(text="text 2"), cache)) == (True, 0)
    assert count(Encoder(encoders(picture="vae 2"), cache)) == (False, 2)
    assert count(Encoder(encoders(), cache, budget=4)) == (False, 2)
    (tmp_path / "one.png").rename(tmp_path / "moved.png")
    (tmp_path / "moved.png").rename(tmp_path / "one.png")
    assert count(Encoder(encoders(), cache)) == (False, 0), "another time, the same content"
    draw(tmp_path / "mask.png", (255, 255, 255))
    assert count(Encoder(encoders(), cache)) == (False, 2), "another mask"
    draw(tmp_path / "one.png", (9, 9, 9))
    assert count(Encoder(encoders(), cache)) == (False, 2), "another source: the target's mask could differ"


def test_damaged_files_are_made_anew(examples, tmp_path):
    cache = tmp_path / "cache"
    right = Encoder(encoders(), cache)(examples[1])
    files = sorted(cache.rglob("*.safetensors"))
    for i, path in enumerate(files):
        whole = path.read_bytes()
        path.write_bytes([whole[:len(whole) // 2], b"", whole[:-1] + bytes([whole[-1] ^ 1]), b"x" * len(whole)][i % 4])
    PICTURES.clear()
    given = Encoder(encoders(), cache)(examples[1])
    assert len(PICTURES) == 4
    assert all(torch.equal(a, b) for a, b in zip(right.latents + right.texts, given.latents + given.texts, strict=True))
    assert sorted(cache.rglob("*")) == sorted({*files, *(path.parent for path in files)}), "nothing half-written stays"
    save_file({"other": torch.zeros(1)}, files[0])
    Encoder(encoders(), cache)(examples[1])
    assert "other" not in load_file(files[0])


def test_memory_is_bounded(tmp_path):
    cache, big = Cache(tmp_path, memory=10_000), torch.ones(1000)
    for i in range(5):
        cache.keep(f"key{i}", {"x": big * i})
    assert cache.held == 8000
    assert all(float(cache.get(f"key{i}")["x"][0]) == i for i in range(5)) and cache.held == 8000
    cache.keep("key4", {"x": big[:1]})
    assert cache.held == 4004
    endless = Cache(None, memory=0)
    endless.keep("a", {"x": big}), endless.keep("b", {"x": big})
    assert "a" in endless and "b" in endless, "without a disk nothing may be forgotten"


def test_what_is_kept_can_be_learned_from(tmp_path):
    """Under inference mode, as in a node, tensors cannot be: the cache gives others."""
    with torch.inference_mode():
        kept = Cache(None).keep("a", {"x": torch.ones(2)})["x"]
    weight = torch.ones(2, requires_grad=True)
    (kept * weight).sum().backward()
    assert torch.equal(weight.grad, torch.ones(2))


def test_a_full_disk_is_named(tmp_path, monkeypatch):
    (tmp_path / "cache").write_text("a file where the folder should be")
    with pytest.raises(DataError, match="cache cannot be written"):
        Cache(tmp_path / "cache").keep("key", {"x": torch.ones(1)})


# ---- batches

def test_buckets_are_sizes(examples, tmp_path):
    first, second, _ = map(Encoder(encoders()), examples)
    assert bucket(first) == ((4, 8), (4, 8)) and bucket(second) == ((4, 8),) * 4
    assert bucket(second.recent) == ((4, 8),) * 3


@pytest.mark.parametrize(("buckets", "batch"), [("a", 1), ("a", 4), ("a" * 12, 1), ("a" * 12, 8), ("aabbbcddddd", 4),
                                                ("abab", 3)])
def test_every_example_comes_equally_often(buckets, batch):
    batches = Batches(buckets, batch, seed=3)
    for epoch in range(3):
        steps = [batches(step) for step in range(epoch * batches.epoch, (epoch + 1) * batches.epoch)]
        assert all(len(each) == batch and len({buckets[i] for i in each}) == 1 for each in steps)
        assert Counter(i for each in steps for i in each) == dict.fromkeys(range(len(buckets)), batch)


def test_no_example_comes_twice_before_all_others_came_once():
    batches = Batches("a" * 12, 4, seed=1)
    rows = [i for step in range(60) for i in batches(step)]
    rounds = [rows[start:start + 12] for start in range(0, 240, 12)]
    assert all(sorted(each) == list(range(12)) for each in rounds) and len(set(map(tuple, rounds))) == 20


def test_a_step_depends_on_seed_and_number_alone():
    buckets = "aabbbcddddd" * 20
    ahead = [Batches(buckets, 4, seed=5)(step) for step in (1000, 3, 500)]
    row = Batches(buckets, 4, seed=5)
    assert [[row(step) for step in range(1001)][step] for step in (1000, 3, 500)] == ahead
    assert [Batches(buckets, 4, seed=6)(step) for step in (1000, 3, 500)] != ahead
