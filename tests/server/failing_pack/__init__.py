"""For tests only: something goes wrong once, in the middle of a model's work."""

import comfy.model_management
import torch


def out_of_memory():
    raise torch.OutOfMemoryError("out of memory, as a test asked")


def stopped():
    comfy.model_management.interrupt_current_processing()
    comfy.model_management.throw_exception_if_processing_interrupted()


class FailOnce:
    """What runs through it fails once, at call `at` of one of its parts. A second run of the same graph finds this node in
    ComfyUI's cache, so nothing fails."""

    INPUT_TYPES = classmethod(lambda cls: {"required": {"at": ("INT",), "how": ("STRING",)},
                                           "optional": {"model": ("MODEL",), "clip": ("CLIP",), "vae": ("VAE",)}})
    RETURN_TYPES, FUNCTION, CATEGORY = ("MODEL", "CLIP", "VAE"), "arm", "tests"

    def arm(self, at, how, model=None, clip=None, vae=None):
        if model is not None:
            part = model.model.diffusion_model.blocks[-1].mlp
        elif clip is not None:
            part = clip.cond_stage_model.get_submodule("t5xxl.transformer.encoder.block")[-1]
        else:
            part = vae.first_stage_model.taesd_encoder[-1]
        calls = []

        def before(*_):
            calls.append(1)
            if len(calls) == at:
                handle.remove()
                {"memory": out_of_memory, "stop": stopped}[how]()
        handle = part.register_forward_pre_hook(before)
        return (model, clip, vae)


NODE_CLASS_MAPPINGS = {"FailOnce": FailOnce}
