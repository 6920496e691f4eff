"""For tests only: tells core's loaders the sizes of tests/tiny_flux.py, and records what a Flux reads."""

import functools
import importlib.util
from pathlib import Path

import comfy.clip_vision
import comfy.ldm.flux.redux
import comfy.sd
import comfy.utils
import folder_paths
from safetensors.torch import save_file

SIZES = Path(__file__).resolve().parents[3] / "tools" / "tiny_flux.py"
spec = importlib.util.spec_from_file_location("tiny_flux", SIZES)
tiny_flux = importlib.util.module_from_spec(spec)
spec.loader.exec_module(tiny_flux)

load_clip = comfy.sd.load_clip


@functools.wraps(load_clip)
def load_tiny_clip(*args, model_options=None, **kwargs):
    sizes = {"t5xxl_model_config": tiny_flux.T5, "model_config": dict(tiny_flux.CLIP_L)}  # core reads CLIP-L's there
    return load_clip(*args, model_options={**(model_options or {}), **sizes}, **kwargs)


def load_tiny_vision(path):
    model = comfy.clip_vision.ClipVisionModel(tiny_flux.SIGLIP)
    model.load_sd(comfy.utils.load_torch_file(path))
    return model


comfy.sd.load_clip = load_tiny_clip
comfy.clip_vision.load = load_tiny_vision
comfy.ldm.flux.redux.ReduxImageEncoder = functools.partial(
    comfy.ldm.flux.redux.ReduxImageEncoder, redux_dim=tiny_flux.VISION_WIDTH, txt_in_features=tiny_flux.TEXT_WIDTH)


class RecordInput:
    """MODEL → the same MODEL; the first thing its input layer is given lands in output/<name>.safetensors."""

    CATEGORY, FUNCTION, RETURN_TYPES = "tests", "record", ("MODEL",)

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"model": ("MODEL",), "name": ("STRING", {"default": "input"})}}

    def record(self, model, name):
        path = Path(folder_paths.get_output_directory()) / f"{name}.safetensors"

        def hook(_, given):
            if not path.exists():
                save_file({"tokens": given[0].float().contiguous().cpu()}, path)

        model.model.diffusion_model.img_in.register_forward_pre_hook(hook)
        return (model,)


NODE_CLASS_MAPPINGS = {"TinyFluxRecordInput": RecordInput}
