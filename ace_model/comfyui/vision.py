"""Picture features from core's CLIP vision models: SigLIP, CLIP, DINO."""

from collections.abc import Sequence

import comfy.clip_vision
import comfy.utils
import folder_paths
import torch
from torch import Tensor

from ..errors import InputError
from .signature import signature

FOLDER = "clip_vision"


class VisionError(InputError):
    """A CLIP vision model that is not there or is none."""


def load(name: str):
    """Core's CLIP_VISION from a file in models/clip_vision. Raises VisionError."""
    path = folder_paths.get_full_path(FOLDER, name)
    if path is None:
        known = ", ".join(folder_paths.get_filename_list(FOLDER)[:5]) or "nothing"
        raise VisionError(f"models/{FOLDER} has no {name}: it has {known}. Put it there, for example SigLIP's "
                          "sigclip_vision_patch14_384.safetensors.")
    try:
        model = comfy.clip_vision.load(path)
    except Exception as error:  # whatever a file of another kind brings about in core
        raise VisionError(f"{name} cannot be loaded as a CLIP vision model ({error}): use another file.") from None
    if model is None:
        raise VisionError(f"{name} is no CLIP vision model that ComfyUI knows: use another file.")
    return model


class Vision:
    """Pictures → features of length 1."""

    def __init__(self, model):
        self.model = model

    @property
    def name(self) -> str:
        """Of the kind of model and the weights: equal for equal ones."""
        return f"{self.model.model_type} {signature(self.model.patcher)[:16]}"

    @torch.inference_mode()
    def __call__(self, pictures: Sequence[Tensor]) -> Tensor:
        """(H, W, 3) in [0, 1] each, of any sizes → (n, d).

        What the model pools itself, where core gives that. Core gives SigLIP's last tokens without the head that pools them, so
        theirs is the mean.
        """
        size = self.model.image_size
        whole = [comfy.utils.common_upscale(each[..., :3].movedim(-1, 0)[None], size, size, "bicubic", "disabled")
                 for each in pictures]  # stretched: a crop would lose edits at the border
        embedded = self.model.encode_image(torch.cat(whole).movedim(1, -1).clamp(0, 1))["image_embeds"].float()
        pooled = embedded if embedded.ndim == 2 else embedded.mean(1)
        return torch.nn.functional.normalize(pooled, dim=1).cpu()
