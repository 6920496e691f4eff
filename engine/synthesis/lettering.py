"""Text drawn into pictures. The words are made up of syllables, so that letters are learned and not a vocabulary."""

from random import Random

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from .holes import Box

SYLLABLES = ("ka", "lo", "mi", "ren", "tu", "sol", "vi", "zan", "ber", "do", "fi", "gra", "hu", "jo", "pel", "qui", "wex", "ny")
LEAST = 9  # pixels of a letter's height


def words(rng: Random) -> str:
    """One or two words of two or three syllables, capitalized, with a number now and then."""
    made = ["".join(rng.choice(SYLLABLES) for _ in range(rng.choice((1, 2, 2, 3)))) for _ in range(rng.choice((1, 1, 2)))]
    text = " ".join(made)
    return f"{text} {rng.randint(1, 99)}" if rng.random() < 0.2 else text


def write(x: Tensor, text: str, rng: Random, font: str | None = None) -> tuple[Tensor, Box] | None:
    """(H, W, 3) in [0, 1] → the picture with the text in it, and a box around the letters; None if it is too small for them.

    The letters are capitals, as those that ACE is asked for, in a color that is read on what is behind them.
    """
    height, width = x.shape[:2]
    text = text.upper()
    size = max(LEAST, round(height * rng.uniform(0.08, 0.2)))
    while True:
        face = ImageFont.truetype(font, size) if font else ImageFont.load_default(size)
        left, top, right, bottom = face.getbbox(text)
        margin = max(3, size // 4)
        w, h = int(right - left) + 2 * margin, int(bottom - top) + 2 * margin
        if w < width and h < height:
            break
        size = round(size * 0.8)
        if size < LEAST:
            return None
    at = rng.randint(0, width - w), rng.randint(0, height - h)
    box = at[0], at[1], at[0] + w, at[1] + h
    color, rim = inks(x[box[1]:box[3], box[0]:box[2]], rng)
    image = Image.fromarray((x * 255).round().byte().numpy())
    ImageDraw.Draw(image).text((at[0] + margin - left, at[1] + margin - top), text, color, face,
                               stroke_width=max(1, size // 24), stroke_fill=rim)
    return torch.from_numpy(np.asarray(image, np.float32) / 255), box


def inks(behind: Tensor, rng: Random) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """A color that is read on most of what is behind, and one for its rim."""
    dark, light = ((*(rng.randint(low, high) for _ in range(3)),) for low, high in ((0, 70), (185, 255)))
    return (dark, light) if float(behind.mean()) > 0.5 else (light, dark)
