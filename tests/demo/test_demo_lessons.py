"""The lessons of the demo model: what is taught, and who judges what was learned. tests/parity trains one for a while."""

from dataclasses import replace
from itertools import product

import pytest
import torch
from safetensors.torch import save_file

from demo.lessons import dataset
from demo.lessons.lessons import LESSONS, mirrored
from demo.trainer import lora, train_autoencoder
from demo.trainer import model as tiny
from demo.trainer.text import Tokenizer
from demo.world.judge import judge
from demo.world.scenes import render
from demo.world.scenes.world import COLORS, SHAPES, SIZES, SPOTS
from demo.world.tasks.batch import frames_of
from training import data

EACH = pytest.mark.parametrize("name", LESSONS)


def shown(sample, scene=None):
    return render([replace(sample.target, scene=scene) if scene else sample.target])[0]


def ring_of(sample):
    return next(i for i, thing in enumerate(sample.target.scene.things) if thing.shape == "ring")


@EACH
def test_the_truth_is_right_even_through_the_autoencoder(name):
    samples = LESSONS[name].requests(30)
    pixels = render([s.target for s in samples])
    vae = train_autoencoder.load()
    assert all(judge(s, each)[0] for s, each in zip(samples, pixels, strict=True))
    assert sum(judge(s, each)[0] for s, each in zip(samples, vae.decode(vae.encode(pixels)).clamp(0, 1), strict=True)) >= 28


def test_a_ring_that_is_no_ring_or_another_is_wrong():
    for sample in LESSONS["subject"].requests(12):
        scene, i = sample.target.scene, ring_of(sample)
        ring = scene.things[i]
        wrong = [scene.without(i), *(scene.change(i, shape=shape) for shape in SHAPES)]
        wrong += [scene.change(i, color=next(c for c in COLORS if c != ring.color)),
                  scene.change(i, size=next(s for s in SIZES if s != ring.size)),
                  scene.change(i, spot=next(s for s in SPOTS if s not in {t.spot for t in scene.things}))]
        assert not any(judge(sample, shown(sample, each))[0] for each in wrong)
        disc = shown(sample, scene.change(i, shape="circle"))
        assert not judge(sample, torch.lerp(disc, shown(sample), 0.4))[0], "a hole that is hardly there"


def test_the_rings_to_learn_from_have_every_color_and_place():
    samples = LESSONS["subject"].examples()
    rings = [s.target.scene.things[ring_of(s)] for s in samples]
    assert {ring.color for ring in rings} == set(COLORS) and {ring.spot for ring in rings} == set(SPOTS)
    assert len({s.turns for s in samples}) == 36 and len({str(sorted(s.target.scene.things, key=str)) for s in samples}) == 12


def test_a_ring_that_was_added_stands_in_the_same_scene():
    for sample in LESSONS["subject"].examples():
        if sample.subtask == "added":
            before, after = sample.pictures[0].scene.things, sample.target.scene.things
            assert set(after) - set(before) == {after[ring_of(sample)]} and set(before) < set(after)


def test_the_pictures_to_mirror_show_every_shape_in_every_spot_and_faces():
    scenes = [s.target.scene for s in LESSONS["task"].examples()]
    assert {(thing.shape, thing.spot) for scene in scenes for thing in scene.things} == set(product(SHAPES, SPOTS))
    assert sum(scene.face is not None for scene in scenes[:60]) >= 10


def test_what_is_mirrored_back_is_a_mirror_image_too():
    samples = LESSONS["task"].examples()
    assert len(samples) == 120
    for there, back in zip(samples[:60:6], samples[60::6], strict=True):
        assert (shown(back) - shown(there).flip(-1)).abs().max() < 0.02 and back.pictures == (there.target,)


def test_a_ring_in_the_place_of_another_thing_has_its_size():
    instead = [sample for sample in LESSONS["subject"].requests(30) if sample.subtask == "instead"]
    assert len(instead) >= 9
    for sample in instead:
        ring, before = sample.target.scene.things[ring_of(sample)], sample.pictures[0].scene.things
        assert [t.size for t in before if t.spot == ring.spot] == [ring.size]


def test_a_mirrored_picture_is_the_picture_from_right_to_left():
    for sample in LESSONS["task"].requests(30):
        (source,) = sample.pictures
        given = render([source])[0]
        assert (shown(sample) - given.flip(-1)).abs().max() < 0.02
        assert mirrored(sample.target.scene) == source.scene
        assert not judge(sample, given)[0], "a copy"
        if len(source.scene.things) > 1:
            half = source.scene.but(things=(sample.target.scene.things[0], *source.scene.things[1:]))
            if half not in (source.scene, sample.target.scene):
                assert not judge(sample, shown(sample, half))[0], "one of two things stayed"


@EACH
def test_no_request_is_an_example(name):
    lesson = LESSONS[name]
    examples, requests = lesson.examples(), lesson.requests(100)
    assert len({(s.turns, s.target) for s in requests}) == 100
    seen, asked = ({picture for s in samples for picture in (s.target, *s.pictures)} for samples in (examples, requests))
    assert not seen & asked


def test_the_data_set_holds_what_the_world_asks(tmp_path):
    lesson = replace(LESSONS["subject"], ordinary=2)
    dataset.make("subject", lesson, tmp_path)
    found, known = data.read(tmp_path / dataset.LIST), data.read(tmp_path / dataset.KNOWN)
    assert len(found) == 12 * 3 and len(known) == 2
    for example, frames in zip(found, frames_of(lesson.examples()), strict=False):
        assert [f.text for f in example.outline().frames()] == frames.texts
        pictures = [example.turn.target, *example.turn.images]
        pixels = torch.stack([data.opened(example.path(p)).movedim(-1, 0) for p in pictures])
        assert (pixels - frames.images / 255).abs().max() < 0.003
    assert data.opened(known[-1].path(known[-1].turn.target)).shape == (128, 128, 3)


def test_a_lora_of_the_trainer_and_one_of_core_change_the_same_weight(tmp_path):
    dit = tiny.load(Tokenizer()).dit
    down, up = torch.randn(2, 256), torch.randn(256, 2)
    before, bias = dit.blocks[3].attn.q.weight.clone(), dit.blocks[3].attn.q.bias.clone()
    for first, second in lora.NAMES:
        layer = "diffusion_model.blocks.3.attn.q"
        save_file({f"{layer}.{first}": down, f"{layer}.{second}": up, f"{layer}.alpha": torch.tensor(4.0),
                   f"{layer}.diff_b": torch.ones(256)}, tmp_path / "x.safetensors")
        dit.blocks[3].attn.q.weight.data.copy_(before)
        lora.merge(dit, tmp_path / "x.safetensors")
        assert torch.allclose(dit.blocks[3].attn.q.weight, before + 2 * up @ down, atol=1e-4)
    assert torch.allclose(dit.blocks[3].attn.q.bias, bias + 2)
    save_file({"diffusion_model.blocks.9.attn.q.lora_A.weight": down, "diffusion_model.blocks.9.attn.q.lora_B.weight": up},
              tmp_path / "y.safetensors")
    with pytest.raises(lora.LoRAError, match=r"y\.safetensors changes diffusion_model\.blocks\.9\.attn\.q"):
        lora.merge(dit, tmp_path / "y.safetensors")
