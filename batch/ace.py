"""ACE in a worker's own process: a record → its picture, with ComfyUI's loaders, model management and samplers, as the graph
does it (nodes/conversation.py). No server, no HTTP."""

import io
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

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
        texts = dict.fromkeys(text for request in requests for text in texts_of(read(request)))
        self.parts[2].encode_with_names(self.clip, list(texts))

    def __call__(self, text: str, digests: Sequence[str]) -> np.ndarray:
        return self.answer(self.open(text, digests))

    @torch.inference_mode()
    def answer(self, request: Open) -> np.ndarray:
        """The answer's levels, (H, W, 3) of 8 bits. Raises InputError."""
        for turn in wanted(request.record):
            ready = self.ready(request, turn)
            request.made[turn.id] = levels(pasted(self.vae.decode(self.sampled([ready])), ready))
        return request.made[request.record.at]

    def ready(self, request: Open, turn: Turn) -> "Ready":
        """All encoded. Raises InputError."""
        conditioning, sampling, _ = self.parts
        chosen = turn.settings
        sampling.check_sampler(chosen.sampler)
        lcu = request.unit(turn, self.defaults.token_budget)
        return Ready(turn, lcu, conditioning.tokenize(
            lcu, self.clip, self.vae, chosen.width, chosen.height, chosen.target_image,
            chosen.token_budget or self.defaults.token_budget, chosen.negative))

    def sampled(self, batch: Sequence["Ready"]) -> Tensor:
        """Latents (n, 4, h, w) of turns with equal settings and equal shapes."""
        conditioning, sampling, _ = self.parts
        conds = [conditioning.conditioning(each.tokens) for each in batch]
        positive, negative = (joined([cond[side] for cond in conds]) for side in (0, 1))
        latent = conditioning.empty_latent(batch[0].tokens.size, len(batch))
        seeds, chosen = [each.turn.seed for each in batch], batch[0].turn.settings
        noise = None if len(batch) == 1 else sampling.noise_of(latent["samples"], seeds)
        return sampling.sample(self.model, positive, negative, latent, seeds[0], chosen.steps, chosen.guidance, chosen.rescale,
                               1.0, chosen.sampler, noise)["samples"]

    # ---- larger batches

    def likeness(self, text: str, digests: Sequence[str]) -> str:
        """Requests may share a pass of the network where this is equal; empty for one that must have its own. Raises
        InputError."""
        request = self.open(text, digests)
        [*earlier, turn], text_encoder = wanted(request.record), self.parts[2]
        if earlier or turn.settings.sampler != "euler":  # samplers with noise of their own draw it for all together
            return ""
        sizes = {picture.file: Image.open(io.BytesIO(content)).size for picture, content in request.files.items()}
        units = [[[sizes[request.record.file(picture).file] for picture in each.images], [bool(mask) for mask in each.masks],
                  each.blank, each.room] for each in request.record.branch()]
        _, tokenizer = text_encoder.t5_of(self.clip)
        return json.dumps([asdict(turn.settings), units,
                           [len(text_encoder.tokenize(tokenizer, each)) for each in texts_of(request.record)]])

    @torch.inference_mode()
    def together(self, requests: Sequence[tuple[str, Sequence[str]]]) -> list[np.ndarray]:
        """The answers of requests that are alike. Raises InputError for any of them, and ValueError if they are not."""
        opened = [self.open(*each) for each in requests]
        batch = [self.ready(each, each.record[each.record.at]) for each in opened]
        return [levels(pasted(result[None], each)) for each, result in zip(batch, self.vae.decode(self.sampled(batch)),
                                                                           strict=True)]

    def recover(self) -> None:
        """After an error that nobody foresaw, such as a full memory."""
        headless.release()


@dataclass(frozen=True, eq=False)
class Ready:
    """A turn that has only to be sampled."""

    turn: Turn
    lcu: LongContextUnit
    tokens: Any


def joined(conds: Sequence[list]) -> list:
    """CONDITIONING of several turns with equal shapes as that of one batch. Raises ValueError if the shapes differ."""
    (text, more), *others = [cond[0] for cond in conds]
    if not others:
        return conds[0]
    frames = next(name for name, value in more.items() if isinstance(value, dict))
    parts = [each[frames] for _, each in [(text, more), *others]]
    if len({tuple((name, tuple(value.shape)) for name, value in sorted(part.items())) for part in parts}) > 1:
        raise ValueError("these turns have different shapes")
    together = {name: value if name == "indicators" else torch.cat([part[name] for part in parts])
                for name, value in parts[0].items()}
    return [[torch.cat([text, *(each for each, _ in others)]), more | {frames: together}]]


def pasted(result: Tensor, ready: Ready) -> Tensor:
    """With everything outside the mask as it was: (1, H, W, 3)."""
    unit, chosen = ready.lcu.turns[-1], ready.turn.settings
    mask = unit.masks[chosen.target_image] if unit.images else None
    if mask is None:
        return result
    return paste.paste(unit.images[chosen.target_image][None], result, mask[None], chosen.grow, chosen.feather)


def texts_of(record: Record) -> list[str]:
    """What the text encoder reads of every turn that has to be made."""
    blank = torch.zeros(TOKEN, TOKEN, 3)
    return [text for turn in wanted(record)
            for frame in outlined(record, turn.id).lcu(lambda picture, mode: blank).frames(
                turn.settings.negative, turn.settings.target_image) for text in (frame.text, frame.negative_text)]


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
