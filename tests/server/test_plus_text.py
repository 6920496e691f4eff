"""ACE++ Text Encode in a real server with tiny random Flux models."""

import os
from pathlib import Path

import pytest
import torch
from graphs import node
from safetensors.torch import load_file

from tools import tiny_flux, tiny_models
from tools.comfy_server import PACK_NAME, ComfyServer, PromptError, link_folder

HELPER = Path(__file__).with_name("tiny_flux_pack")


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """Base directory with models under their published names and the helper pack."""
    assert os.environ.get("COMFYUI_PATH"), "COMFYUI_PATH must name a ComfyUI; python dev.py test sets it"
    base = tmp_path_factory.mktemp("comfyui_plus_text")
    tiny_models.write(base / "models")
    tiny_flux.write(base / "models")
    (base / "custom_nodes").mkdir()
    link_folder(base / "custom_nodes" / HELPER.name, HELPER)
    return base


@pytest.fixture(scope="module")
def server(base):
    with ComfyServer(base, extra_args=["--whitelist-custom-nodes", PACK_NAME, HELPER.name]) as server:
        yield server


def encoded(text, **inputs):
    return {"positive": node("ACEEditorPlusTextEncode", **{"clip": ["clip", 0], "text": text, "guidance": 50.0} | inputs)}


def sampled(server, base, positive):
    """The latent that a tiny FLUX.1-Fill makes of an empty canvas and `positive`."""
    clips = {"clip_name1": "clip_l.safetensors", "clip_name2": "t5xxl_fp16.safetensors"}
    outputs = server.run({
        "clip": node("DualCLIPLoader", type="flux", **clips),
        "model": node("UNETLoader", unet_name="flux1-fill-dev.safetensors", weight_dtype="default"),
        "vae": node("VAELoader", vae_name="ae.safetensors"),
        "picture": node("EmptyImage", width=64, height=64, batch_size=1, color=8421504),
        "canvas": node("ACEEditorPlusCanvas", image=["picture", 0], width=0, height=0, reference_fit="match height",
                       fill_strength=1.0, token_budget=4096),
        "cond": node("ACEEditorPlusConditioning", model=["model", 0], positive=["positive", 0], negative=["positive", 0],
                     vae=["vae", 0], canvas=["canvas", 0], mask=["canvas", 1], weights="auto", batch_size=1),
        "sample": node("KSampler", model=["model", 0], positive=["cond", 0], negative=["cond", 1], latent_image=["cond", 2],
                       seed=7, steps=2, cfg=1.0, sampler_name="euler", scheduler="simple", denoise=1.0),
        "save": node("SaveLatent", samples=["sample", 0], filename_prefix="text"),
    } | positive)
    info = outputs["save"]["latents"][0]
    return load_file(base / "output" / info["subfolder"] / info["filename"])["latent_tensor"]


def test_names_and_guidance_reach_the_model(server, base):
    first = sampled(server, base, encoded("put {image1} on the table"))
    assert torch.isfinite(first).all()
    assert torch.equal(first, sampled(server, base, encoded("  put   {image1} on\nthe table ")))
    for other in (encoded("put {image2} on the table"), encoded("put {image10} on the table"),
                  encoded("put {image1} on the (table:1.3)"), encoded("put {image1} on the table", guidance=3.5)):
        assert (sampled(server, base, other) - first).abs().max() > 1e-4


def test_a_plain_text_is_as_through_core_s_nodes(server, base):
    text = "The woman wears this shirt."
    core = {"long": node("T5TokenizerOptions", clip=["clip", 0], min_padding=0, min_length=512),
            "text": node("CLIPTextEncode", clip=["long", 0], text=text),
            "positive": node("FluxGuidance", conditioning=["text", 0], guidance=50.0)}
    assert torch.equal(sampled(server, base, encoded(text)), sampled(server, base, core))


# Bad input


def test_a_clip_with_one_encoder_is_refused(server, base):
    alone = {"alone": node("CLIPLoader", clip_name="clip_l.safetensors", type="stable_diffusion")}
    with pytest.raises(PromptError, match="clip has no T5-XXL .* type flux") as error:
        sampled(server, base, encoded("x", clip=["alone", 0]) | alone)
    assert error.value.node_type == "ACEEditorPlusTextEncode"


def test_a_long_text_is_cut_with_a_warning(server, base):
    sampled(server, base, encoded("paint the house blue and " * 110 + "then add {image2}"))
    assert "512 are read. This part is cut off:" in server.log and "then add {image2}" in server.log
