"""T5 features of instructions and image names, through ComfyUI's own T5 (spec: ACE-0.6B, sections 3 and 4)."""

import logging
from itertools import groupby

import comfy.model_management
import comfy.sd1_clip
import comfy.text_encoders.t5
import torch
from torch import Tensor
from transformers import T5TokenizerFast

from ..checkpoint import T5_VOCABULARY
from ..errors import InputError
from ..lcu import IDENTIFIERS
from ..text import MAX_TOKENS, clean, truncate
from . import memory


class TextEncoderError(InputError):
    """A CLIP without the text encoder that ACE needs."""


def t5_of(clip) -> tuple[comfy.sd1_clip.SDClipModel, T5TokenizerFast]:
    """The T5 v1.1 model and tokenizer inside a CLIP, however it was loaded. Raises TextEncoderError."""
    models = [m for m in clip.cond_stage_model.modules() if isinstance(m, comfy.sd1_clip.SDClipModel)]
    t5s = [m for m in models if isinstance(m.transformer, comfy.text_encoders.t5.T5)]
    if not t5s:
        kinds = ", ".join(sorted({type(m.transformer).__name__ for m in models})) or type(clip.cond_stage_model).__name__
        raise TextEncoderError(f"this text encoder has no T5 ({kinds}): use Load ACE Text Encoder, or core's Load CLIP with "
                               "a T5-XXL file and type pixart.")
    words = t5s[0].transformer.shared.num_embeddings
    tokenizers = [t.tokenizer for t in (clip.tokenizer, *vars(clip.tokenizer).values())
                  if isinstance(getattr(t, "tokenizer", None), T5TokenizerFast)]
    if words != T5_VOCABULARY or not tokenizers:
        raise TextEncoderError(f"this text encoder is UMT5 or another multilingual T5 ({words} words), but ACE needs T5 v1.1 "
                               f"({T5_VOCABULARY} words): use t5xxl_fp16.safetensors or t5xxl_fp8_e4m3fn.safetensors.")
    return t5s[0], tokenizers[0]


def tokenize(tokenizer, text: str) -> list[int]:
    """Token ids of an instruction as in the reference: no weights, no padding, at most 120 with the end token. Warns when
    it cuts the text."""
    tokens, cut = truncate(tokenizer(clean(text))["input_ids"])
    if cut:
        logging.warning("ACE Editor: an instruction of %d tokens is cut to %d, so ACE does not read its end: …%r",
                        len(tokens) + cut, MAX_TOKENS, text[-40:])
    return tokens


Group = tuple[tuple[int, ...], ...]  # token ids of texts of one length, which the text encoder reads in one pass


def encode(clip, texts: list[str]) -> list[Tensor]:
    """T5 features (1, L, width) of each text, without padding. Loads the text encoder only for texts that it has not read."""
    _, tokenizer = t5_of(clip)
    return _features(clip, [(tuple(tokenize(tokenizer, text)),) for text in texts])


def encode_with_names(clip, texts: list[str]) -> tuple[list[Tensor], Tensor]:
    """(what `encode` gives, (1, 10, width): feature 0 of each identifier string), in one load of the text encoder at most.

    The names are read together, and always together; instructions one by one. The last bits of a text's features may depend
    on what is read with it, and results must not depend on what was encoded before.
    """
    _, tokenizer = t5_of(clip)
    groups = [(tuple(tokenize(tokenizer, text)),) for text in texts]
    features = _features(clip, [*groups, *name_groups(tokenizer)])
    return features[:len(texts)], torch.cat([each[:, 0] for each in features[len(texts):]])[None]


def name_groups(tokenizer) -> list[Group]:
    """The identifier strings: {image} alone, then the nine with a number, which have one token more."""
    return [tuple(group) for _, group in groupby((tuple(tokenize(tokenizer, name)) for name in IDENTIFIERS), len)]


def _features(clip, groups: list[Group]) -> list[Tensor]:
    """T5 features (n, L, width) of groups of n texts."""
    features = {each: memory.texts.recall(clip.patcher, each) for each in groups}
    new = [each for each, known in features.items() if known is None]
    for each, feature in zip(new, _read(clip, new), strict=True):
        features[each] = memory.texts.keep(clip.patcher, each, feature)
    return [features[each] for each in groups]


def _read(clip, groups: list[Group]) -> list[Tensor]:
    """T5 features (n, L, width) of groups of n texts, in one load of the text encoder."""
    if not groups:
        return []
    t5, _ = t5_of(clip)
    tokens = [[[(token, 1.0) for token in text] for text in group] for group in groups]
    clip.cond_stage_model.reset_clip_options()
    clip.load_model({"t5xxl": [text for group in tokens for text in group]})
    device = clip.patcher.load_device
    clip.cond_stage_model.set_clip_options({"execution_device": device})
    with comfy.model_management.cuda_device_context(device):  # core puts the texts of a pass one after the other
        return [torch.cat(t5.encode_token_weights(group)[0].float().chunk(len(group), 1)) for group in tokens]


def indicators(clip) -> Tensor:
    """(1, 10, width): feature 0 of each identifier string."""
    return encode_with_names(clip, [])[1]
