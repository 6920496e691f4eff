"""ACE++ in a real server with tiny random Flux models: inputs of the model, LoRAs, batches, references, errors."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from graphs import node
from PIL import Image
from safetensors.torch import load_file

from ace_model.plus import make_canvas, model_input, split
from starters.pictures import file_of
from tools import tiny_flux, tiny_models
from tools.comfy_server import PACK_NAME, ComfyServer, PromptError, link_folder
from tools.gallery.api import api_graph
from tools.gallery.descriptions.plus import WORKFLOWS

HELPER = Path(__file__).with_name("tiny_flux_pack")
STEPS, SEED = 2, 7
RESULTS = {  # of workflows whose result is not 1024×1024: the size asked for, or that of the picture that is edited
    "ACE++ Try-on": (512, 512), "ACE++ Place an object": (640, 416), "ACE++ Face swap": (128, 128),
    "ACE++ Local edit": (592, 400), "ACE++ Reference with the FFT": (512, 384), "ACE++ Follow contours": (1040, 880)}
PICTURES = {"person.png": (96, 64), "shirt.png": (48, 80)}  # width, height


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """Base directory with models under their published names, pictures, and the helper pack."""
    assert os.environ.get("COMFYUI_PATH"), "COMFYUI_PATH must name a ComfyUI; python dev.py test sets it"
    base = tmp_path_factory.mktemp("comfyui_plus")
    tiny_models.write(base / "models")
    tiny_flux.write(base / "models")
    tiny_flux.save(tiny_flux.flux(64), base / "models/diffusion_models/flux1-dev.safetensors")
    (base / "input").mkdir()
    (base / "custom_nodes").mkdir()
    link_folder(base / "custom_nodes" / HELPER.name, HELPER)
    generator = torch.Generator().manual_seed(3)
    for name, (width, height) in PICTURES.items():
        blocks = torch.randint(0, 256, (height // 8, width // 8, 3), generator=generator, dtype=torch.uint8)
        Image.fromarray(blocks.repeat_interleave(8, 0).repeat_interleave(8, 1).numpy()).save(base / "input" / name)
    mask = np.zeros((64, 96), np.uint8)
    mask[16:48, 32:80] = 255
    Image.fromarray(mask).save(base / "input/mask.png")
    return base


@pytest.fixture(scope="module")
def server(base):
    with ComfyServer(base, extra_args=["--whitelist-custom-nodes", PACK_NAME, HELPER.name]) as server:
        yield server


def graph(model="flux1-fill-dev.safetensors", lora=None, references=("shirt.png",), image="person.png", mask="mask.png",
          record="", canvas=None, conditioning=None, grow=None):
    """From files to the cropped result in node `save`."""
    clips = {"clip_name1": "clip_l.safetensors", "clip_name2": "t5xxl_fp16.safetensors"}
    out = {
        "loaded": node("UNETLoader", unet_name=model, weight_dtype="default"),
        "clip": node("DualCLIPLoader", type="flux", **clips),
        "vae": node("VAELoader", vae_name="ae.safetensors"),
        "text": node("CLIPTextEncode", text="The woman wears this shirt.", clip=["clip", 0]),
        "positive": node("FluxGuidance", conditioning=["text", 0], guidance=50.0),
        "negative": node("ConditioningZeroOut", conditioning=["text", 0]),
    }
    inputs = {"width": 0, "height": 0, "reference_fit": "match height", "fill_strength": 1.0, "token_budget": 4096}
    for i, name in enumerate(references):
        out[name] = node("LoadImage", image=name)
        inputs[f"reference{i or ''}"] = [name, 0]
    if image:
        out["image"] = node("LoadImage", image=image)
        inputs["image"] = ["image", 0]
    if mask:
        out["mask"] = node("LoadImageMask", image=mask, channel="red")
        inputs["mask"] = ["mask", 0]
    model = "loaded"
    if lora:
        out["lora"], model = node("LoraLoaderModelOnly", model=[model, 0], lora_name=lora, strength_model=1.0), "lora"
    if record:
        out["record"], model = node("TinyFluxRecordInput", model=[model, 0], name=record), "record"
    out |= {
        "canvas": node("ACEEditorPlusCanvas", **(inputs | (canvas or {}))),
        "shift": node("ModelSamplingFlux", model=[model, 0], max_shift=1.15, base_shift=0.5, width=["canvas", 3],
                      height=["canvas", 4]),
        "cond": node("ACEEditorPlusConditioning", **({
            "model": ["shift", 0], "positive": ["positive", 0], "negative": ["negative", 0], "vae": ["vae", 0],
            "canvas": ["canvas", 0], "mask": ["canvas", 1], "weights": "auto", "batch_size": 1,
        } | (conditioning or {}))),
        "sample": node("KSampler", model=["shift", 0], positive=["cond", 0], negative=["cond", 1],
                       latent_image=["cond", 2], seed=SEED, steps=STEPS, cfg=1.0, sampler_name="euler",
                       scheduler="simple", denoise=1.0),
        "decode": node("VAEDecode", samples=["sample", 0], vae=["vae", 0]),
        "crop": node("ACEEditorPlusCropResult", image=["decode", 0], layout=["canvas", 2]),
        "save": node("SaveImage", images=["crop", 0], filename_prefix="plus"),
        "saved latent": node("SaveLatent", samples=["sample", 0], filename_prefix="plus"),
    }
    if grow is not None:
        out["kept"] = node("ACEEditorKeepUntouched", original=["image", 0], result=["crop", 0], window=["crop", 1],
                           mask=["mask", 0], grow=grow, feather=0)
        out["save"]["inputs"]["images"] = ["kept", 0]
    return out


def loaded(base, name):
    """A picture or mask of input/ as ComfyUI reads it."""
    pixels = torch.from_numpy(np.array(Image.open(base / "input" / name))).float() / 255
    return pixels[None]


def latent(server, base, outputs):
    info = outputs["saved latent"]["latents"][0]
    return load_file(base / "output" / info["subfolder"] / info["filename"])["latent_tensor"]


def sizes(server, outputs, name="save"):
    return [server.image(info).size for info in outputs[name]["images"]]


@pytest.mark.parametrize(("model", "inputs", "fill"), [
    ("flux1-fill-dev.safetensors", 384, 0.5), ("ace_plus_fft.safetensors", 448, 0.0),
    ("ace_plus_fft.safetensors", 448, 1.0)])
def test_the_model_reads_the_documented_channels(server, base, model, inputs, fill):
    record = f"recorded {inputs} {fill}"
    request = graph(model, record=record, canvas={"fill_strength": fill})
    reference, picture, mask = (loaded(base, name) for name in ("shirt.png", "person.png", "mask.png"))
    made = make_canvas([reference], picture, mask, fill_strength=fill)
    pictures = (made.pixels, made.pixels) if inputs == 384 else split(made.pixels, made.mask)
    for i, picture in enumerate(pictures):  # core's own VAE on the pictures that ace_model makes
        name = f"expected {inputs} {fill} {i}.png"
        Image.fromarray((picture[0] * 255).round().byte().numpy()).save(base / "input" / name)
        request[f"k{i}"] = node("LoadImage", image=name)
        request[f"e{i}"] = node("VAEEncode", pixels=[f"k{i}", 0], vae=["vae", 0])
        request[f"s{i}"] = node("SaveLatent", samples=[f"e{i}", 0], filename_prefix=f"e{i}")
    outputs = server.run(request)
    tokens = load_file(base / "output" / f"{record}.safetensors")["tokens"]
    assert tokens.shape == (1, made.layout.tokens, inputs)

    encoded = []
    for i in range(2):
        info = outputs[f"s{i}"]["latents"][0]
        stored = load_file(base / "output" / info["subfolder"] / info["filename"])["latent_tensor"]
        encoded.append((stored - 0.1159) * 0.3611)  # Flux's latent scale
    noise = torch.zeros_like(encoded[0])
    expected = model_input(noise, encoded[0], made.mask, encoded[1] if inputs == 448 else None)
    assert torch.equal(tokens[..., -256:], expected[..., -256:])  # the mask, to the bit
    for first in range(64, inputs - 256, 64):  # 8-bit pictures on the way: close
        given, wanted = tokens[..., first:first + 64], expected[..., first:first + 64]
        assert (given - wanted).abs().max() < 0.05 * wanted.abs().max()
    assert abs(tokens[..., :64].std() - 1) < 0.1  # noise at the first step


@pytest.mark.parametrize("lora", tiny_flux.LORAS)
def test_every_published_lora_changes_the_result(server, base, lora):
    plain = latent(server, base, server.run(graph()))
    patched = latent(server, base, server.run(graph(lora=lora)))
    assert torch.isfinite(patched).all() and (plain - patched).abs().max() > 1e-3
    assert "lora key not loaded" not in server.log


@pytest.mark.parametrize("model", tiny_flux.NAMES.values())
def test_result_has_the_picture_s_size_and_its_untouched_pixels(server, base, model):
    outputs = server.run(graph(model, grow=0))
    assert sizes(server, outputs) == [(96, 64)]
    result = np.array(server.image(outputs["save"]["images"][0]))
    original, mask = (np.array(Image.open(base / "input" / name)) for name in ("person.png", "mask.png"))
    mask = mask > 128
    assert (result[~mask] == original[~mask]).all() and (result[mask] != original[mask]).any()


def test_reference_alone_with_any_size(server):
    assert sizes(server, server.run(graph(image=None, mask=None, canvas={"width": 75, "height": 101}))) == [(75, 101)]


def test_several_references_and_a_batch(server):
    request = graph(references=("shirt.png", "person.png", "shirt.png"), conditioning={"batch_size": 2})
    assert sizes(server, server.run(request)) == [(96, 64)] * 2
    request = graph()
    request["two"] = node("ImageBatch", image1=["image", 0], image2=["image", 0])
    request["canvas"]["inputs"]["image"] = ["two", 0]
    assert sizes(server, server.run(request)) == [(96, 64)] * 2


def test_the_result_goes_back_into_a_conversation(server, base):
    request = graph()
    request |= {
        "asked": node("ACEEditorConditionUnit", instruction="{image} put a shirt on her", blank_masked=False,
                      name_image=False, image=["image", 0]),
        "history": node("ACEEditorLongContextUnit", unit=["asked", 0], max_rounds=5),
        "unit": node("ACEEditorConditionUnit", instruction="{image} make it night, keep the light of {previous.image}",
                     blank_masked=False, name_image=False, image=["crop", 0]),
        "lcu": node("ACEEditorLongContextUnit", unit=["unit", 0], history=["history", 0], max_rounds=5),
    }
    request["preview"] = node("PreviewAny", source=["lcu", 0])
    server.run(request)


@pytest.mark.parametrize("title", WORKFLOWS)
def test_every_workflow_runs(server, title):
    request = api_graph(WORKFLOWS[title](title))
    for one in request.values():
        if one["class_type"] in ("KSampler", "ACEEditorSampler"):
            one["inputs"]["steps"] = 1
        if one["class_type"] == "ACEEditorPlusCanvas":
            one["inputs"]["token_budget"] = 128
    outputs = server.run(request)
    saved = [info for output in outputs.values() for info in output.get("images", []) if info["type"] == "output"]
    sizes = {server.image(info).size for info in saved}
    assert sizes == {RESULTS.get(title, (1024, 1024))}


def test_the_fft_template_without_its_picture_makes_a_new_one(server):
    """As its note says: delete the Load Image with the mask."""
    title = "ACE++ Reference with the FFT"
    request = api_graph(WORKFLOWS[title](title))
    (gone,) = (key for key, one in request.items() if one["inputs"].get("image") == file_of("sign", masked=True))
    request = {key: node(one["class_type"], **{name: value for name, value in one["inputs"].items()
                                               if not (isinstance(value, list) and value[0] == gone)})
               for key, one in request.items() if key != gone}
    for one in request.values():
        if one["class_type"] == "KSampler":
            one["inputs"]["steps"] = 1
        if one["class_type"] == "ACEEditorPlusCanvas":
            one["inputs"]["token_budget"] = 256
    (saved,) = (key for key, one in request.items() if one["class_type"] == "SaveImage")
    assert sizes(server, server.run(request), saved) == [(1024, 768)]


# Bad input


def fails(server, request, kind, match):
    with pytest.raises(PromptError, match=match) as error:
        server.run(request, timeout=120)
    assert error.value.node_type == kind


@pytest.mark.parametrize(("change", "match"), [
    ({"model": "ace_plus_fft.safetensors", "conditioning": {"weights": "LoRA"}}, "set weights to FFT or auto"),
    ({"conditioning": {"weights": "FFT"}}, "set weights to LoRA or auto"),
    ({"model": "flux1-dev.safetensors"}, "not FLUX.1-Fill: it has 64 inputs"),
    ({"conditioning": {"canvas": ["image", 0], "mask": ["canvas", 1]}}, "mask is .* connect mask of the same ACE"),
])
def test_conditioning_that_does_not_fit_the_model(server, change, match):
    fails(server, graph(**change), "ACEEditorPlusConditioning", match)


@pytest.mark.parametrize(("change", "match"), [
    ({"references": (), "image": None, "mask": None}, "neither a reference nor an image is connected"),
    ({"image": None}, "a mask is connected, but no image"),
    ({"canvas": {"token_budget": 16}}, "token_budget 16 is too small for 2 panels"),
    ({"canvas": {"width": 640, "height": 64}}, "one side is more than 4 times the other"),
])
def test_canvases_that_cannot_be_made(server, change, match):
    fails(server, graph(**change), "ACEEditorPlusCanvas", match)


def test_sampling_the_full_fine_tune_with_lora_conditioning(server):
    request = graph() | {"fft": node("UNETLoader", unet_name="ace_plus_fft.safetensors", weight_dtype="default")}
    request["sample"]["inputs"]["model"] = ["fft", 0]
    fails(server, request, "KSampler", r"16 channels instead of 32.*set weights to FFT \(or auto\)")
    request["sample"]["inputs"]["positive"] = request["sample"]["inputs"]["negative"] = ["positive", 0]
    fails(server, request, "KSampler", "its conditioning has no canvas")


def test_a_layout_from_another_canvas(server):
    request = graph()
    request["other"] = node("ACEEditorPlusCanvas", **(request["canvas"]["inputs"] | {"width": 64, "height": 64}))
    request["crop"]["inputs"]["layout"] = ["other", 2]
    fails(server, request, "ACEEditorPlusCropResult", "connect the layout of the ACE")


def test_a_workflow_from_before_is_told_where_pasting_went(server):
    request = graph()
    request["crop"]["inputs"] |= {"original": ["image", 0], "mask": ["mask", 0], "feather": 8}
    fails(server, request, "ACEEditorPlusCropResult", "original and mask moved from ACE.. Crop Result to ACE Keep Untouched")
