"""Bad input reaches the user as the message of a failed prompt, named by its node."""

import pickle

import graphs
import pytest
import torch
from safetensors.torch import save_file

from tools.comfy_server import PromptError
from tools.tiny_models import tiny_vae

ONE = [("{image} make it blue", ["a.png"], {})]


def fails(server, graph, kind, match):
    with pytest.raises(PromptError, match=match) as error:
        server.run(graph, timeout=120)
    assert error.value.node_type == kind


def test_instruction_names_an_absent_image(server):
    fails(server, graphs.edit([("{image1} make it blue", ["a.png"], {})]), "ACEEditorConditionUnit",
          r"names \{image1\}, but nothing is connected to image1 \(this turn has 1 image\): connect that picture")


def test_gap_between_images(server):
    graph = graphs.edit()
    graph["unit0"]["inputs"]["image2"] = ["load a.png", 0]
    fails(server, graph, "ACEEditorConditionUnit", "image2 is connected, but image1 is not")


def test_mask_without_image(server):
    graph = graphs.edit() | graphs.mask()
    graph["unit0"]["inputs"]["mask1"] = ["mask mask.png", 0]
    fails(server, graph, "ACEEditorConditionUnit", "mask1 is connected, but image1 is not")


def test_ten_images(server):
    graph = graphs.edit([("{image} make it blue", ["a.png"], {})])
    graph["unit0"]["inputs"] |= {f"image{i}": ["load a.png", 0] for i in range(1, 10)}
    fails(server, graph, "ACEEditorConditionUnit", r"image9 is not a slot: ACE takes at most 9 images in one turn")


def test_beyond_nine_images_the_oldest_turn_is_forgotten(server, run):
    graph = graphs.edit([("{image}", ["a.png"], {}), ("{image}", ["b.png"], {})])
    graph["unit0"]["inputs"] |= {f"image{i}": ["load a.png", 0] for i in range(1, 9)}
    run(graph)
    assert "Remembers 0 of 1 earlier turns: at most 5, and 9 images in all." in server.log
    graph["unit1"]["inputs"]["instruction"] = "{image} like {previous.image}"
    fails(server, graph, "ACEEditorLongContextUnit", "but no earlier turn is remembered")


def test_long_text_warns_and_runs(server, run):
    run(graphs.edit([("{image} " + "paint every house a different colour and " * 30, ["a.png"], {})]))
    assert "is cut to 120" in server.log


def cut(path):
    path.write_bytes(path.read_bytes()[:30000])


class Code:
    def __reduce__(self):
        return print, ("code in a model file ran",)


def tensors(*keys):
    return {key: torch.zeros(2, 2) for key in keys}


PIXART = {"x_embedder.proj.weight": torch.zeros(144, 4, 2, 2), "t_block.1.weight": torch.zeros(864, 144),
          "csize_embedder.mlp.0.weight": torch.zeros(2, 2), "blocks.0.cross_attn.kv_linear.weight": torch.zeros(288, 144)}
CHECKPOINTS = {
    "pixart.safetensors": (PIXART, "looks like a PixArt model"),
    "sd15.safetensors": (tensors("model.diffusion_model.input_blocks.0.0.weight"), "looks like a Stable Diffusion"),
    "ace_step.safetensors": (tensors("genre_embedder.weight"), "looks like the music model ACE-Step"),
    "lora.safetensors": (tensors("lora_unet_blocks_0_attn_q.lora_up.weight"), "looks like a LoRA"),
    "truncated.safetensors": (None, "truncated.safetensors cannot be read: it is incomplete"),
    "truncated.pth": (None, "truncated.pth cannot be read: it is incomplete"),
    "list.pth": ([torch.zeros(2)], "list.pth cannot be read: it is incomplete or not a model file"),
    "evil.pth": (None, "evil.pth was not opened: it is damaged, or it holds more than weights"),
    "empty.pth": (b"", r"empty.pth is empty \(0 bytes\): its download failed"),
    "page.pth": (b"<!DOCTYPE html><html>Log in</html>", "page.pth is a web page, not weights"),
    "numbers.pth": ({0: torch.zeros(2), 1: torch.zeros(2)}, "numbers.pth holds no tensors with names"),
}


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_wrong_checkpoints(name, server, base, tiny):
    sd, match = CHECKPOINTS[name]
    path = base / "models/diffusion_models" / name
    if name == "evil.pth":
        path.write_bytes(pickle.dumps({"state_dict": Code()}))
    elif isinstance(sd, bytes):
        path.write_bytes(sd)
    elif sd is None:
        (torch.save if name.endswith(".pth") else save_file)(tiny.dit.state_dict(), path)
        cut(path)
    else:
        (torch.save if name.endswith(".pth") else save_file)(sd, path)
    fails(server, graphs.edit() | graphs.loaders(model=name), "ACEEditorLoadModel", match)
    assert "code in a model file ran" not in server.log


