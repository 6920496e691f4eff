"""For tests only: says in the log what is encoded, and when a text encoder is loaded."""

import functools
import logging

import comfy.sd
import comfy.sd1_clip


def counted(kind, name, what):
    """what: from the call's arguments to the words that it counts as."""
    original = getattr(kind, name)

    @functools.wraps(original)
    def wrapper(*args, **kwargs):
        for each in what(*args):
            logging.info("COUNTED %s", each)
        return original(*args, **kwargs)
    setattr(kind, name, wrapper)


counted(comfy.sd1_clip.SDClipModel, "encode_token_weights", lambda _, texts: ["pass", *["text"] * len(texts)])
counted(comfy.sd.CLIP, "load_model", lambda *_: ["load"])
counted(comfy.sd.VAE, "encode", lambda *_: ["picture"])
NODE_CLASS_MAPPINGS = {}
