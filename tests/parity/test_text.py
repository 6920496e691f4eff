"""T5 through ComfyUI's classes against transformers, tokens and features; CLIPs that do not fit."""

import gc
import logging
import os
import weakref

import pytest
import torch
from safetensors.torch import save_file

STRINGS = [
    "", "{image}", "{image9}", "{image} make the sky red", "{image} in the style of {image1}",
    "{image8}{image7}", "a (red) car", "((a)) [b] {c}", "(weight:1.3) is text", "a:b::c",
    "\"quoted\" and 'single'", "“curly” ‘quotes’", "back\\slash \\( and \\)",
    "embedding:cat <lora:x:1>", "BREAK AND break", "50% off, $3.99!", "北京的猫", "日本語のテキスト",
    "Привет, мир", "مرحبا بالعالم", "नमस्ते दुनिया", "Größe naïve café", "🐱 🎨", "a\nb\tc",
    "   spaces   ", "W R I T E  \"A B C\"", "x" * 90, "// not a comment",
    "one, two; three. four? five", "{previous.image} back", "&amp; html &lt;b&gt;", "1024×768 ±3°C",
]
CONFIG = {"vocab_size": 32128, "d_model": 48, "d_kv": 16, "d_ff": 96, "num_layers": 3, "num_heads": 4,
          "feed_forward_proj": "gated-gelu", "dropout_rate": 0.0}


def reference(**changes):
    from transformers import T5Config, T5EncoderModel
    torch.manual_seed(0)
    return T5EncoderModel(T5Config(**{**CONFIG, **changes})).eval()


def write(model, path, dtype=torch.float32):
    save_file({key: value.detach().to(dtype).contiguous().clone() for key, value in model.state_dict().items()
               if key != "encoder.embed_tokens.weight"}, path)
    return str(path)


@pytest.fixture(scope="module")
def t5(tmp_path_factory, pack):
    """(transformers' model and tokenizer, the same weights as a CLIP)."""
    from transformers import T5TokenizerFast
    tokenizer = T5TokenizerFast.from_pretrained(os.path.join(os.environ["COMFYUI_PATH"], "comfy/text_encoders/t5_tokenizer"))
    model = reference()
    clip = pack.loader.load_text_encoder(write(model, tmp_path_factory.mktemp("t5") / "t5.safetensors"))
    return model, tokenizer, clip


@pytest.mark.parametrize("text", STRINGS)
@torch.inference_mode()
def test_tokens_and_features(text, t5, pack, golden):
    from ace_model.text import clean
    model, tokenizer, clip = t5
    tokens = tokenizer(clean(text))["input_ids"]
    assert pack.text.tokenize(pack.text.t5_of(clip)[1], text) == tokens
    expected = model(torch.tensor([tokens])).last_hidden_state
    given, = pack.text.encode(clip, [text])
    assert given.shape == expected.shape and golden.relative(given, expected) <= 1e-4


def test_known_tokens(t5, pack):
    tokenizer = pack.text.t5_of(t5[2])[1]
    assert pack.text.tokenize(tokenizer, "{image}") == [3, 2, 8221, 2, 1]
    assert pack.text.tokenize(tokenizer, "") == [1]


def test_long_text_is_cut_with_a_warning(t5, pack, caplog):
    tokenizer = pack.text.t5_of(t5[2])[1]
    text = "paint the house blue and " * 40
    with caplog.at_level(logging.WARNING):
        tokens = pack.text.tokenize(tokenizer, text)
    assert len(tokens) == 120 and tokens[-1] == 1 and tokens[:119] == tokenizer(text.strip())["input_ids"][:119]
    assert "is cut to 120" in caplog.text


