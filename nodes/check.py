"""Whether model, text encoder and VAE are right for one another."""

from pathlib import Path

import comfy.utils
import folder_paths
from comfy_api.latest import io, ui

from ..ace_model.check import page
from ..ace_model.check.cases import Starters
from ..ace_model.check.files import ROLES
from ..ace_model.check.run import check
from ..ace_model.comfyui.loader import file_of
from ..starters import phrasings, pictures
from .types import CATEGORY, within_limits

FOLDER = "ACE check"  # in the output folder


class CheckModelNode(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="ACEEditorCheckModel",
            display_name="ACE Check Model",
            category=CATEGORY,
            description="Measures with bundled pictures whether model, text encoder and VAE are right for one another, and "
                        "names the likely mistake if they are not. Writes a page with numbers and pictures to output/ACE "
                        "check.",
            search_aliases=["ACE test", "verify weights", "wrong VAE", "wrong text encoder", "debug", "noise", "diagnose"],
            is_output_node=True,
            inputs=[
                io.Model.Input("model", tooltip="From Load ACE Model or core's Load Diffusion Model, LoRAs and patches "
                                                "included if you like."),
                io.Clip.Input("clip", tooltip="The text encoder to check: T5 v1.1 from Load ACE Text Encoder."),
                io.Vae.Input("vae", tooltip="The VAE to check: Stable Diffusion 1.x's."),
                io.Int.Input("seed", default=0, min=0, max=0xFFFFFFFF, control_after_generate=io.ControlAfterGenerate.fixed,
                             tooltip="For the noise of measurements and pictures. Keep it to compare with somebody else."),
                io.Int.Input("steps", default=0, min=0, max=1000, optional=True, advanced=True,
                             tooltip="Of the pictures; the measurements need none. 0: the model's own number, which is 20 for "
                                     "the 512px model and 50 for the 1024px model."),
            ],
            outputs=[io.Image.Output(display_name="image", tooltip="The verdict, and a row for every edit: its pictures, its "
                                                                   "answer, the exact answer where it is known."),
                     io.String.Output(display_name="report", tooltip="Verdict, comparisons and errors as text.")],
        )

    @classmethod
    @within_limits
    def execute(cls, model, clip, vae, seed, steps=0) -> io.NodeOutput:
        report = check(model, clip, vae, seed, steps, Starters(pictures.load, phrasings.phrase), progress)
        names = [Path(file_of(each)).name or "unknown" for each in (model, clip.patcher, vae.patcher)]
        files = list(zip(ROLES, names, strict=True))
        path = page.write(free(Path(folder_paths.get_output_directory(), FOLDER)), page.html(report, files))
        words = f"{page.text(report, files)}\n\nPage: output/{FOLDER}/{path.name}"
        return io.NodeOutput(page.sheet(report), words, ui=ui.PreviewText(words))


def progress(total: int):
    bar = comfy.utils.ProgressBar(total)
    return lambda: bar.update(1)


def free(folder: Path) -> Path:
    """The next page that is not there yet."""
    taken = {path.name for path in folder.glob("*.html")}
    return folder / next(name for i in range(1, len(taken) + 2) if (name := f"check {i:05}.html") not in taken)
