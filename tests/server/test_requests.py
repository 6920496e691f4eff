"""Requests of every shape in a real server, through three samplers, against a direct call of ace_model."""

import os

import graphs
import numpy as np
import pytest
import torch
from PIL import Image

from ace_model.diffusion import ddim, guide
from ace_model.images import preprocess
from ace_model.masks import latent_mask

REQUESTS = {
    "text to image": ([("a red barn", [], {})], {"width": 48, "height": 64}),
    "one image": ([("{image} make it blue", ["a.png"], {})], {"negative": "ugly"}),
    "masked edit": ([("{image} add a bird", ["a.png"], {0: "mask.png"})], {}),
    "two images of unlike sizes": ([("{image} in the style of {image1}", ["a.png", "b.png"], {})], {"negative": "dull"}),
    "second image is the target": ([("{image1} like {image}", ["a.png", "b.png"], {})], {"target_image": 1}),
    "three turns": ([("{image} a", ["a.png"], {}), ("{image} b", ["b.png"], {}),
                     ("{image} like {previous.image} and {previous2.image}", ["c.png"], {})], {"negative": "x"}),
    "batch of two": ([("{image} make it blue", ["a.png"], {})], {"batch": 2}),
}
FLAT_TEXTS = {"three turns": ["{image} a", "{image1} b", "{image2} like {image1} and {image}"]}


@pytest.fixture(scope="module")
def features(tiny):
    from transformers import T5TokenizerFast
    tokenizer = T5TokenizerFast.from_pretrained(os.path.join(os.environ["COMFYUI_PATH"], "comfy/text_encoders/t5_tokenizer"))

    @torch.inference_mode()
    def features(text):
        return tiny.t5(torch.tensor([tokenizer(text)["input_ids"]])).last_hidden_state
    return features


@pytest.fixture(scope="module")
def encoded(server, base):
    """Latent of every picture, by core's VAE Encode."""
    from safetensors.torch import load_file
    graph = {"vae": graphs.loaders()["vae"]}
    for name in ("a.png", "b.png", "c.png"):
        graph |= graphs.picture(name)
        graph[f"encode {name}"] = graphs.node("VAEEncode", pixels=[f"load {name}", 0], vae=["vae", 0])
        graph[name] = graphs.node("SaveLatent", samples=[f"encode {name}", 0], filename_prefix="encoded")
    return {name: load_file(base / "output" / out["latents"][0]["subfolder"] / out["latents"][0]["filename"])["latent_tensor"]
            for name, out in server.run(graph).items()}


@torch.inference_mode()
def direct(request, tiny, features, encoded, base, guidance=graphs.GUIDANCE):
    """The same request by ace_model, transformers' T5 and a loop of our own, without ComfyUI."""
    turns, options = REQUESTS[request]
    texts = FLAT_TEXTS.get(request, [turn[0] for turn in turns])
    pictures = [(name, texts[i], masks.get(slot)) for i, (_, names, masks) in enumerate(turns)
                for slot, name in enumerate(names)]
    images, masks = [], []
    for name, _, mask in pictures:
        pixels = torch.from_numpy(np.array(Image.open(base / "input" / name).convert("RGB"))) / 255
        mask = mask and torch.from_numpy(np.array(Image.open(base / "input" / mask).convert("L"))) / 255
        masks.append(latent_mask(preprocess(pixels, mask, 1024)[1])[None])
        images.append(encoded[name] * 0.18215)
    target = len(pictures) - len(turns[-1][1]) + options.get("target_image", 0)
    positive = [features(text) for text in (texts[-1], *[text for _, text, _ in pictures])]
    negative = list(positive)
    negative[0] = features(options.get("negative", ""))
    if pictures:
        negative[-1] = negative[0]
    indicators = torch.stack([features(f"{{image{i or ''}}}")[:, 0] for i in range(10)], dim=1)
    mask = masks[target] if pictures else torch.ones(1, 1, 8, 6)
    batch = options.get("batch", 1)
    noise = torch.randn(batch, 4, *mask.shape[-2:], generator=torch.Generator().manual_seed(graphs.SEED))

    def eps(x, t, texts):
        return torch.cat([tiny.dit(x[i:i + 1], t[i:i + 1], mask, images, masks, *tiny.dit.project_text(texts, indicators))
                          for i in range(batch)])

    return ddim(lambda x, t: guide(eps(x, t, positive), eps(x, t, negative), guidance, graphs.RESCALE), noise,
                graphs.STEPS) / 0.18215


def relative(given, expected):
    return ((given - expected).norm() / expected.norm()).item()


@pytest.mark.parametrize("sampler", graphs.SAMPLERS)
@pytest.mark.parametrize("request_name", REQUESTS)
def test_equals_a_direct_call(request_name, sampler, run, tiny, features, encoded, base):
    turns, options = REQUESTS[request_name]
    given = run(graphs.edit(turns, sampler, **options))
    expected = direct(request_name, tiny, features, encoded, base)
    assert given.shape == expected.shape
    assert relative(given, expected) <= 1e-4


@pytest.mark.parametrize("guidance", [1.0, 0.0])
def test_guidance_one_and_zero(guidance, run, tiny, features, encoded, base):
    turns, options = REQUESTS["one image"]
    given = run(graphs.edit(turns, **options) | graphs.ace_sampler(guidance=guidance))
    assert relative(given, direct("one image", tiny, features, encoded, base, guidance)) <= 1e-4


def test_pth_and_core_loader_give_the_same(run):
    expected = run(graphs.edit())
    for loader in (graphs.node("ACEEditorLoadModel", model_name="ace_tiny.pth", weight_dtype="float32"),
                   graphs.node("UNETLoader", unet_name="ace_tiny.safetensors", weight_dtype="default"),
                   graphs.node("UNETLoader", unet_name="ace_tiny.pth", weight_dtype="default")):
        assert torch.equal(run(graphs.edit() | {"model": loader}), expected)


def test_decoded_picture_has_the_target_size(server):
    out = server.run(graphs.edit() | graphs.show())
    assert server.image(out["shown"]["images"][0]).size == (64, 48)


def test_denoise_starts_from_the_picture(run):
    """A denoise of almost nothing returns the encoded picture."""
    graph = graphs.edit() | graphs.ace_sampler(denoise=0.001, steps=1, guidance=1.0, latent=("encode", 0))
    graph |= {"encode": graphs.node("VAEEncode", pixels=["load a.png", 0], vae=["vae", 0])}
    close = run(graph)
    start = run(graph | graphs.save("encode"))
    far = run(graph | graphs.ace_sampler(denoise=0.9, steps=4, guidance=1.0, latent=("encode", 0)))
    assert relative(close, start) < 0.3 < 1 < relative(far, start)


def test_nodes_are_listed_with_help(server):
    for name in ("LoadModel", "LoadTextEncoder", "ConditionUnit", "LongContextUnit", "ConditionTokenizer",
                 "ImageIndicatorEmbedding", "Sampler", "Guidance", "Scheduler"):
        info = server.object_info(f"ACEEditor{name}")
        assert info["category"] == "ACE Editor" and info["description"] and info["search_aliases"]
        for inputs in (info["input"].get(kind, {}) for kind in ("required", "optional")):
            assert all(spec[1].get("tooltip") for spec in inputs.values()), name
        assert all(info["output_tooltips"]), name
