"""ACE++'s instructions against transformers with the authors' special tokens: ids of T5, features, CLIP-L's pooled output.

Compared with `T5TokenizerFast.add_special_tokens({"additional_special_tokens": NAMES})` on ComfyUI's own tokenizer files;
`from_pretrained(…, additional_special_tokens=NAMES)`, the authors' call, gives the same.
"""

import logging
import os
from types import SimpleNamespace

import pytest
import torch

from ace_model import plus_text
from ace_model.text import clean
from tools import tiny_flux

NAMES = ["<img>", "{image}", "{caption}", "{mask}", "{ref_image}", "{image1}", "{image2}", "{image3}", "{image4}", "{image5}",
         "{image6}", "{image7}", "{image8}", "{image9}"]
TEXTS = [
    "", "   ", "no names at all", "{image} at the start", "at the end {image}", "in the {image} middle",
    "{image}{image1}", "{image} {image1}", "{image}  {image}", "{image}, {mask}. Then: {image9}!", "'{image1}' and ({image2})",
    "a{image}b", "北京 {image} 的猫", "Größe {mask}naïve 🐱{image3}", "{image10} is no name, {image1} is",
    "{image 1} {Image} { image}",
    "put {ref_image} here", "<img> and {caption}<img>", "  {image}   many    spaces  ", "{{image}} {image{image2}}",
    "a (red:1.3) car, [b] \\(c\\) {red|blue} {image}", "embedding:cat {image} <lora:x:1> // y",
    'By referencing the {mask}, restore {image4} from {image5}: "a cup, {image6}{image7}{image8}".',
]


@pytest.fixture(scope="module")
def tokenizer(comfy):
    """ComfyUI's tokenizer with the authors' names."""
    import transformers
    tokenizer = transformers.T5TokenizerFast.from_pretrained(folder())
    tokenizer.add_special_tokens({"additional_special_tokens": list(NAMES)})
    if int(transformers.__version__.split(".")[0]) < 5:  # the authors' slow T5Tokenizer marks a word's start after a name too
        from tokenizers import pre_tokenizers
        tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    return tokenizer


def folder():
    return os.path.join(os.environ["COMFYUI_PATH"], "comfy/text_encoders/t5_tokenizer")


@pytest.fixture(scope="module")
def plus(pack):
    from ace_pack.ace_model.comfyui import plus
    return plus


@pytest.fixture(scope="module")
def clip(comfy, tmp_path_factory):
    """Tiny random files through the loader that DualCLIPLoader calls; on a CPU that would store them as float16."""
    folder = tmp_path_factory.mktemp("flux_text")
    paths = [tiny_flux.save(tiny_flux.clip_l(), folder / "clip_l.safetensors"),
             tiny_flux.save(tiny_flux.t5(), folder / "t5.safetensors")]
    return comfy.sd.load_clip([str(path) for path in paths], clip_type=comfy.sd.CLIPType.FLUX, model_options={
        "t5xxl_model_config": tiny_flux.T5, "model_config": dict(tiny_flux.CLIP_L), "dtype": torch.float32})


@pytest.fixture(scope="module")
def theirs():
    """transformers' encoders with the same weights."""
    from transformers import CLIPTextConfig, CLIPTextModel, T5Config, T5EncoderModel
    t5 = T5EncoderModel(T5Config(vocab_size=32128, feed_forward_proj="gated-gelu", dropout_rate=0.0, **tiny_flux.T5)).eval()
    assert not t5.load_state_dict(tiny_flux.t5(), strict=False).unexpected_keys
    clip_l = CLIPTextModel(CLIPTextConfig(**tiny_flux.CLIP_L)).eval()
    weights, own = tiny_flux.clip_l(), clip_l.state_dict()
    weights = {key if key in own else key.removeprefix("text_model."): value for key, value in weights.items()}
    assert not clip_l.load_state_dict(weights, strict=False).unexpected_keys
    return SimpleNamespace(t5=t5, clip_l=clip_l)


def given_ids(clip, text):
    """What the node hands to the encoders: {"t5xxl", "l"}: ids."""
    from ace_pack.ace_model.comfyui import plus
    seen = {}

    class Recorder:
        cond_stage_model, tokenizer = clip.cond_stage_model, clip.tokenizer

        def encode_from_tokens_scheduled(self, tokens, add_dict):
            seen.update(tokens)

    plus.encode_text(Recorder(), text, 50.0)
    assert all(weight == 1.0 for batch in seen.values() for _, weight in batch[0])
    return {key: [one for one, _ in batch[0]] for key, batch in seen.items()}


def test_the_names_are_the_authors_ids(tokenizer):
    assert tokenizer.convert_tokens_to_ids(NAMES) == list(range(32100, 32114)) == list(plus_text.IDS.values())
    assert list(plus_text.IDS) == NAMES
    added = [tokenizer.added_tokens_decoder[one] for one in range(32100, 32114)]
    assert not any(each.lstrip or each.rstrip or each.single_word or each.normalized for each in added)


def test_both_calls_of_transformers_agree(tokenizer):
    import transformers
    other = transformers.T5TokenizerFast.from_pretrained(folder(), additional_special_tokens=list(NAMES))
    other.backend_tokenizer.pre_tokenizer = tokenizer.backend_tokenizer.pre_tokenizer
    assert [other(text)["input_ids"] for text in TEXTS] == [tokenizer(text)["input_ids"] for text in TEXTS]


