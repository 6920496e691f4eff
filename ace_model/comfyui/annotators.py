"""Maps of pictures from core's models: depth (Depth Anything 3), pose (SDPose), segmentation (SAM 3).

Each function takes the name of a weights file in ComfyUI's folders and gives (H, W, 3) in [0, 1] → a map of the same shape.
Core's own nodes do the work.
"""

import colorsys
from collections.abc import Callable, Sequence

import comfy.sd
import folder_paths
import torch
from torch import Tensor

from ..errors import InputError

Annotator = Callable[[Tensor], Tensor]
SCORE = 0.5  # of a thing that segmentation finds, at least


class AnnotatorError(InputError):
    """Weights that are not there, or are of another model."""


def depth(name: str) -> Annotator:
    """Gray, near is bright. name: in models/geometry_estimation."""
    find("geometry_estimation", name, "Depth Anything 3", "Comfy-Org/Depth-Anything-3")
    from comfy_extras.nodes_depth_anything_3 import DA3Inference, DA3Render, LoadDA3Model
    model = loaded(name, "Depth Anything 3", lambda: LoadDA3Model.execute(name, "default")[0])

    def annotate(pixels: Tensor) -> Tensor:
        geometry = DA3Inference.execute(model, pixels[None], 504, "upper_bound_resize", {"mode": "mono"})[0]
        output = {"output": "depth", "normalization": "v2_style", "apply_sky_clip": False}
        return DA3Render.execute(geometry, output)[0][0].float().cpu()
    return annotate


def pose(name: str) -> Annotator:
    """Colored limbs on black. name: in models/checkpoints."""
    path = find("checkpoints", name, "SDPose", "Comfy-Org/SDPose")
    from comfy_extras.nodes_sdpose import SDPoseDrawKeypoints, SDPoseKeypointExtractor
    model, _, vae = loaded(name, "SDPose", lambda: comfy.sd.load_checkpoint_guess_config(path, True, False)[:3])

    def annotate(pixels: Tensor) -> Tensor:
        keypoints = SDPoseKeypointExtractor.execute(model, vae, pixels[None], 1)[0]
        drawn = SDPoseDrawKeypoints.execute(keypoints, True, True, True, False, 4, 3, 0.3, True)[0]
        return drawn[0].float().cpu()
    return annotate


def segmentation(name: str, things: Sequence[str]) -> Annotator:
    """A color for each thing, black for the rest. name: in models/checkpoints · things: words for what to look for."""
    path = find("checkpoints", name, "SAM 3", "Comfy-Org/sam3")
    from comfy_extras.nodes_sam3 import SAM3_Detect
    model, clip = loaded(name, "SAM 3", lambda: comfy.sd.load_checkpoint_guess_config(path, False, True)[:2])
    conditions = [clip.encode_from_tokens_scheduled(clip.tokenize(word)) for word in things]

    def annotate(pixels: Tensor) -> Tensor:
        found = [mask for condition in conditions
                 for mask in SAM3_Detect.execute(model, pixels[None], condition, threshold=SCORE, individual_masks=True)[0]]
        found.sort(key=lambda mask: -float(mask.sum()))  # small things lie before large ones
        out = torch.zeros_like(pixels)
        for number, mask in enumerate(found):
            out[mask.cpu() > 0.5] = torch.tensor(colorsys.hsv_to_rgb(number * 0.618034 % 1, 0.75, 1.0))
        return out
    return annotate


def find(folder: str, name: str, what: str, source: str) -> str:
    """The path of a weights file. Raises AnnotatorError, which names where it belongs."""
    path = folder_paths.get_full_path(folder, name)
    if path is None:
        raise AnnotatorError(f"models/{folder} has no {name}: download {what} (huggingface.co/{source}) into it, or leave "
                             "this map out.")
    return path


def loaded(name: str, what: str, load: Callable):
    try:
        return load()
    except Exception as error:  # whatever a file of another kind brings about in core
        raise AnnotatorError(f"{name} cannot be loaded as {what} ({error}): use another file.") from None
