"""ACE in a worker's own process: a record → its picture, with ComfyUI's loaders, model management and samplers, as the graph
does it (nodes/conversation.py). No server, no HTTP."""

import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ace_model import paste
from ace_model.comfyui import headless
from ace_model.images import TOKEN
from ace_model.lcu import LongContextUnit
from ace_model.opening import pixels_of
from ace_model.record import Answer, Picture, Record, Turn
from ace_model.record_json import read

from .job import BatchError, Job, digest
from .requests import files_of, outlined, path_of, wanted

MADE = "made"  # where answers of earlier turns lie: in memory


@dataclass
class Open:
    """A request with its pictures in memory. made: levels of the answers so far, by turn."""

    record: Record
    files: dict[Picture, bytes]
    made: dict[str, np.ndarray] = field(default_factory=dict)

    def picture(self, picture: Picture, mode: str) -> Tensor:
        if picture.place == MADE:
            return pixels_of(Image.fromarray(self.made[picture.file]), mode)
        try:
            with Image.open(io.BytesIO(self.files[picture])) as image:
                return pixels_of(image, mode)
        except (OSError, ValueError, Image.DecompressionBombError, SyntaxError) as error:
            raise BatchError(f"{picture.file} cannot be opened as a picture ({error}): use another copy.") from None

    def unit(self, turn: Turn, budget: int) -> LongContextUnit:
        known = self.record.answered({name: Answer(name, MADE, "") for name in self.made})
        return known.lcu(self.picture, turn.id, budget)


class Ace:
    """The models of a worker. Raises InputError for files that are missing or don't belong together."""

    def __init__(self, job: Job):
        headless.start(Path(job.comfyui))
        from ace_model.comfyui import conditioning, loader, sampling, signature, text
        self.job, self.parts = job, (conditioning, sampling, text)
        self.model = loader.load_model(resolve("model", job.files.model))
        self.clip = loader.load_text_encoder(resolve("text_encoder", job.files.text_encoder))
        self.vae = loader.load_vae(resolve("vae", job.files.vae))
        for name, strength in job.files.loras:
            self.model = loader.with_lora(self.model, resolve("lora", name), strength)
        sampling.check_model(self.model)
        conditioning.check_vae(self.vae)
        self.defaults = loader.defaults_of(self.model)
        self.maker = signature.signature(self.model, self.clip.patcher, self.vae.patcher)

    def open(self, text: str, digests: Sequence[str]) -> Open:
        """Raises BatchError for a picture that is not what it was in the first pass."""
        record, files = read(text), {}
        for picture, known in zip(files_of(record), digests, strict=True):
            path = path_of(picture, self.job.folders)
            try:
                files[picture] = path.read_bytes()
            except OSError as error:
                raise BatchError(f"{path} cannot be read ({error.strerror}): put it back.") from None
            if digest(files[picture]) != known:
                raise BatchError(f"{path} has changed since the requests were read: put it back, or start a new run.")
        return Open(record, files)

    @torch.inference_mode()
    def expect(self, requests: Sequence[str]) -> None:
        """Encode the texts of a whole block in one load of the text encoder; those that are remembered are not read again."""
        texts, blank = [], torch.zeros(TOKEN, TOKEN, 3)
        for record in map(read, requests):
            for turn in wanted(record):
                outline = outlined(record, turn.id).lcu(lambda picture, mode: blank)
                texts += [text for frame in outline.frames(turn.settings.negative, turn.settings.target_image)
                          for text in (frame.text, frame.negative_text)]
        self.parts[2].encode_with_names(self.clip, list(dict.fromkeys(texts)))

    def __call__(self, text: str, digests: Sequence[str]) -> np.ndarray:
        return self.answer(self.open(text, digests))

    @torch.inference_mode()
    def answer(self, request: Open) -> np.ndarray:
        """The answer's levels, (H, W, 3) of 8 bits. Raises InputError."""
        for turn in wanted(request.record):
            request.made[turn.id] = self.turn(request, turn)
        return request.made[request.record.at]

    def recover(self) -> None:
        """After an error that nobody foresaw, such as a full memory."""
        headless.release()

    def turn(self, request: Open, turn: Turn) -> np.ndarray:
        conditioning, sampling, _ = self.parts
        chosen = turn.settings
        sampling.check_sampler(chosen.sampler)
        budget = chosen.token_budget or self.defaults.token_budget
        lcu = request.unit(turn, self.defaults.token_budget)
        tokens = conditioning.tokenize(lcu, self.clip, self.vae, chosen.width, chosen.height, chosen.target_image, budget,
                                       chosen.negative)
        positive, negative = conditioning.conditioning(tokens)
        empty = conditioning.empty_latent(tokens.size)
        latent = sampling.sample(self.model, positive, negative, empty, turn.seed, chosen.steps, chosen.guidance, chosen.rescale,
                                 1.0, chosen.sampler)
        return levels(pasted(self.vae.decode(latent["samples"]), lcu, turn))


def pasted(result: Tensor, lcu: LongContextUnit, turn: Turn) -> Tensor:
    """With everything outside the mask as it was: (1, H, W, 3)."""
    unit, target = lcu.turns[-1], turn.settings.target_image
    mask = unit.masks[target] if unit.images else None
    if mask is None:
        return result
    return paste.paste(unit.images[target][None], result, mask[None], turn.settings.grow, turn.settings.feather)


def levels(image: Tensor) -> np.ndarray:
    """(1, H, W, 3) in [0, 1] → (H, W, 3) of 8 bits, by Save Image's arithmetic."""
    return (255 * image[0].cpu().float()).clamp(0, 255).numpy().astype(np.uint8)


# ---- files

FOLDERS = {"model": "diffusion_models", "text_encoder": "text_encoders", "vae": "vae", "lora": "loras"}


def resolve(kind: str, name: str) -> str:
    """A model file by path, or by name in ComfyUI's models folders or among the demo's. Raises BatchError."""
    from ace_model.comfyui import loader
    try:
        return name if Path(name).is_file() else loader.path_in(FOLDERS[kind], name)
    except FileNotFoundError:
        raise BatchError(f"{kind.replace('_', ' ')} {name} is neither a file nor in models/{FOLDERS[kind]} of ComfyUI: put it "
                         "there, or give another.") from None