@torch.inference_mode()
def test_indicators_are_feature_zero_and_cached_per_encoder(t5, pack, golden, monkeypatch):
    model, tokenizer, clip = t5
    names = ["{image}", *(f"{{image{i}}}" for i in range(1, 10))]
    expected = torch.stack([model(torch.tensor([tokenizer(n)["input_ids"]])).last_hidden_state[:, 0] for n in names], dim=1)
    given = pack.text.indicators(clip)
    assert given.shape == (1, 10, 48) and golden.relative(given, expected) <= 1e-4
    monkeypatch.setattr(clip, "load_model", None)  # a second computation would fail
    assert torch.equal(pack.text.indicators(clip), given)


@torch.inference_mode()
def test_features_are_bounded_and_die_with_their_encoder(tmp_path, pack, monkeypatch):
    from ace_pack.ace_model.comfyui.memory import Encoded
    known = Encoded(3000)  # five texts of three tokens
    monkeypatch.setattr(pack.text.memory, "texts", known)
    clip = pack.loader.load_text_encoder(write(reference(), tmp_path / "t5.safetensors"))
    model = weakref.ref(clip.patcher.model)
    for number in range(10):
        pack.text.encode(clip, [f"number {number}"])
        kept = known._of[clip.patcher.model]
        assert sum(each.nbytes for each in kept.values()) <= known.limit
    assert len(kept) == 5
    patched = clip.clone()
    key = next(key for key in patched.patcher.model_state_dict() if key.endswith("SelfAttention.q.weight"))
    patched.add_patches({key: (torch.ones_like(patched.patcher.model_state_dict()[key]),)}, 1.0)
    before = pack.text.encode(clip, ["number 9"])[0]
    assert not torch.equal(pack.text.encode(patched, ["number 9"])[0], before)
    assert torch.equal(pack.text.encode(clip, ["number 9"])[0], before)
    del clip, patched, kept
    gc.collect()
    assert model() is None and not known._of


@pytest.mark.parametrize("changes", [{"d_model": 64, "num_heads": 2, "d_kv": 32}, {"num_layers": 1, "d_ff": 40},
                                     {"feed_forward_proj": "relu"}])
@torch.inference_mode()
def test_any_size(changes, tmp_path, t5, pack, golden):
    model = reference(**changes)
    clip = pack.loader.load_text_encoder(write(model, tmp_path / "t5.safetensors"))
    tokens = t5[1]("{image} make it blue")["input_ids"]
    expected = model(torch.tensor([tokens])).last_hidden_state
    assert golden.relative(pack.text.encode(clip, ["{image} make it blue"])[0], expected) <= 1e-4


@pytest.mark.parametrize("dtype", [torch.float8_e4m3fn, torch.float16, torch.bfloat16])
@torch.inference_mode()
def test_files_in_fewer_bits(dtype, tmp_path, t5, pack, golden):
    """The same rounded weights in transformers give the same features."""
    model, tokenizer, _ = t5
    clip = pack.loader.load_text_encoder(write(model, tmp_path / "t5.safetensors", dtype))
    rounded = reference()
    rounded.load_state_dict({key: value.to(dtype).float() for key, value in rounded.state_dict().items()})
    expected = rounded(torch.tensor([tokenizer("{image} make it blue")["input_ids"]])).last_hidden_state
    assert golden.relative(pack.text.encode(clip, ["{image} make it blue"])[0], expected) <= 1e-3


@torch.inference_mode()
def test_scaled_fp8_file(tmp_path, t5, pack, golden):
    """fp8 with a scale per layer, as t5xxl_fp8_e4m3fn_scaled.safetensors: close to the full precision."""
    model, tokenizer, _ = t5
    sd = {"scaled_fp8": torch.zeros(2, dtype=torch.float8_e4m3fn)}
    for key, value in model.state_dict().items():
        if key.endswith(".weight") and ("SelfAttention." in key or "DenseReluDense" in key) and "bias" not in key:
            scale = value.abs().max() / 448
            sd[key] = (value / scale).to(torch.float8_e4m3fn)
            sd[key.replace(".weight", ".scale_weight")] = scale
        elif key != "encoder.embed_tokens.weight":
            sd[key] = value.clone()
    save_file(sd, tmp_path / "scaled.safetensors")
    clip = pack.loader.load_text_encoder(str(tmp_path / "scaled.safetensors"))
    expected = model(torch.tensor([tokenizer("{image} make it blue")["input_ids"]])).last_hidden_state
    assert golden.relative(pack.text.encode(clip, ["{image} make it blue"])[0], expected) <= 0.1


