"""The demo's text encoder: a tiny T5 v1.1 encoder on the standard T5 tokenizer, trained with the diffusion model."""

import os
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor, nn

MAX_TOKENS = 120
VOCABULARY = 32128
ENCODER = {"vocab_size": VOCABULARY, "d_model": 96, "d_kv": 24, "d_ff": 256, "num_layers": 2, "num_heads": 4,
           "feed_forward_proj": "gated-gelu", "dense_act_fn": "gelu_pytorch_tanh", "is_gated_act": True,
           "dropout_rate": 0.0, "layer_norm_epsilon": 1e-6, "relative_attention_num_buckets": 32,
           "relative_attention_max_distance": 128, "model_type": "t5"}


def find_tokenizer() -> Path:
    """tokenizer.json of T5 inside a ComfyUI. Raises FileNotFoundError with the way out."""
    root = Path(__file__).parents[2]
    homes = [Path(os.environ["COMFYUI_PATH"])] if os.environ.get("COMFYUI_PATH") else []
    for home in (*homes, root / ".dev" / "ComfyUI", root.parent.parent):
        file = home / "comfy" / "text_encoders" / "t5_tokenizer" / "tokenizer.json"
        if file.exists():
            return file
    raise FileNotFoundError("T5's tokenizer comes with ComfyUI: set COMFYUI_PATH to a ComfyUI folder.")


class Tokenizer:
    """Text → T5 token ids with EOS, at most 120; repeated texts are remembered."""

    def __init__(self, file: Path | None = None):
        from tokenizers import Tokenizer as Standard
        self.standard = Standard.from_file(str(file or find_tokenizer()))
        self.standard.no_padding()
        self.standard.no_truncation()
        self.ids = lru_cache(65536)(self._ids)

    def _ids(self, text: str) -> tuple[int, ...]:
        ids = self.standard.encode(" ".join(text.split())).ids
        return tuple(ids if len(ids) <= MAX_TOKENS else [*ids[:MAX_TOKENS - 1], ids[-1]])

    def batch(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """ids (n, L) padded with 0 and valid (n, L) bool; L is the longest."""
        rows = [self.ids(t) for t in texts]
        ids = torch.zeros(len(rows), max(map(len, rows)), dtype=torch.long)
        valid = torch.zeros_like(ids, dtype=torch.bool)
        for i, row in enumerate(rows):
            ids[i, :len(row)] = torch.tensor(row)
            valid[i, :len(row)] = True
        return ids, valid


def text_encoder() -> nn.Module:
    """transformers' T5EncoderModel, freshly initialised; its state dict fits ComfyUI's core T5 too."""
    from transformers import T5Config, T5EncoderModel
    settings = {k: v for k, v in ENCODER.items() if k not in ("model_type", "dense_act_fn", "is_gated_act")}
    return T5EncoderModel(T5Config(**settings, is_encoder_decoder=False, use_cache=False))
