"""What goes wrong in a run: memory and disks that are full, pictures of requests that are not there."""

import os
from pathlib import Path

import pytest
import torch
from PIL import Image

from training import page, requests, settings
from training.checkpoints import CheckpointError
from training.plus_run import PlusRun
from training.requests import RequestError
from training.run import Run, RunError


def run(model=None, **train):
    """A run that has read its settings and nothing else."""
    made = Run.__new__(Run)
    names = {"diffusion": "a", "text_encoder": "b", "vae": "c"}
    made.settings = settings.Settings(settings.Data(Path("set")), settings.Model(**names, **(model or {})), Path("run"),
                                      train=settings.Train(**train))
    made.device, made.budget = torch.device("cpu"), 1024
    return made


@pytest.mark.parametrize("model, train, said", [
    ({"checkpointing": False}, {"batch": 4}, "Set model.checkpointing to true"),
    ({}, {"batch": 5}, "Lower train.batch from 5 to 2 and double train.accumulate"),
    ({"base": "float32"}, {}, "Set model.base from float32 to bf16"), ({"base": "bf16"}, {}, "Set model.base from bf16 to fp8"),
    ({"base": "fp8"}, {}, "Lower train.token_budget from 1024, or train on fewer layers .lora.targets")])
def test_when_memory_is_full_the_next_setting_to_lower_is_named(model, train, said):
    """An allocation that really fails: a petabyte."""
    asked = run(model, **train)
    expected = f"the memory of cpu is full. {said}.*goes on from the last checkpoint"
    with pytest.raises(RunError, match=expected), asked.memory_explained():
        torch.empty(2**50, dtype=torch.uint8)


@pytest.mark.parametrize("error", [MemoryError(), torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")])
def test_python_and_cuda_say_it_in_other_ways(error):
    with pytest.raises(RunError, match="is full"), run().memory_explained():
        raise error


def test_ace_plus_needs_both_text_encoders():
    made = PlusRun.__new__(PlusRun)
    made.settings = run().settings
    with pytest.raises(RunError, match="model.clip_l is missing, and .* set it to clip_l.safetensors"):
        made.read_model()


def test_other_errors_stay_what_they_are():
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"), run().memory_explained():
        torch.zeros(2, 3) @ torch.zeros(2, 3)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="a full disk is played by /dev/full")
def test_a_sample_that_the_disk_does_not_take(tmp_path):
    (tmp_path / "samples").mkdir()
    (tmp_path / "samples" / f".000010-0.png.{os.getpid()}.part").symlink_to("/dev/full")
    with pytest.raises(CheckpointError, match=r"000010-0.png cannot be written \(.*\): free some space"):
        page.keep_sample(tmp_path, 10, 0, torch.zeros(64, 64, 3))
    assert not list((tmp_path / "samples").iterdir())
    page.keep_sample(tmp_path, 10, 0, torch.full((16, 32, 3), 0.2))
    with Image.open(page.sample_file(tmp_path, 10, 0)) as image:
        assert image.size == (32, 16) and image.getpixel((3, 3)) == (51, 51, 51)


def test_an_output_folder_that_is_a_file(tmp_path):
    (tmp_path / "run").touch()
    with pytest.raises(CheckpointError, match="cannot be written"):
        page.keep_sample(tmp_path / "run", 0, 0, torch.zeros(16, 16, 3))


@pytest.mark.parametrize("entry, said", [
    ({"instruction": "x", "images": ["gone.png"]}, r"requests\[1\]: gone.png is not there"),
    ({"instruction": "x", "images": ["words.png"]}, r"requests\[1\]: words.png cannot be opened as a picture"),
    ({"instruction": "x", "images": ["fine.png"], "masks": ["gone.png"]}, r"requests\[1\]: gone.png is not there"),
    ({"instruction": "x", "wdith": 64}, r"requests\[1\]: .*wdith"), ("no.json", r"requests\[1\]: no.json cannot be read"),
    ("broken.json", r"requests\[1\]: .*not valid JSON")])
def test_requests_are_looked_at_before_anything_is_encoded(tmp_path, entry, said):
    Image.new("RGB", (32, 32)).save(tmp_path / "fine.png")
    (tmp_path / "words.png").write_text("no picture")
    (tmp_path / "broken.json").write_text("{")
    fine = {"instruction": "x", "images": ["fine.png"]}
    assert len(requests.read((fine,), tmp_path)) == 1
    with pytest.raises(RequestError, match=said):
        requests.read((fine, entry), tmp_path)
