"""Features and maps from core's own models: what is asked of them, and what is said when they are missing."""

import json
from types import SimpleNamespace
from unittest.mock import create_autospec

import pytest
import torch

SIGLIP = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64, "num_channels": 3,
          "patch_size": 16, "image_size": 64, "hidden_act": "gelu_pytorch_tanh", "model_type": "siglip_vision_model",
          "image_mean": [0.5] * 3, "image_std": [0.5] * 3}
CLIP = {**SIGLIP, "model_type": "clip_vision_model", "hidden_act": "quick_gelu", "projection_dim": 24}


def model(config):
    """Core's vision model with small random weights."""
    import comfy.clip_vision
    made = comfy.clip_vision.ClipVisionModel(config)
    generator = torch.Generator().manual_seed(0)
    made.load_sd({key: torch.randn(value.shape, generator=generator) / max(value.shape[-1:] or (1,)) ** 0.5
                  for key, value in made.get_sd().items()})
    return made


@pytest.fixture
def pictures():
    generator = torch.Generator().manual_seed(1)
    return [torch.rand(height, width, 3, generator=generator) for height, width in ((64, 64), (48, 96), (80, 32))]


def test_siglips_features_are_the_mean_of_its_last_tokens(pack, pictures):
    from ace_pack.ace_model.comfyui.vision import Vision
    core = model(SIGLIP)
    found = Vision(core)(pictures)
    tokens = core.encode_image(pictures[0][None], crop=False)["last_hidden_state"].float()
    assert found.shape == (3, 32) and torch.allclose(found.norm(dim=1), torch.ones(3), atol=1e-5)
    assert torch.allclose(found[0], torch.nn.functional.normalize(tokens[0].mean(0), dim=0), atol=1e-4)


def test_clips_features_are_what_it_pools(pack, pictures):
    from ace_pack.ace_model.comfyui.vision import Vision
    core = model(CLIP)
    found = Vision(core)(pictures[:1])
    wanted = core.encode_image(pictures[0][None], crop=False)["image_embeds"].float()
    assert torch.allclose(found, torch.nn.functional.normalize(wanted, dim=1), atol=1e-4)
    assert Vision(core).name == Vision(model(CLIP)).name != Vision(model(SIGLIP)).name


def test_what_is_no_vision_model_is_named(pack, tmp_path, monkeypatch):
    import folder_paths
    from ace_pack.ace_model.comfyui import vision
    monkeypatch.setitem(folder_paths.folder_names_and_paths, "clip_vision", ([str(tmp_path)], {".safetensors"}))
    with pytest.raises(vision.VisionError, match="models/clip_vision has no gone.safetensors: it has"):
        vision.load("gone.safetensors")
    (tmp_path / "other.safetensors").write_text(json.dumps({}))
    with pytest.raises(vision.VisionError, match="other.safetensors cannot be loaded as a CLIP vision model"):
        vision.load("other.safetensors")


# ---- annotators: the weights are gigabytes, so core's nodes are stand-ins that take exactly the arguments that core's take

@pytest.fixture
def files(pack, tmp_path, monkeypatch):
    """Every folder of models has one file, x.safetensors."""
    import folder_paths
    (tmp_path / "x.safetensors").write_text("")
    for folder in ("geometry_estimation", "checkpoints"):
        monkeypatch.setitem(folder_paths.folder_names_and_paths, folder, ([str(tmp_path)], {".safetensors"}))
    folder_paths.filename_list_cache.clear()


def stand_in(monkeypatch, node, answer):
    """Replace a node's `execute` by one of the same signature."""
    fake = create_autospec(node.execute, side_effect=lambda *args, **more: answer)
    monkeypatch.setattr(node, "execute", fake)
    return fake


@pytest.mark.parametrize(("name", "folder", "what"), [
    ("depth", "geometry_estimation", "Depth Anything 3"), ("pose", "checkpoints", "SDPose"),
    ("segmentation", "checkpoints", "SAM 3")])
def test_missing_and_wrong_weights_are_named(files, name, folder, what):
    from ace_pack.ace_model.comfyui import annotators
    make = getattr(annotators, name)
    more = (["cat"],) if name == "segmentation" else ()
    with pytest.raises(annotators.AnnotatorError, match=f"models/{folder} has no gone.safetensors: download {what}"):
        make("gone.safetensors", *more)
    with pytest.raises(annotators.AnnotatorError, match=f"x.safetensors cannot be loaded as {what}"):
        make("x.safetensors", *more)


def test_depth_goes_through_cores_nodes(files, monkeypatch):
    from ace_pack.ace_model.comfyui import annotators
    from comfy_extras import nodes_depth_anything_3 as core
    stand_in(monkeypatch, core.LoadDA3Model, ("model",))
    asked = stand_in(monkeypatch, core.DA3Inference, ({"depth": torch.linspace(0, 1, 12).view(1, 3, 4)},))
    found = annotators.depth("x.safetensors")(torch.zeros(3, 4, 3))
    assert asked.call_args.args[0] == "model" and asked.call_args.args[4] == {"mode": "mono"}
    assert found.shape == (3, 4, 3) and found.min() >= 0 and found.max() <= 1 and found.std() > 0


def test_a_pose_is_drawn_by_cores_node(files, monkeypatch):
    import comfy.sd
    from ace_pack.ace_model.comfyui import annotators
    from comfy_extras import nodes_sdpose as core
    monkeypatch.setattr(comfy.sd, "load_checkpoint_guess_config", create_autospec(
        comfy.sd.load_checkpoint_guess_config, side_effect=lambda *args: ("model", None, "vae", None)))
    empty = {"canvas_width": 40, "canvas_height": 32, "people": []}
    asked = stand_in(monkeypatch, core.SDPoseKeypointExtractor, ([empty],))
    assert torch.equal(annotators.pose("x.safetensors")(torch.zeros(32, 40, 3)), torch.zeros(32, 40, 3))
    assert asked.call_args.args[:2] == ("model", "vae")


def test_things_have_colors_and_small_ones_lie_in_front(files, monkeypatch):
    import comfy.sd
    from ace_pack.ace_model.comfyui import annotators
    from comfy_extras import nodes_sam3 as core
    clip = SimpleNamespace(tokenize=lambda word: word, encode_from_tokens_scheduled=lambda tokens: tokens)
    monkeypatch.setattr(comfy.sd, "load_checkpoint_guess_config", create_autospec(
        comfy.sd.load_checkpoint_guess_config, side_effect=lambda *args: ("model", clip, None, None)))
    masks = {"house": torch.ones(1, 8, 8), "door": torch.zeros(1, 8, 8), "bird": torch.zeros(0, 8, 8)}
    masks["door"][:, 4:, 4:] = 1
    fake = create_autospec(core.SAM3_Detect.execute, side_effect=lambda model, image, word, **more: (masks[word], []))
    monkeypatch.setattr(core.SAM3_Detect, "execute", fake)
    found = annotators.segmentation("x.safetensors", ["door", "bird", "house"])(torch.rand(8, 8, 3))
    assert len({tuple(color) for color in found.flatten(0, 1).tolist()}) == 2
    assert torch.equal(found[0, 0].expand(4, 8, 3), found[:4]) and not torch.equal(found[7, 7], found[0, 0])
    assert all(call.kwargs["individual_masks"] for call in fake.call_args_list)
