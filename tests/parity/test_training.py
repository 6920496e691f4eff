"""What training feeds the network is what the nodes make of the same record: with a real T5 and a real VAE, tiny ones."""

import json

import pytest
import torch
from PIL import Image

from tools import tiny_models
from training import data
from training.encode import SCALE, Encoder

GRADIENT = Image.linear_gradient("L")


@pytest.fixture(scope="module")
def models(comfy, tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    tiny_models.save(tiny_models.t5(), folder / "t5.safetensors")
    tiny_models.save(tiny_models.tiny_vae(), folder / "vae.safetensors")
    return str(folder / "t5.safetensors"), str(folder / "vae.safetensors")


@pytest.fixture(scope="module")
def encoders(pack):
    from training import encoders  # needs ComfyUI
    return encoders


@pytest.fixture
def turns(tmp_path):
    """Three turns that have all there is: two pictures, a mask that hides, room, another shape, a forgotten picture's name."""
    def draw(name, size, turned=0, mode="RGB"):
        GRADIENT.rotate(turned).resize(size).convert(mode).save(tmp_path / name)
    for i, (name, size) in enumerate({"house.png": (200, 120), "sky.png": (96, 160), "a.png": (208, 128), "b.png": (240, 160),
                                      "c.png": (96, 64)}.items()):
        draw(name, size, 90 * i)
    draw("mask.png", (100, 60), 90, "L")
    file = {name: {"file": f"{name}.png"} for name in ("house", "sky", "mask", "a", "b", "c")}
    return [
        {"id": "t1", "instruction": "put the sky of {image1} over {image}", "images": [file["house"], file["sky"]],
         "masks": [file["mask"]], "blank": True, "target": file["a"], "settings": {"target_image": 1}},
        {"id": "t2", "parent": "t1", "instruction": "more room", "images": [file["a"]], "room": [0.1, 0.0, 0.2, 0.3],
         "target": file["b"]},
        {"id": "t3", "parent": "t2", "instruction": "{image} as {previous.image} was at &amp; before", "images": [file["b"]],
         "masks": [file["mask"]], "target": file["c"], "settings": {"max_rounds": 1, "token_budget": 60}},
        {"id": "t4", "instruction": "a “red” house", "target": file["c"]}]


@pytest.mark.parametrize("last", [0, 1, 2, 3])
@torch.inference_mode()
def test_what_the_nodes_make(last, models, encoders, turns, tmp_path, pack, monkeypatch):
    import folder_paths
    from ace_pack.ace_model import record_json
    from ace_pack.ace_model.comfyui import pictures
    from ace_pack.ace_model.images import preprocess
    given = [t for t in turns if t["id"] != "t4"][:last + 1] if last < 3 else [turns[3]]
    path = tmp_path / "turns.jsonl"
    path.write_text(json.dumps({"version": 1, "at": given[-1]["id"], "turns": given}))
    budget = 70  # most pictures here are larger
    example = data.read(path, budget=budget)[-1]
    encoded = Encoder(encoders.load(*models), tmp_path / "cache", budget)(example)

    monkeypatch.setattr(folder_paths, "get_input_directory", lambda: str(tmp_path))
    panel = json.loads(path.read_text())
    for turn in panel["turns"]:
        target = turn.pop("target")
        for picture in (*turn.get("images", ()), *turn.get("masks", ())):
            picture["in"] = "input"
    record = record_json.from_data(panel)
    settings = record.turns[-1].settings
    size = preprocess(pictures.open_picture(record_json.from_data({"version": 1, "at": "x", "turns": [
        {"id": "x", "instruction": "", "images": [target | {"in": "input"}]}]}).turns[0].images[0]), None,
        settings.token_budget or budget)[0].shape[:2]
    clip, vae = pack.loader.load_text_encoder(models[0]), pack.loader.load_vae(models[1])
    tokens = pack.conditioning.tokenize(record.lcu(pictures.open_picture, budget=budget), clip, vae, size[1], size[0],
                                        settings.target_image, settings.token_budget or budget)
    (text, positive), = pack.conditioning.conditioning(tokens)[0]
    (negative_text, negative), = pack.conditioning.conditioning(tokens)[1]
    frames, without = positive[pack.model.FRAMES], negative[pack.model.FRAMES]
    count = sum(key.startswith("image.") for key in frames)
    assert len(encoded.latents) == len(encoded.masks) == count + 1 == (3, 4, 3, 1)[last]
    scaled = pack.model.ACEModelConfig.latent_format().process_in
    for i in range(count):
        assert torch.equal(encoded.latents[i + 1], scaled(frames[f"image.{i}"])[0])
        assert torch.equal(encoded.masks[i + 1], frames[f"mask.{i}"][0])
        assert torch.equal(encoded.texts[i + 1], frames[f"text.{i}"][0])
        assert torch.equal(encoded.negatives[i + 1], without[f"text.{i}"][0])
    assert torch.equal(encoded.masks[0], frames["target_mask"][0])
    assert encoded.masks[0].shape[1:] == encoded.latents[0].shape[1:]
    assert torch.equal(encoded.texts[0], text[0]) and torch.equal(encoded.negatives[0], negative_text[0])
    torch.testing.assert_close(encoded.names, frames["indicators"][0], rtol=1e-4, atol=1e-5)  # there read together


@torch.inference_mode()
def test_the_target_is_the_picture_fitted(models, encoders, tmp_path, pack):
    """The VAE of what Pillow's own bicubic makes of it. The reference prepares pictures with it."""
    Image.radial_gradient("L").resize((320, 200)).convert("RGB").save(tmp_path / "a.png")
    (tmp_path / "a.txt").write_text("a ball")
    encoded = Encoder(encoders.load(*models), None, 60)(data.read(tmp_path)[0])
    with Image.open(tmp_path / "a.png") as image:  # 320×200 with 60 tokens: s = √(60 / (20·12.5)) → 156×97 → 144×96
        levels = torch.frombuffer(bytearray(image.resize((144, 96), Image.Resampling.BICUBIC).tobytes()), dtype=torch.uint8)
    vae = pack.loader.load_vae(models[1])
    expected = vae.encode(levels.view(1, 96, 144, 3).float() / 255)[0] * SCALE
    assert encoded.latents[0].shape == (4, 12, 18)
    assert (encoded.latents[0] - expected).abs().max() < 0.02 * expected.abs().max()
    assert torch.equal(encoded.masks[0], torch.ones(1, 12, 18))


def test_instructions_are_measured_with_t5s_own_tokens(models, encoders, tmp_path):
    Image.new("RGB", (32, 32)).save(tmp_path / "a.png")
    (tmp_path / "a.txt").write_text("paint the house blue " * 40)
    with pytest.raises(data.DataError, match="the instruction has 161 tokens, but ACE reads 120"):
        data.read(tmp_path, tokens=encoders.load(*models).tokens)


def test_the_demos_files_have_names(encoders):
    assert encoders.load("ace_demo_t5.safetensors", "ace_demo_vae.safetensors").encode_text("{image}").ndim == 2
