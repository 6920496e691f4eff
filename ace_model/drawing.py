"""A long-context unit drawn as the model receives it: frames with masks and names, texts as tokens, and maps of attention."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from .lcu import PLACEHOLDER

# Pillow's own font has no × and no symbols.
CARD, GAP, MARGIN, LINE = 256, 20, 24, 18
INK, DIM, PAPER, PANEL, RED = "#e8e8e8", "#9a9a9a", "#1f1f22", "#2b2b30", "#ff5a4f"
NAMES = ("#4f9cf9", "#f59e0b", "#22c55e", "#ec4899", "#a78bfa", "#14b8a6", "#ef4444", "#eab308", "#94a3b8", "#c084fc")


@dataclass(frozen=True, eq=False)
class Card:
    """One frame. pixels (h, w, 3) in [0, 1] or None for the target · mask (h, w) of 0 and 1 · size: (height, width) in
    pixels · grid: (rows, columns) of tokens · words: the text's pieces, `cut` of its tokens are not read."""

    title: str
    name: str
    number: int
    size: tuple[int, int]
    grid: tuple[int, int]
    words: Sequence[str]
    pixels: Tensor | None = None
    mask: Tensor | None = None
    cut: int = 0
    share: float | None = None


def draw(cards: Sequence[Card], heading: str, maps: Sequence[tuple[str, Sequence[Tensor | None]]] = ()) -> Tensor:
    """(1, H, W, 3) in [0, 1]: a row of cards, then one row of heat maps per word.

    maps: (word, per card the attention (rows, columns) that its tokens pay to the word, or None if it reads another text).
    """
    font, small = ImageFont.load_default(15), ImageFont.load_default(13)
    row = len(cards) * (CARD + GAP) - GAP + (120 if maps else 0)
    width = 2 * MARGIN + max(row, ceil(font.getlength(heading)))
    left = MARGIN + (120 if maps else 0)
    wrapped = [wrap(card, small) for card in cards]
    top = MARGIN + 34
    texts = top + CARD + 3 * LINE + 16
    rows = texts + max(len(lines) for lines in wrapped) * LINE + GAP
    height = rows + len(maps) * (CARD // 2 + GAP) + MARGIN
    page = Image.new("RGB", (width, height), PAPER)
    pen = ImageDraw.Draw(page)
    pen.text((MARGIN, MARGIN - 6), heading, INK, font)
    for i, (card, lines) in enumerate(zip(cards, wrapped, strict=True)):
        x = left + i * (CARD + GAP)
        pen.rounded_rectangle((x - 8, top - 8, x + CARD + 8, rows - 8), 8, PANEL)
        picture = face(card)
        page.paste(picture, (x + (CARD - picture.width) // 2, top + (CARD - picture.height) // 2))
        color = NAMES[card.number % len(NAMES)]
        pen.text((x, top + CARD + 6), f"{card.title}  ", INK, font)
        pen.text((x + pen.textlength(f"{card.title}  ", font), top + CARD + 6), card.name, color, font)
        pen.text((x, top + CARD + 6 + LINE), f"{card.size[1]} x {card.size[0]} px · {card.grid[1]} x {card.grid[0]} = "
                 f"{card.grid[0] * card.grid[1]} tokens", DIM, small)
        if card.share is not None:
            pen.text((x, top + CARD + 6 + 2 * LINE), f"{card.share:.0%} of the attention", DIM, small)
            bar = top + CARD + 12 + 2 * LINE
            pen.rectangle((x + 150, bar, x + 150 + (CARD - 150) * card.share, bar + 8), color)
        for n, line in enumerate(lines):
            at = x
            for text, ink in line:
                pen.text((at, texts + n * LINE), text, ink, small)
                at += pen.textlength(text, small)
    for n, (word, found) in enumerate(maps):
        y = rows + n * (CARD // 2 + GAP)
        pen.text((MARGIN, y + CARD // 4 - 8), word[:16], word_color(word), font)
        for i, (card, heat) in enumerate(zip(cards, found, strict=True)):
            x = left + i * (CARD + GAP)
            if heat is not None:
                picture = warm(face(card, CARD // 2, outline=False), heat, max(float(h.max()) for h in found if h is not None))
                page.paste(picture, (x + (CARD - picture.width) // 2, y))
    levels = torch.frombuffer(bytearray(page.tobytes()), dtype=torch.uint8).view(height, width, 3)
    return levels[None].float() / 255


def face(card: Card, side: int = CARD, outline: bool = True) -> Image.Image:
    """The frame's picture, its mask in red; a checkerboard for the target, which has none yet."""
    height, width = card.size
    scale = side / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    if card.pixels is None:
        picture = Image.new("RGB", size, "#3a3a40")
        pen = ImageDraw.Draw(picture)
        for y in range(0, size[1], 16):
            for x in range(y // 16 % 2 * 16, size[0], 32):
                pen.rectangle((x, y, x + 15, y + 15), "#44444b")
    else:
        levels = (card.pixels.cpu() * 255).round().byte().numpy()
        picture = Image.fromarray(levels).resize(size, Image.Resampling.LANCZOS)
    if outline and card.mask is not None and not card.mask.all():
        mask = Image.fromarray((card.mask.cpu() * 110).byte().numpy()).resize(size, Image.Resampling.NEAREST)
        picture.paste(Image.new("RGB", size, RED), mask=mask)
    return picture


def warm(picture: Image.Image, heat: Tensor, most: float) -> Image.Image:
    """Dark where nothing is looked at, orange where most is."""
    strength = Image.fromarray((heat / max(most, 1e-9) * 255).clamp(0, 255).byte().numpy()).resize(
        picture.size, Image.Resampling.BILINEAR)
    gray = picture.convert("L").convert("RGB").point(lambda level: level * 0.45)
    gray.paste(Image.new("RGB", picture.size, "#ffb020"), mask=strength.point(lambda level: level * 0.85))
    return gray


def wrap(card: Card, font) -> list[list[tuple[str, str]]]:
    """The text in lines of a card's width: (piece, color) each. Pieces alternate in shade, so that tokens are seen."""
    lines: list[list[tuple[str, str]]] = [[]]
    at = 0.0
    for i, piece in enumerate(card.words):
        long = font.getlength(piece)
        if at + long > CARD and at:
            lines.append([])
            at, piece = 0.0, piece.lstrip()
            long = font.getlength(piece)
        lines[-1].append((piece, word_color(piece.strip()) if PLACEHOLDER.fullmatch(piece.strip()) else (INK, DIM)[i % 2]))
        at += long
    if card.cut:
        lines.append([(f"{card.cut} more tokens are not read", RED)])
    return lines


def word_color(word: str) -> str:
    match = PLACEHOLDER.fullmatch(word)
    return NAMES[int(match["number"] or 0) % len(NAMES)] if match else INK


def words_in(text: str, offsets: Sequence[tuple[int, int]]) -> list[tuple[str, list[int]]]:
    """A text's words and image names, with the tokens of each. offsets: (first, past the last) character of each token."""
    spans = [match.span() for match in re.finditer(rf"{PLACEHOLDER.pattern}|[^\s{{]+|\{{", text)]
    out = []
    for start, stop in spans:
        tokens = [i for i, (first, last) in enumerate(offsets) if first < stop and last > start]
        if tokens:
            out.append((text[start:stop], tokens))
    return out
