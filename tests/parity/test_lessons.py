"""The trainer teaches the demo model a shape that it never saw, from the files of a data set to the answers of a LoRA."""

from dataclasses import replace

import pytest
import torch

pytest.importorskip("peft", reason="training's extras are not installed")

from demo.lessons import compare, dataset
from demo.lessons.lessons import LESSONS
from demo.trainer import model as tiny
from demo.trainer import train_autoencoder
from demo.trainer.text import Tokenizer
from training import data, lora
from training.encode import Encoder, Encoders
from training.feed import Feed
from training.loop import Loop, rate
from training.network import Network, frozen
from training.objectives import ace

STEPS, CASES = 200, 24


def encoders(model, vae):
    """The demo's own, without ComfyUI."""
    @torch.no_grad()
    def text(words):
        return model.features(*model.tokenizer.batch([words]))[0]

    @torch.no_grad()
    def picture(pixels):
        return vae.encode(pixels.movedim(-1, 0)[None])[0] / 0.18215
    return Encoders(text, picture, "t5", "vae")


def test_a_subject_is_learned_within_a_minute(tmp_path):
    lesson = replace(LESSONS["subject"], ordinary=0)
    dataset.make("subject", lesson, tmp_path)
    model = tiny.load(Tokenizer())
    encoder = Encoder(encoders(model, train_autoencoder.load()), tmp_path / "cache")
    examples = [encoder(each) for each in data.read(tmp_path / dataset.LIST)]
    dit = frozen({key: value.clone() for key, value in model.dit.state_dict().items()}, model.dit.config, "float32", False)
    live = lora.add(dit, 8, 8)
    network, feed = Network(dit, encoder.features), Feed(examples.__getitem__, len(examples), batch=8)
    loop = Loop(live, [torch.optim.AdamW(live.values(), weight_decay=0.01)], rate("cosine", 3e-3, 10, STEPS))

    def work(step):
        loss = ace(network, *feed(step, 0), min_snr=0.02)
        yield loss, loss
    loop.run(work, STEPS)
    file = lora.save_file(tmp_path / "ring.safetensors", live, 8, {}, "fp16")
    before, after = compare.compare("a ring", lesson.requests(CASES), compare.answerers(file))
    assert before <= 0.1 and after >= 0.4
