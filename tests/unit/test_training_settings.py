"""The settings file: what is wrong is said with its line and what was probably meant."""

import re
from dataclasses import fields, is_dataclass, replace
from pathlib import Path

import pytest

from training import settings
from training.settings import SettingsError, read

LEAST = "data: set\noutput: run\nmodel: {diffusion: a.pth, text_encoder: t5.safetensors, vae: vae.safetensors}\n"


def written(folder, text):
    path = folder / "teach.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_the_least_file_has_defaults_and_paths_beside_it(tmp_path):
    (tmp_path / "a.pth").touch()
    found = read(written(tmp_path, LEAST))
    assert found.data.path == tmp_path / "set" and found.output == tmp_path / "run"
    assert found.model.diffusion == str(tmp_path / "a.pth") and found.model.vae == "vae.safetensors", "a name, if no such file"
    assert (found.lora, found.optimizer, found.train) == (settings.LoRA(), settings.Optimizer(), settings.Train())


def test_every_kind_of_value(tmp_path):
    text = LEAST.replace("data: set", "data: {path: after, controls: [before, /abs]}")
    found = read(written(tmp_path, text.replace("vae:", "checkpointing: false, vae:") + """
lora: {rank: 8, alpha: 4, targets: [attn.q, mlp.fc1], save_as: bf16}
optimizer: {rate: 1e-4, schedule: cosine, warmup: 10}
train: {steps: 2000, ema: 0.99, seed: 7}
samples: {every: 0, requests: [one.json, {instruction: hello}]}
save: {every: 50, keep: 5}
"""))
    assert found.data.controls == (tmp_path / "before", Path("/abs")) and found.lora.targets == ("attn.q", "mlp.fc1")
    assert found.optimizer.rate == 1e-4 and found.lora.alpha == 4.0 and isinstance(found.lora.alpha, float)
    assert found.model.checkpointing is False
    assert found.samples.requests == ("one.json", {"instruction": "hello"}) and found.save.keep == 5


@pytest.mark.parametrize("text, said", [
    (LEAST + "lora:\n  rnak: 8\n", r"teach.yaml, line 5: lora.rnak is no setting: did you mean rank\? Here are rank, alpha"),
    (LEAST + "rank: 8\n", r"line 4: rank is no setting: did you mean lora.rank\?"),
    (LEAST + "trian: {}\n", r"line 4: trian is no setting: did you mean train\?"),
    (LEAST + "train: {batch: 0}\n", r"line 4: train.batch is 0, but must be a whole number from 1 to 4096"),
    (LEAST + "train: {batch: 1.5}\n", "train.batch is 1.5, but must be a whole number"),
    (LEAST + "train: {batch: true}\n", "train.batch is True"),
    (LEAST + "optimizer: {rate: fast}\n", "optimizer.rate is fast, but must be a number from 0 to 10"),
    (LEAST + "optimizer: {kind: adam8bit}\n", r"must be one of adamw, adamw8bit: did you mean adamw8bit\?"),
    (LEAST + "lora: {targets: 'blocks.(attn'}\n", r"lora.targets is blocks.\(attn, which is no regular expression"),
    (LEAST.replace("data: set", "data: {path: set, preserve: a.jsonl}") + "train: {objective: consistency}\n",
     "line 1: data.preserve goes with train.objective ace, and that is consistency: leave data.preserve out"),
    (LEAST + "lora: 16\n", "lora is 16, but must hold keys: rank, alpha"),
    (LEAST + "model: {}\n", "line 4: model stands a second time .first in line 3.: leave one out"),
    (LEAST.replace("output: run\n", ""), "output is missing: set it"),
    (LEAST.replace("vae: vae.safetensors", ""), "line 3: model.vae is missing"),
    (LEAST.replace("a.pth", "[1]"), "model.diffusion is .* must be a word"),
    ("data: [set\n", r"line \d: this is no YAML"), ("", "data is missing"), ("- a\n", "the file is .* must hold keys: data")])
def test_what_is_wrong_is_said(tmp_path, text, said):
    with pytest.raises(SettingsError, match=said):
        read(written(tmp_path, text))


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(SettingsError, match="is not there"):
        read(tmp_path / "no.yaml")
    (tmp_path / "latin.yaml").write_bytes("data: caf\xe9".encode("latin-1"))
    with pytest.raises(SettingsError, match="not UTF-8"):
        read(tmp_path / "latin.yaml")


def test_the_page_shows_every_key_at_its_default(tmp_path):
    page = (Path(__file__).parents[2] / "docs" / "training.md").read_text(encoding="utf-8")
    shown = re.search(r"```yaml\n(data:\n  path: my set .*?)```", page, re.DOTALL)[1]
    (tmp_path / "settings.yaml").write_text(shown, encoding="utf-8")
    found = read(tmp_path / "settings.yaml")
    needed = {"data": found.data, "output": found.output, "model": found.model,
              "samples": replace(settings.Samples(), requests=found.samples.requests)}
    assert found == settings.Settings(**needed)
    for section in fields(settings.Settings):
        for key in fields(section.type) if is_dataclass(section.type) else ():
            assert key.name in shown or key.name in ("controls", "folder", "cache"), f"{section.name}.{key.name}"


def test_the_page_shows_settings_for_few_steps(tmp_path):
    page = (Path(__file__).parents[2] / "docs" / "training.md").read_text(encoding="utf-8")
    shown = re.search(r"## Few steps\n.*?```yaml\n(.*?)```", page, re.DOTALL)[1]
    (tmp_path / "settings.yaml").write_text(shown, encoding="utf-8")
    found = read(tmp_path / "settings.yaml")
    assert found.train.objective == "consistency" and found.model.base == "float32"