def test_umt5_incomplete_and_others_are_refused(tmp_path, pack):
    from transformers import UMT5Config, UMT5EncoderModel
    umt5 = UMT5EncoderModel(UMT5Config(**{**CONFIG, "vocab_size": 256384}))
    with pytest.raises(ValueError, match=r"umt5.safetensors is UMT5 \(256384 words\), but ACE needs T5 v1.1 \(32128 words\)"):
        pack.loader.load_text_encoder(write(umt5, tmp_path / "umt5.safetensors"))
    sd = reference().state_dict()
    del sd["encoder.block.2.layer.1.DenseReluDense.wo.weight"], sd["encoder.embed_tokens.weight"]
    save_file(sd, tmp_path / "part.safetensors")
    with pytest.raises(ValueError, match="part.safetensors is an incomplete T5 encoder: tensors are missing \\(1, for example"):
        pack.loader.load_text_encoder(str(tmp_path / "part.safetensors"))
    save_file({"decoder.conv_in.weight": torch.zeros(1)}, tmp_path / "vae.safetensors")
    with pytest.raises(ValueError, match="vae.safetensors is not a T5 text encoder: it looks like a VAE"):
        pack.loader.load_text_encoder(str(tmp_path / "vae.safetensors"))


@pytest.fixture(scope="module")
def core_clips(comfy):
    """CLIPs made by core's own classes: a T5-XXL in SD3's and FLUX's companies with random tiny weights, and a CLIP-L."""
    import comfy.sd
    import comfy.supported_models_base as base
    import comfy.text_encoders.flux
    import comfy.text_encoders.pixart_t5
    import comfy.text_encoders.sd3_clip
    from comfy import sd1_clip
    tiny = {"t5xxl_model_config": {"d_model": 48, "d_kv": 16, "d_ff": 96, "num_layers": 3, "num_heads": 4}}
    kinds = {
        "pixart": (comfy.text_encoders.pixart_t5.PixArtTokenizer, comfy.text_encoders.pixart_t5.pixart_te()),
        "sd3": (comfy.text_encoders.sd3_clip.SD3Tokenizer, comfy.text_encoders.sd3_clip.sd3_clip(clip_l=False, clip_g=False)),
        "clip_l": (sd1_clip.SD1Tokenizer, sd1_clip.SD1ClipModel),
    }
    return {kind: comfy.sd.CLIP(base.ClipTarget(*target), model_options=dict(tiny)) for kind, target in kinds.items()}


@pytest.mark.parametrize("kind", ["pixart", "sd3"])
@torch.inference_mode()
def test_cores_own_clips(kind, core_clips, t5, pack, golden):
    """Same weights, loaded by core in its half precision as another model's text encoder: no padding, no weights."""
    clip = core_clips[kind]
    missing, unexpected = clip.load_sd({key: value for key, value in t5[0].state_dict().items() if "embed_tokens" not in key})
    assert not unexpected and not [key for key in missing if "logit_scale" not in key]
    text = "(a) {image} {image1}: blue"
    expected = t5[0](torch.tensor([t5[1](text)["input_ids"]])).last_hidden_state
    given, = pack.text.encode(clip, [text])
    assert given.shape == expected.shape and golden.relative(given, expected) <= 2e-3


def test_clip_without_t5(core_clips, pack):
    with pytest.raises(ValueError, match=r"this text encoder has no T5 \(CLIPTextModel\): use Load ACE Text Encoder"):
        pack.text.encode(core_clips["clip_l"], ["x"])
