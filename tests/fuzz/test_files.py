"""Damaged weight files: each is refused by name or loaded right, within two seconds of computing and 200 MB.

A run tries 200 files. `ACE_FUZZ_FILES=2000` tries more, `ACE_FUZZ_SEED` (default 0) tries others: file i of a seed is always
the same. Right is what the undamaged file gives. Where only bytes changed, it is also what an independent reader finds in the
file, because these files have no checksums; and what a warning tells by name is not silent.
"""

import contextlib
import importlib
import json
import logging
import os
import struct
import time
from collections import Counter
from pathlib import Path

import pytest
import safetensors.torch
import torch

from ace_model.config import HEADS
from tests.fuzz.damage import BASES, LAST_BLOCK, MODEL_PREFIX, blob, damaged

FILES, SEED = int(os.environ.get("ACE_FUZZ_FILES", 200)), int(os.environ.get("ACE_FUZZ_SEED", 0))
SECONDS, MEGABYTES, BATCHES = 2, 200, 10
WARNED = {"mask": "no channel for the mask", "depth": "nothing tells whether its last blocks", "heads": "is a guess"}


def numbers(module):
    """{key: float tensor} of a network, quantized layers read as ComfyUI reads them."""
    return {key: (value.dequantize() if type(value.data).__name__ == "QuantizedTensor" else value).detach().float()
            for key, value in module.named_parameters()}


class Loaders:
    """Every way to read such a file, and what the undamaged ones give."""

    def __init__(self, comfy, pack, folder):
        self.comfy, self.loader, self.right = comfy, pack.loader, {}
        self.refused = importlib.import_module("ace_pack.ace_model.soundness").CheckpointError
        for base in BASES:
            path = folder / base.name
            path.write_bytes(blob(base, base.tensors, base.metadata, path))
            for way in self.ways(base):
                self.right[base.name, way] = self.load(base, path, way)

    @staticmethod
    def ways(base):
        return ["ours"] if base.t5 or base.name in ("pixart.pth", "nested.pth") else ["ours", "core"]

    def load(self, base, path, way):
        """(numbers, heads); None where core took the file for another model's."""
        if base.t5:
            return numbers(self.loader.load_text_encoder(str(path)).cond_stage_model.t5xxl.transformer), None
        model = (self.loader.load_model if way == "ours" else self.core)(str(path))
        return model and (numbers(model.model.diffusion_model), model.model.diffusion_model.config.num_heads)

    def core(self, path):
        """Load Diffusion Model. None: it failed before the pack's detection took the file for ACE."""
        detection, seen = self.comfy.model_detection, []
        detect = detection.detect_unet_config

        def spy(*args, **kwargs):
            seen.append(detect(*args, **kwargs))
            return seen[-1]
        detection.detect_unet_config = spy
        try:
            model = self.comfy.sd.load_diffusion_model(path)
            return model if type(model.model).__name__ == "ACE" else None
        except Exception as error:
            if isinstance(error, self.refused) or any(found and found["image_model"] == "ace_editor" for found in seen):
                raise
            return None
        finally:
            detection.detect_unet_config = detect


@pytest.fixture(scope="module")
def loaders(comfy, pack, tmp_path_factory):
    import comfy.model_detection
    import comfy.sd
    import comfy.text_encoders.pixart_t5
    with pytest.MonkeyPatch.context() as patch:  # a tokenizer takes a second to read, and no file here changes it
        tokenizer = comfy.text_encoders.pixart_t5.PixArtTokenizer()
        patch.setattr(comfy.text_encoders.pixart_t5, "PixArtTokenizer", lambda **_: tokenizer)
        yield Loaders(comfy, pack, tmp_path_factory.mktemp("sound"))


def said(path, base):
    """(numbers, heads) that another reader finds in a file; None for what it cannot read."""
    data, heads = path.read_bytes(), None
    with contextlib.suppress(Exception):  # damaged in any way
        config = json.loads(json.loads(data[8:8 + struct.unpack("<Q", data[:8])[0]])["__metadata__"]["config"])
        heads = config.get("NUM_HEADS", config.get("num_heads"))
    with contextlib.suppress(Exception):
        sd = torch.load(path, weights_only=True) if base.pickled else safetensors.torch.load(data)
        sd = {key.removeprefix(MODEL_PREFIX): value for key, value in sd.get("state_dict", sd).items()}
        heads = sd.pop(HEADS).item() if HEADS in sd else heads
        return {key: value.float() for key, value in sd.items()}, heads
    return None, heads


def equal(given, expected):
    return given.keys() == expected.keys() and all(torch.equal(given[key], expected[key]) for key in expected)