@pytest.mark.parametrize("text", TEXTS)
def test_ids_are_those_of_transformers(text, tokenizer, clip, pack):
    """The text as typed: transformers alone decides what becomes of white space."""
    expected = tokenizer(text, padding="max_length", max_length=512, truncation=True)["input_ids"]
    assert given_ids(clip, text)["t5xxl"] == expected


def test_known_ids(clip, pack):
    assert given_ids(clip, "put {image} there")["t5xxl"][:5] == [474, 32101, 132, 1, 0]
    assert given_ids(clip, "{image}, {mask}.")["t5xxl"][:7] == [32101, 3, 6, 32103, 3, 5, 1]


def test_text_is_tidied_as_the_authors_tidy_it(tokenizer, clip, pack):
    for text in ("“{image}”\n\tit’s", "&lt;img&gt; &amp;amp; x", "｛image｝ ｆｕｌｌ"):
        assert given_ids(clip, text)["t5xxl"] == tokenizer(clean(text), padding="max_length", max_length=512)["input_ids"]
    assert given_ids(clip, "｛image｝")["t5xxl"][0] == 32101


@pytest.mark.parametrize("text", TEXTS)
@torch.inference_mode()
def test_features_are_those_of_transformers(text, tokenizer, clip, plus, theirs, golden):
    """512 tokens without attention mask: padding is read, as by the authors."""
    (cross, values), = plus.encode_text(clip, text, 50.0)
    ids = tokenizer(text, padding="max_length", max_length=512, truncation=True, return_tensors="pt")["input_ids"]
    expected = theirs.t5(input_ids=ids, attention_mask=None).last_hidden_state
    assert cross.shape == expected.shape == (1, 512, tiny_flux.TEXT_WIDTH)
    assert golden.relative(cross, expected) <= 1e-4 and (cross - expected).abs().max() <= 1e-4
    assert values["guidance"] == 50.0 and "attention_mask" not in values

    words = clip.tokenizer.clip_l.tokenizer(clean(text), padding="max_length", max_length=77, truncation=True,
                                            return_tensors="pt")["input_ids"]
    pooled = theirs.clip_l(input_ids=words).pooler_output
    assert given_ids(clip, text)["l"] == words[0].tolist()
    assert golden.relative(values["pooled_output"], pooled) <= 1e-4


@torch.inference_mode()
def test_a_plain_text_is_as_from_core_with_512_tokens(clip, plus):
    text = "The woman wears this shirt."
    (given, values), = plus.encode_text(clip, text, 3.5)
    (expected, wanted), = clip.encode_from_tokens_scheduled(clip.tokenize(text, tokenizer_options={"t5xxl_min_length": 512}))
    assert torch.equal(given, expected) and torch.equal(values["pooled_output"], wanted["pooled_output"])


def test_the_clip_that_others_share_is_left_alone(clip, pack):
    before = clip.tokenize("{image} {mask}")
    given_ids(clip, "{image} {mask}")
    assert clip.tokenize("{image} {mask}") == before and len(clip.tokenizer.t5xxl.tokenizer) == 32100


# Bad input


def test_a_long_text_is_cut_and_the_warning_says_what(tokenizer, clip, pack, caplog):
    text = "paint the house blue and " * 110 + "then place {image2} on the roof"
    with caplog.at_level(logging.WARNING):
        ids = given_ids(clip, text)
    assert ids["t5xxl"] == tokenizer(text, max_length=512, truncation=True)["input_ids"] and len(ids["t5xxl"]) == 512
    assert len(ids["l"]) == 77
    warning, = (one.getMessage() for one in caplog.records if "ACE++ Text Encode" in one.getMessage())
    assert f"has {len(tokenizer(text)['input_ids'])} tokens, 512 are read" in warning
    assert warning.endswith("place {image2} on the roof")


def test_a_text_that_just_fits(tokenizer, clip, pack, caplog):
    text = "{image}" * 511
    with caplog.at_level(logging.WARNING):
        assert given_ids(clip, text)["t5xxl"] == [32101] * 511 + [1]
        assert "cut off" not in caplog.text
        assert given_ids(clip, text + "{mask}")["t5xxl"] == [32101] * 511 + [1]
    assert "513 tokens, 512 are read. This part is cut off: {mask}" in caplog.text


def test_clips_that_are_not_flux_s(comfy, pack, plus, clip, tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="clip is empty"):
        plus.encode_text(None, "x", 50.0)
    words = str(tiny_flux.save(tiny_flux.clip_l(), tmp_path / "clip_l.safetensors"))
    alone = comfy.sd.load_clip([words], clip_type=comfy.sd.CLIPType.STABLE_DIFFUSION, model_options={
        "model_config": dict(tiny_flux.CLIP_L)})
    with pytest.raises(ValueError, match=r"no T5-XXL \(found .*DualCLIPLoader.*type flux"):
        plus.encode_text(alone, "x", 50.0)
    t5 = pack.loader.load_text_encoder(str(tiny_flux.save(tiny_flux.t5(), tmp_path / "t5.safetensors")))
    with pytest.raises(ValueError, match=r"no CLIP-L \(found .*DualCLIPLoader.*type flux"):
        plus.encode_text(t5, "x", 50.0)
    monkeypatch.setattr(clip.cond_stage_model.t5xxl.transformer, "shared", torch.nn.Embedding(32100, 4))
    with pytest.raises(ValueError, match=r"knows 32100 words.*needs T5 v1.1's 32128"):
        plus.encode_text(clip, "x", 50.0)
