"""For tests only: says in the log what is encoded, and when a text encoder is loaded."""

import functools
import logging

import comfy.sd
import comfy.sd1_clip


def counted(kind, name, what):
    original = getattr(kind, name)

    @functools.wraps(original)
    def wrapper(*args, **kwargs):
        logging.info("COUNTED %s", what)
        return original(*args, **kwargs)
    setattr(kind, name, wrapper)


counted(comfy.sd1_clip.SDClipModel, "encode_token_weights", "text")
counted(comfy.sd.CLIP, "load_model", "load")
counted(comfy.sd.VAE, "encode", "picture")
NODE_CLASS_MAPPINGS = {}