def verdict(given, right, found, warnings):
    """How a loaded file compares. found: (numbers, heads) that another reader says; numbers None: they do not count."""
    if given is None:
        return "not ours"
    (given, heads), (right, right_heads) = given, right
    silent = [] if heads in (right_heads, found[1]) or WARNED["heads"] in warnings else ["heads"]
    cut = {key: value for key, value in right.items() if not LAST_BLOCK.search(key)}
    if equal(given, right) or found[0] and equal(given, found[0]):
        return f"wrong {silent}" if silent else "right"
    if WARNED["depth"] in warnings and equal(given, cut):
        return "told: depth"
    if WARNED["mask"] in warnings and equal({**given, "x_embedder.proj.weight": 0 * right["x_embedder.proj.weight"]},
                                            {**right, "x_embedder.proj.weight": 0 * right["x_embedder.proj.weight"]}):
        return "told: mask"
    return f"wrong {[key for key in right if key not in given or not torch.equal(given[key], right[key])][:3]}"


def resident(name):
    return int(Path("/proc/self/status").read_text().split(f"{name}:")[1].split()[0]) / 1024  # MB


def try_file(loaders, number, folder, caplog):
    base, what, path, bytewise = damaged(SEED, number, folder)
    found = said(path, base) if bytewise else (None, said(path, base)[1])
    for way in loaders.ways(base):
        caplog.clear()
        measured = Path("/proc/self/clear_refs").exists()
        if measured:
            Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
            before = resident("VmRSS")
        begin = time.process_time()
        try:
            outcome = verdict(loaders.load(base, path, way), loaders.right[base.name, way], found, caplog.text)
        except loaders.refused as error:
            text, name = str(error), path.name if way == "ours" else "this file"
            outcome = f"refused: {text}" if name in text and len(text) < 900 and text.isprintable() else f"unclear: {text}"
        except Exception as error:  # noqa: BLE001 - whatever it is, it is not ours
            outcome = f"from inside: {type(error).__name__}: {error}"
        seconds, memory = time.process_time() - begin, resident("VmHWM") - before if measured else 0
        if seconds > SECONDS or memory > MEGABYTES:
            outcome = f"{seconds:.1f} s, {memory:.0f} MB ({outcome})"
        yield f"file {number} of seed {SEED} ({base.name}, {way}): {what}", outcome
    path.unlink()


@pytest.mark.parametrize("batch", range(BATCHES))
def test_damaged_files(batch, loaders, tmp_path, caplog):
    counts, wrong = Counter(), []
    with caplog.at_level(logging.WARNING):
        for number in range(batch, FILES, BATCHES):
            for what, outcome in try_file(loaders, number, tmp_path, caplog):
                counts[outcome.split(":")[0] if outcome.startswith(("refused", "told")) else outcome[:20]] += 1
                if not outcome.startswith(("refused", "right", "told", "not ours")):
                    wrong.append(f"{what} → {outcome}")
    print(dict(counts))
    assert not wrong, "\n".join(wrong)
    assert counts["refused"] > sum(counts.values()) / 4 and not Path("code-of-a-weight-file-ran").exists()


def test_a_checkpoint_that_core_saved_loads_again(comfy, pack, tmp_path):
    """The demo's model, text encoder and autoencoder in one file: through core's Load Checkpoint and through our loaders."""
    import comfy.sd
    import comfy.utils
    weights = Path(__file__).resolve().parents[2] / "demo" / "weights"
    model = pack.loader.load_model(str(weights / "diffusion_models/ace_demo_dit.safetensors"))
    clip = pack.loader.load_text_encoder(str(weights / "text_encoders/ace_demo_t5.safetensors"))
    vae = comfy.sd.VAE(sd=comfy.utils.load_torch_file(str(weights / "vae/ace_demo_vae.safetensors")))
    path = str(tmp_path / "whole.safetensors")
    comfy.sd.save_checkpoint(path, model, clip, vae, metadata={})
    again, text, pictures, _ = comfy.sd.load_checkpoint_guess_config(path)
    for one, other in ((again.model, model.model), (text.cond_stage_model, clip.cond_stage_model),
                       (pictures.first_stage_model, vae.first_stage_model),
                       (pack.loader.load_model(path).model, model.model),
                       (pack.loader.load_text_encoder(path).cond_stage_model, clip.cond_stage_model)):
        assert equal(one.state_dict(), other.state_dict())
    assert again.model.diffusion_model.config == model.model.diffusion_model.config
    assert pack.loader.defaults_of(again) == pack.loader.defaults_of(None)


def test_the_demos_text_encoder_is_offered_only_where_it_loads(comfy, pack):
    import folder_paths
    name = "ace_demo_t5.safetensors"
    assert name not in folder_paths.get_filename_list("text_encoders") and pack.loader.text_encoder_names()[-1] == name
    assert Path(pack.loader.text_encoder_path(name)).is_file()
    with pytest.raises(FileNotFoundError):
        pack.loader.text_encoder_path("../vae/ace_demo_vae.safetensors")
