"""Cleaning against ftfy, which the reference calls, on what people type."""

import html

import ftfy
import pytest

from ace_model.text import clean, truncate

ORDINARY = [
    "", " ", "{image} make it blue", "{image} in the style of {image1}",
    "a (red) car, [blue] sky: 50% off!", "  spaces \t and\nlines  ", "it’s “quoted” — and dashed…",
    "Überstraße, naïve café, Ångström", "北京的猫坐在{image}里", "日本語のテキスト「引用」", "Привет, мир! {image1}",
    "مرحبا بالعالم", "नमस्ते दुनिया", "emoji 🐱‍👤 🎨 and ❤️", "tabs\tand\u00a0nbsp",
    "&quot;H e l l o&quot; &amp;amp; more", "ﬁne ﬂowers", "ＡＢＣ１２３！", "e\u0301 combining",
    "C:\\path\\to // not a comment", "x < y && y > z", "a_b*c~d`e^f", "“nested ‘quotes’ here”",
    "1/2 × 3 ÷ 4 = ¾ ± √2", "\ufeffbyte order mark", "zero\u200bwidth", "bell\x07 and null\x00",
    "write \"H E L L O\" on the wall", "(((weights))) and (this:1.3)", "embedding:name <lora:x:1>",
]


@pytest.mark.parametrize("text", ORDINARY)
def test_as_the_reference_cleans(text):
    reference = " ".join(html.unescape(html.unescape(ftfy.fix_text(text))).split()).strip()
    assert clean(text) == reference


def test_truncation_keeps_the_end_token():
    assert truncate([5, 6, 1]) == ([5, 6, 1], 0)
    assert truncate([7] * 119 + [1]) == ([7] * 119 + [1], 0)
    assert truncate([7] * 199 + [1]) == ([7] * 119 + [1], 80)


@pytest.mark.parametrize("text, means", [
    ("&" + "amp;" * 200_000 + "lt;", "<"), ("&" + "amp" * 100_000, "&"), ("&#38;" * 3 + "#38;lt;", "&&<"),
    ("&#381;", "Ž"), ("&#x263a;", "☺"), ("&ampersand", "&ersand")])
def test_entities_within_entities_are_read_at_once(text, means):
    """As html.unescape leaves them, again and again; that alone would take hours for the longest."""
    assert clean(text) == means
    if len(text) < 100:
        expected = text
        while (again := html.unescape(expected)) != expected:
            expected = again
        assert means == expected


def test_entities_nested_beyond_reason_come_to_an_end():
    nested = "&"
    for _ in range(2000):
        nested = nested.replace("&", "&#3&#56;;", 1)
    assert clean(clean(nested)) == clean(nested)
