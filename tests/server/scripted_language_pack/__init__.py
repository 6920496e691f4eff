"""For tests only: a text encoder file named "scripted…" is a language model that says what script.json beside this file says.

It stands behind core's own Load CLIP and Generate Text. A pair's number is in its pictures: each is of one color, whose red and
green are the number and whose blue is 0 before the edit and 255 after it. The answer to a question is that of the first rule
in script.json which fits, with the number put in for NUMBER:

    [[step, [numbers] or null, seed or null, answer], …]   # step: a word that only the questions of this step have
"""

import json
import logging
from pathlib import Path

import comfy.sd

RULES = Path(__file__).with_name("script.json")
original = comfy.sd.load_clip


class Scripted:
    """What Generate Text calls of a CLIP."""

    def tokenize(self, text, image=None, **options):
        return text, image

    def generate(self, tokens, seed=None, **options):
        text, image = tokens
        levels = [[round(level * 255) for level in picture.mean((0, 1)).tolist()[:3]] for picture in image]
        number = levels[0][0] + 256 * levels[0][1]
        seen = [f"{level[0] + 256 * level[1]}{'after' if level[2] > 127 else 'before'}" for level in levels]
        logging.info("SCRIPTED %s seed %s", " ".join(seen), seed)
        for step, numbers, wanted, answer in json.loads(RULES.read_text(encoding="utf-8")):
            if step in text and (numbers is None or number in numbers) and wanted in (None, seed):
                return answer.replace("NUMBER", str(number))
        raise RuntimeError(f"no rule for {number}, seed {seed}: {text[:60]}")

    def decode(self, answer, **options):
        return answer


def load_clip(ckpt_paths, *arguments, **options):
    if Path(ckpt_paths[0]).name.startswith("scripted"):
        return Scripted()
    return original(ckpt_paths, *arguments, **options)


comfy.sd.load_clip = load_clip
NODE_CLASS_MAPPINGS = {}
