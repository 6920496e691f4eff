"""Prepare instructions for the text encoder (spec: ACE-0.6B, section 3)."""

import html
import re
import unicodedata
from collections.abc import Sequence

MAX_TOKENS = 120  # including the end token
END = 1

QUOTES = str.maketrans({"‘": "'", "’": "'", "‚": "'", "‛": "'", "“": '"', "”": '"', "„": '"', "‟": '"'})
WIDE = re.compile(r"[\uff01-\uff5e\u3000\ufb00-\ufb06]+")  # full-width forms and Latin ligatures
# Half characters (surrogates) too: no tokenizer takes them.
CONTROL = re.compile(r"[\x00-\x08\x0b\x0e-\x1f\x7f\ufeff\u206a-\u206f\ufff9-\ufffb\ud800-\udfff]")


AMPERSANDS = re.compile(r"&(?:(?:amp|AMP);?|#0*38(?:;|(?!\d))|#[xX]0*26(?:;|(?![\da-fA-F])))+")  # one that stands for itself
PASSES = 50  # entities within entities, deeper than anybody means


def clean(text: str) -> str:
    """Tidy an instruction without changing ordinary text. Cleaning a clean text changes nothing.

    The reference calls ftfy, which ComfyUI does not install. This does what ftfy does to text that people type (straight
    quotes, ligatures, full-width letters, control characters, NFC), without its repair of wrongly decoded text.
    """
    for _ in range(PASSES):
        if (tidy := _tidy(text)) == text:
            return text
        text = tidy
    return _tidy(text.replace("&", ""))


def _tidy(text: str) -> str:
    text = AMPERSANDS.sub("&", text)
    text = CONTROL.sub("", html.unescape(text))
    text = WIDE.sub(lambda match: unicodedata.normalize("NFKC", match[0]), text.translate(QUOTES))
    return " ".join(unicodedata.normalize("NFC", text).split())


def truncate(tokens: Sequence[int]) -> tuple[list[int], int]:
    """At most 120 tokens, of which the last is the end token; and how many were cut."""
    tokens = list(tokens)
    if len(tokens) <= MAX_TOKENS:
        return tokens, 0
    return [*tokens[:MAX_TOKENS - 1], END], len(tokens) - MAX_TOKENS
