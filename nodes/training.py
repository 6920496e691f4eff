"""Data sets for core's Train LoRA: a first try without leaving ComfyUI. docs/training.md has the pack's own trainer."""

import os
from pathlib import Path

import folder_paths
import torch
from comfy_api.latest import io
from torch import Tensor

from ..ace_model.comfyui import text as t5
from ..ace_model.comfyui.conditioning import check_vae, conditioning, latent, tokenize
from ..ace_model.comfyui.loader import defaults_of
from ..ace_model.images import preprocess
from ..ace_model.record_json import relative
from ..training.data import Example, opened, read
from ..training.formats import LISTS, DataError
from .types import BUDGET_TOOLTIP, CATEGORY, MODEL_TOOLTIP, within_limits


class TrainingExamplesNode(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="ACEEditorTrainingExamples",
            display_name="ACE Training Examples",
            category=CATEGORY,
            description="Reads a data set from ComfyUI's input folder for core's Train LoRA, and checks all of it first: "
                        "pictures with captions, with or without source pictures, or a list of conversations.",
            search_aliases=["ACE data set", "dataset", "train LoRA", "teach", "fine-tune", "load training data"],
            inputs=[
                io.Combo.Input("examples", options=choices(),
                               tooltip="A folder or a list (.jsonl, .csv) in the input folder. The simplest: pictures, each "
                                       "with a text file of the same name that says what to do. Pictures to edit go into a "
                                       "folder control inside it, under the same names."),
                io.Clip.Input("clip", tooltip="T5 v1.1 from Load ACE Text Encoder."),
                io.Vae.Input("vae", tooltip="The VAE of Stable Diffusion 1.x."),
                io.Int.Input("token_budget", default=0, min=0, max=16384, step=16, tooltip=BUDGET_TOOLTIP),
                io.Model.Input("model", optional=True, tooltip=MODEL_TOOLTIP),
            ],
            outputs=[io.Latent.Output(display_name="latents", is_output_list=True,
                                      tooltip="What the answers should be, for latents of Train LoRA."),
                     io.Conditioning.Output(display_name="positive", is_output_list=True,
                                            tooltip="Instructions and source pictures, for positive of Train LoRA.")],
        )

    @classmethod
    def fingerprint_inputs(cls, examples, **_):
        """Another one as soon as a file changes: ComfyUI sees the name alone."""
        if not isinstance(examples, str):
            return ""
        path = Path(folder_paths.get_input_directory(), examples)
        files = [path, *sorted((path if path.is_dir() else path.parent).rglob("*"))]
        return repr([(str(file), *file_state(file)) for file in files])

    @classmethod
    @within_limits
    def execute(cls, examples, clip, vae, token_budget, model=None) -> io.NodeOutput:
        _, tokenizer = t5.t5_of(clip)
        check_vae(vae)
        budget = token_budget or defaults_of(model).token_budget
        found = read(Path(folder_paths.get_input_directory(), relative(examples, "examples")),
                     tokens=lambda words: tokenizer(words)["input_ids"], budget=budget)
        t5.encode(clip, list(dict.fromkeys(words for each in found for words in each.outline().instructions())))
        made = [example_for_core(each, clip, vae, budget) for each in found]
        sizes = sorted({tuple(samples.shape[-2:]) for samples, _ in made})
        if len(sizes) > 1:
            shown = ", ".join(f"{8 * width}×{8 * height}" for height, width in sizes[:5])
            raise DataError(examples, f"its targets have {len(sizes)} sizes ({shown}), but core's Train LoRA scales latents "
                                      "of one size only: make all targets one size, or use python -m training.")
        with torch.inference_mode(False):  # else they could not be learned from
            return io.NodeOutput([{"samples": samples.clone()} for samples, _ in made], [own(positive) for _, positive in made])


def choices() -> list[str]:
    """Folders in the input folder, and lists that lie in no folder of their own."""
    top = Path(folder_paths.get_input_directory())
    lists = [each.name for each in top.iterdir() if each.suffix.lower() in LISTS] if top.is_dir() else []
    return sorted(folder_paths.get_input_subfolders()) + sorted(lists)


def file_state(path: Path) -> tuple[int, int]:
    try:
        state = os.stat(path)
    except OSError:
        return 0, 0
    return state.st_size, state.st_mtime_ns


def example_for_core(example: Example, clip, vae, budget: int) -> tuple[Tensor, list]:
    """(latent of the target (1, 4, h, w), CONDITIONING of all it is made of), as the nodes make them of the same turns."""
    settings = example.turn.settings
    budget_of_turn = settings.token_budget or budget
    pixels, _ = preprocess(opened(example.path(example.turn.target)), None, budget_of_turn)
    height, width = pixels.shape[:2]
    tokens = tokenize(example.unit(budget), clip, vae, width, height, settings.target_image, budget_of_turn)
    return latent(vae, pixels), conditioning(tokens)[0]


def own(value):
    """The same with tensors of its own, inside lists and dicts."""
    if isinstance(value, Tensor):
        return value.clone()
    if isinstance(value, list):
        return [own(each) for each in value]
    return {key: own(each) for key, each in value.items()} if isinstance(value, dict) else value