DAMAGED = {  # {what: (changes to the weights, what the message says)}
    "far": ({"blocks.99999.attn.q.bias": torch.zeros(144)}, "it holds blocks.99999, but no blocks.2: blocks are missing"),
    "nan": ({"blocks.1.attn.q.bias": torch.full((144,), float("nan"))}, "holds NaN or infinity in blocks.1.attn.q.bias"),
    "int8": ({"blocks.1.attn.q.bias": torch.zeros(144, dtype=torch.int8)}, "stored in a way .* blocks.1.attn.q.bias is int8"),
    "heads": ({"num_heads": torch.tensor([2, 2])}, r"its num_heads is \(2,\) numbers, but it must be one whole number"),
}


@pytest.mark.parametrize("what", DAMAGED)
def test_damaged_weights_in_both_loaders(what, server, base, tiny):
    changes, match = DAMAGED[what]
    save_file({**tiny.dit.state_dict(), **changes}, base / f"models/diffusion_models/{what}.safetensors")
    fails(server, graphs.edit() | graphs.loaders(model=f"{what}.safetensors"), "ACEEditorLoadModel",
          f"{what}.safetensors.*{match}")
    core = graphs.node("UNETLoader", unet_name=f"{what}.safetensors", weight_dtype="default")
    fails(server, graphs.edit() | {"model": core}, "UNETLoader", f"this file.*{match}")


def test_t5_whose_block_has_a_giant_number(server, base, tiny):
    t5 = {key: value.clone() for key, value in tiny.t5.state_dict().items() if "embed_tokens" not in key}
    t5["encoder.block.2000000000.layer.0.layer_norm.weight"] = torch.zeros(48)
    save_file(t5, base / "models/text_encoders/far.safetensors")
    fails(server, graphs.edit() | graphs.loaders(text_encoder="far.safetensors"), "ACEEditorLoadTextEncoder",
          "far.safetensors: it holds encoder.block.2000000000, but no encoder.block.2")


def test_core_lists_no_text_encoder_that_it_cannot_load(server):
    """It knows the published sizes of T5 alone, and the demo's is smaller."""
    def listed(node, widget):
        options = server.object_info(node)["input"]["required"][widget]
        return options[0] if isinstance(options[0], list) else options[1]["options"]
    assert "ace_demo_t5.safetensors" in listed("ACEEditorLoadTextEncoder", "text_encoder_name")
    assert "ace_demo_t5.safetensors" not in listed("CLIPLoader", "clip_name")


def test_umt5_given_as_t5(server, base):
    attention = "encoder.block.0.layer.0.SelfAttention."
    save_file({"shared.weight": torch.zeros(256384, 4), f"{attention}q.weight": torch.zeros(4, 4),
               f"{attention}relative_attention_bias.weight": torch.zeros(32, 2),
               "encoder.final_layer_norm.weight": torch.zeros(4),
               "encoder.block.0.layer.1.DenseReluDense.wo.weight": torch.zeros(4, 4)},
              base / "models/text_encoders/umt5.safetensors")
    fails(server, graphs.edit() | graphs.loaders(text_encoder="umt5.safetensors"), "ACEEditorLoadTextEncoder",
          r"umt5.safetensors is UMT5 \(256384 words\)")


def test_clip_without_t5(server, base):
    save_file({"text_model.encoder.layers.0.mlp.fc1.weight": torch.zeros(3072, 768)},
              base / "models/text_encoders/clip_l.safetensors")
    graph = graphs.edit() | {"clip": graphs.node("CLIPLoader", clip_name="clip_l.safetensors", type="stable_diffusion")}
    fails(server, graph, "ACEEditorConditionTokenizer", "this text encoder has no T5")


def test_vae_of_another_kind(server, base):
    save_file(tiny_vae(16), base / "models/vae/sixteen.safetensors")
    fails(server, graphs.edit() | graphs.loaders(vae="sixteen.safetensors"), "ACEEditorConditionTokenizer",
          "this VAE has 16 channels.*connect Stable Diffusion 1.x's VAE")


