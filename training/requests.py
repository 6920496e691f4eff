"""Samples while training: fixed requests, answered by the network as it is."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ace_model import record_json
from ace_model.config import Defaults
from ace_model.diffusion import ddim, guide, lcm
from ace_model.errors import InputError
from ace_model.record import Record, Turn

from .data import look, opened
from .encode import SCALE
from .network import Batch, Network, Prepared

SHORT = ("width", "height", "steps", "guidance", "rescale", "sampler", "negative", "token_budget",
         "target_image")  # a turn's settings


class RequestError(InputError):
    """A request for a sample that cannot be read."""


def read(entries: tuple[Any, ...], folder: Path) -> list[tuple[Record, Path]]:
    """(record, the folder of its pictures) of every entry of samples.requests.

    An entry is a file (.json with one record, .jsonl with one in each line), a record, or the keys of one turn beside those of
    its settings, with pictures as names. folder: of the settings file. Raises RequestError.
    """
    found = []
    for number, entry in enumerate(entries):
        before = len(found)
        try:
            if isinstance(entry, str):
                path = folder / entry
                text = path.read_text(encoding="utf-8")
                lines = [line for line in text.splitlines() if line.strip()] if path.suffix.lower() == ".jsonl" else [text]
                found += [(record_json.read(line), path.parent) for line in lines]
            else:
                found.append((record_json.from_data(whole(entry)), folder))
        except OSError as error:
            raise RequestError(f"samples.requests[{number}]: {entry} cannot be read ({error.strerror}).") from None
        except InputError as error:
            raise RequestError(f"samples.requests[{number}]: {error}") from None
        for record, beside in found[before:]:
            for picture in (each for turn in record.turns for each in (*turn.images, *turn.masks) if each and each.file):
                if isinstance(what := look(beside / picture.file), str):
                    raise RequestError(f"samples.requests[{number}]: {picture.file} {what}")
    return found


def whole(entry: Any) -> Any:
    """A record from a turn's keys; a record stays what it is."""
    if not isinstance(entry, Mapping) or "turns" in entry:
        return entry
    turn = {key: value for key, value in entry.items() if key not in SHORT}
    for key in ("images", "masks"):
        if isinstance(turn.get(key), list):
            turn[key] = [{"file": each} if isinstance(each, str) else each for each in turn[key]]
    settings = {**(turn.get("settings") or {}), **{key: entry[key] for key in SHORT if key in entry}}
    return {"version": record_json.VERSION, "at": "t1", "turns": [{"id": "t1", **turn, "settings": settings}]}


def pictures_of(record: Record, folder: Path) -> list[Path]:
    """Of the turn to answer."""
    return [folder / record.file(each).file for each in record[record.at].images]


class Requests:
    """Requests, encoded once. clip, vae: ComfyUI's · defaults: of the model, where a request says nothing."""

    def __init__(self, found: list[tuple[Record, Path]], clip, vae, defaults: Defaults):
        from ace_model.comfyui.conditioning import tokenize  # needs ComfyUI
        self.vae, self.defaults, self.turns, self.tokens = vae, defaults, [], []
        self.pictures = [pictures_of(record, folder) for record, folder in found]
        for record, folder in found:
            turn = record[record.at]
            settings = turn.settings
            lcu = record.lcu(lambda picture, mode, folder=folder: opened(folder / picture.file, mode),
                             budget=defaults.token_budget)
            self.tokens.append(tokenize(lcu, clip, vae, settings.width, settings.height, settings.target_image,
                                        settings.token_budget or defaults.token_budget, settings.negative))
            self.turns.append(turn)

    @property
    def captions(self) -> list[str]:
        return [turn.instruction for turn in self.turns]

    @torch.no_grad()
    def answer(self, network: Network, number: int) -> Tensor:
        """(H, W, 3) in [0, 1]: the answer to one of the requests."""
        tokens, turn = self.tokens[number], self.turns[number]
        latent = sample(network, tokens, turn, turn.settings.steps or self.defaults.steps)
        return self.vae.decode(latent.cpu() / SCALE)[0].float().cpu().clamp(0, 1)


def sample(network: Network, tokens, turn: Turn, steps: int) -> Tensor:
    """The answer's latent (1, 4, h, w), as ACE Sampler makes it. tokens: conditioning.ConditionTokens."""
    settings = turn.settings
    count = sum(key.startswith("image.") for key in tokens.frames)
    images = [tokens.frames[f"image.{i}"].float() * SCALE for i in range(count)]
    masks = [tokens.frames["target_mask"], *(tokens.frames[f"mask.{i}"] for i in range(count))]
    texts = [tokens.text, *(tokens.frames[f"text.{i}"] for i in range(count))]
    negatives = [tokens.negative_text, *texts[1:]]
    if tokens.last_is_current:
        negatives[-1] = tokens.negative_text
    cells = tokens.size[0] // 8, tokens.size[1] // 8
    batch = Batch([torch.zeros(1, 4, *cells), *images], masks, []).to(network.device)
    both: list[Prepared] = [network.project([[text[0]] for text in each]) for each in (texts, negatives)]

    def eps(x: Tensor, t: Tensor) -> Tensor:
        if settings.guidance == 1:
            return network.eps(x, t, batch, both[0]).float()
        return guide(*(network.eps(x, t, batch, each).float() for each in both), settings.guidance, settings.rescale)
    generator = torch.Generator().manual_seed(turn.seed % 2**63)
    noise = torch.randn(1, 4, *cells, generator=generator).to(network.device)
    return lcm(eps, noise, steps, generator) if settings.sampler == "lcm" else ddim(eps, noise, steps)