def test_mask_of_another_size_is_resized_with_a_warning(server, run, base):
    from PIL import Image
    Image.open(base / "input/mask.png").resize((32, 24), Image.NEAREST).save(base / "input/small.png")
    turns = [("{image} add a bird", ["a.png"], {0: "mask.png"})]
    small = [("{image} add a bird", ["a.png"], {0: "small.png"})]
    assert torch.equal(run(graphs.edit(small)), run(graphs.edit(turns)))
    assert "mask is 32×24 pixels, but image is 64×48. The mask is resized" in server.log


def test_black_mask_with_blanking(server):
    graph = graphs.edit([("{image} fill in", ["a.png"], {0: "black.png"})])
    graph["unit0"]["inputs"]["blank_masked"] = True
    fails(server, graph, "ACEEditorConditionUnit", "no mask marks a part of a picture")


def test_sizes(server):
    fails(server, graphs.edit(ONE, width=500, height=512), "ACEEditorConditionTokenizer",
          "width is 500, but it must be a positive multiple of 16: use 496 or 512")
    fails(server, graphs.edit(ONE, width=1024, height=1024), "ACEEditorConditionTokenizer",
          "4096 tokens, but the token budget is 1024")
    fails(server, graphs.edit(ONE, width=512), "ACEEditorConditionTokenizer", "width 512 and height 0: set both")
    fails(server, graphs.edit([("a red barn", [], {})]), "ACEEditorConditionTokenizer", "set width and height")


def test_a_latent_that_cannot_be_cut_into_patches_is_widened(run):
    graph = graphs.edit() | graphs.ace_sampler(latent=("odd", 0))
    graph["odd"] = graphs.node("EmptyLatentImage", width=72, height=64, batch_size=1)
    assert run(graph).shape == (1, 4, 8, 9)


def test_alpha_is_dropped(run):
    graph = graphs.edit() | graphs.mask()
    graph["rgba"] = graphs.node("JoinImageWithAlpha", image=["load a.png", 0], alpha=["mask mask.png", 0])
    graph["unit0"]["inputs"]["image"] = ["rgba", 0]
    assert torch.equal(run(graph), run(graphs.edit()))


def test_batch_where_one_picture_is_meant(server):
    graph = graphs.edit()
    graph["batch"] = graphs.node("RepeatImageBatch", image=["load a.png", 0], amount=3)
    graph["unit0"]["inputs"]["image"] = ["batch", 0]
    fails(server, graph, "ACEEditorConditionUnit", "image is a batch of 3 pictures, but this slot takes one: pick one")


def test_not_a_number(server, base, tiny):
    broken = {key: value.clone() for key, value in tiny.vae_sd.items()}
    broken["taesd_decoder.19.bias"][0] = float("nan")
    save_file(broken, base / "models/vae/broken.safetensors")
    graph = graphs.edit()
    graph |= {"broken": graphs.node("VAELoader", vae_name="broken.safetensors"),
              "encode": graphs.node("VAEEncode", pixels=["load a.png", 0], vae=["vae", 0]),
              "nan": graphs.node("VAEDecode", samples=["encode", 0], vae=["broken", 0])}
    graph["unit0"]["inputs"]["image"] = ["nan", 0]
    fails(server, graph, "ACEEditorConditionUnit", "image contains values that are not numbers")


def test_conditioning_of_another_model(server):
    graph = graphs.edit()
    graph["other"] = graphs.node("ConditioningZeroOut", conditioning=["text", 0])
    graph["text"] = graphs.node("CLIPTextEncode", text="a barn", clip=["clip", 0])
    graph["latent"]["inputs"]["positive"] = ["text", 0]
    fails(server, graph, "ACEEditorSampler", "does not come from ACE Image Indicator")


def test_a_text_encoder_of_another_width(server, base):
    from transformers import T5Config, T5EncoderModel
    config = {"vocab_size": 32128, "d_model": 32, "d_kv": 16, "d_ff": 48, "num_layers": 1, "num_heads": 2}
    model = T5EncoderModel(T5Config(**config, feed_forward_proj="gated-gelu"))
    save_file({k: v.clone() for k, v in model.state_dict().items() if "embed_tokens" not in k},
              base / "models/text_encoders/t5_other.safetensors")
    wrong = graphs.edit() | graphs.loaders(text_encoder="t5_other.safetensors")
    fails(server, wrong, "ACEEditorSampler", "features have width 32, but this model needs 48")
