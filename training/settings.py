"""Settings of a run: one YAML file, checked whole. docs/training.md shows one with every key."""

import difflib
import re
import types
import typing
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any

import yaml

from ace_model.config import shown
from ace_model.diffusion import GUIDANCE, RESCALE
from ace_model.errors import InputError

LAYERS = (r"blocks\.\d+\.((attn|cross_attn)\.[qkvo]|mlp\.fc[12])"  # attention and MLP of every block: ACE's, and FLUX's
          r"|double_blocks\.\d+\.(img|txt)_(attn\.(qkv|proj)|mlp\.[02])|single_blocks\.\d+\.linear[12]")


class SettingsError(InputError):
    """A settings file that cannot be used. The text names the file, the line, the key and what would do."""


def one_of(*values: str, default: str) -> Any:
    return field(default=default, metadata={"one_of": values})


def number(default: float | None, low: float, high: float) -> Any:
    """From low to high, both included."""
    return field(default=default, metadata={"low": low, "high": high})


@dataclass(frozen=True)
class Data:
    """What to learn from. path: a folder or a list · preserve: a list of requests that the model must go on answering as it
    does · controls: folders with the source pictures of a folder · folder: what names in a list are relative to · cache: where
    encoded pictures and texts are kept (default: in the output folder)."""

    path: Path
    preserve: Path | None = None
    controls: tuple[Path, ...] = ()
    folder: Path | None = None
    cache: Path | None = None


@dataclass(frozen=True)
class Model:
    """Files: names in ComfyUI's models folders, or paths. base: how the frozen weights are stored · clip_l: for ACE++ alone."""

    diffusion: str = field(metadata={"file": True})
    text_encoder: str = field(metadata={"file": True})
    vae: str = field(metadata={"file": True})
    base: str = one_of("float32", "bf16", "fp8", default="bf16")
    checkpointing: bool = True
    clip_l: str = field(default="", metadata={"file": True})


@dataclass(frozen=True)
class LoRA:
    """targets: a regular expression for a layer's whole path, or a list of ends of paths · save_as: the type of the file."""

    rank: int = number(16, 1, 1024)
    alpha: float = number(16.0, 1e-3, 1e6)
    targets: str | tuple[str, ...] = LAYERS
    save_as: str = one_of("float32", "bf16", "fp16", default="fp16")


@dataclass(frozen=True)
class Optimizer:
    """rate: at its peak, after `warmup` steps · clip: largest norm of the gradient."""

    kind: str = one_of("adamw", "adamw8bit", default="adamw")
    rate: float = number(1e-4, 0.0, 10.0)
    schedule: str = one_of("constant", "cosine", "linear", default="constant")
    warmup: int = number(0, 0, 10**7)
    weight_decay: float = number(0.01, 0.0, 10.0)
    clip: float = number(1.0, 1e-6, 1e9)


@dataclass(frozen=True)
class Train:
    """batch: examples in one pass of one process · accumulate: passes in a step · ema: decay of the averaged weights, 0 for
    none · drop_text, drop_history: probabilities · preserve: weight of the error in data.preserve · min_snr: makes errors in
    nearly clean pictures count less (objectives.py), 0 for not · token_budget: of one picture, 0 for the model's own · every:
    steps between points of the loss curve."""

    steps: int = number(1000, 1, 10**8)
    batch: int = number(1, 1, 4096)
    accumulate: int = number(1, 1, 4096)
    ema: float = number(0.0, 0.0, 0.999999)
    drop_text: float = number(0.1, 0.0, 1.0)
    drop_history: float = number(0.0, 0.0, 1.0)
    preserve: float = number(1.0, 0.0, 1e6)
    min_snr: float = number(0.0, 0.0, 1e6)
    token_budget: int = number(0, 0, 65536)
    seed: int = number(0, 0, 2**53)
    objective: str = one_of("ace", "consistency", "plus", default="ace")
    every: int = number(10, 1, 10**6)


@dataclass(frozen=True)
class Consistency:
    """With train.objective consistency: a LoRA for few steps (consistency.py says why).

    guidance, rescale: what the LoRA makes unnecessary · solver: steps of the sampler that it imitates · steps: numbers of steps
    that it will be used with; share: how many of the timesteps are drawn from theirs · huber: errors of the clean latent
    below it count squared · damping: noisy steps' errors are divided by σ to this power.
    """

    guidance: float = number(GUIDANCE, 1.0, 100.0)
    rescale: float = number(RESCALE, 0.0, 1.0)
    solver: int = number(20, 1, 1000)
    steps: tuple[int, ...] = field(default=(2, 4), metadata={"low": 1, "high": 1000})
    share: float = number(0.5, 0.0, 1.0)
    huber: float = number(0.1, 1e-6, 1e3)
    damping: float = number(0.5, 0.0, 2.0)


@dataclass(frozen=True)
class Plus:
    """With train.objective plus: a LoRA for ACE++ (plus.py).

    fill_strength: how gray the picture to edit becomes under its mask, None for 1 beside a reference, else 0.5 · keep_size:
    references keep theirs, for the full fine-tune · guidance: the distilled one, while training.
    """

    fill_strength: float | None = number(None, 0.0, 1.0)
    keep_size: bool = False
    guidance: float = number(1.0, 0.0, 100.0)


@dataclass(frozen=True)
class Samples:
    """Pictures to make while training. requests: LCU records (files, or written here) · every: steps, 0 for none."""

    requests: tuple[Any, ...] = ()
    every: int = number(250, 0, 10**8)


@dataclass(frozen=True)
class Save:
    """Checkpoints: every so many steps; keep: how many of them."""

    every: int = number(250, 1, 10**8)
    keep: int = number(2, 1, 1000)


@dataclass(frozen=True)
class Settings:
    """output: folder of checkpoints, LoRA files and the page."""

    data: Data
    model: Model
    output: Path
    lora: LoRA = field(default_factory=LoRA)
    optimizer: Optimizer = field(default_factory=Optimizer)
    train: Train = field(default_factory=Train)
    consistency: Consistency = field(default_factory=Consistency)
    plus: Plus = field(default_factory=Plus)
    samples: Samples = field(default_factory=Samples)
    save: Save = field(default_factory=Save)


class Lines(yaml.SafeLoader):
    """Remembers the line of every key."""


def read(path: Path) -> Settings:
    """Raises SettingsError."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise SettingsError(f"{path} is not there: give the settings file, which ends in .yaml.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path} cannot be read ({getattr(error, 'strerror', None) or 'not UTF-8'}).") from None
    loader = Lines(text)
    try:
        node = loader.get_single_node()
        values = loader.construct_document(node) if node else {}
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark else ""
        raise SettingsError(f"{path.name}{where}: this is no YAML ({getattr(error, 'problem', None) or 'too deep'}).") from None
    finally:
        loader.dispose()
    lines: dict[tuple, int] = {}
    remember(node, (), lines, path.name)
    reader = Reader(path, lines)
    made = reader.build(Settings, values, ())
    if made.data.preserve and made.train.objective != "ace":
        raise reader.error(("data", "preserve"), f"data.preserve goes with train.objective ace, and that is "
                                                 f"{made.train.objective}: leave data.preserve out.")
    return made


def remember(node: yaml.Node | None, place: tuple, lines: dict[tuple, int], name: str) -> None:
    """The line of every key under `node`. Raises SettingsError for a key that stands twice in one place."""
    if not isinstance(node, yaml.MappingNode) or len(place) > 2:
        return
    for key, value in node.value:
        inner = (*place, str(key.value))
        if inner in lines:
            raise SettingsError(f"{name}, line {key.start_mark.line + 1}: {'.'.join(inner)} stands a second time (first in "
                                f"line {lines[inner]}): leave one out.")
        lines[inner] = key.start_mark.line + 1
        remember(value, inner, lines, name)


class Reader:
    def __init__(self, path: Path, lines: dict[tuple, int]):
        self.path, self.lines = path, lines

    def error(self, place: tuple, text: str) -> SettingsError:
        line = self.lines.get(place)
        return SettingsError(f"{self.path.name}{f', line {line}' if line else ''}: {text}")

    def build(self, kind: type, values: Any, place: tuple) -> Any:
        """A dataclass from a mapping, its fields checked."""
        name = ".".join(place)
        if kind is Data and isinstance(values, str):
            values = {"path": values}
        values = {} if values is None else values
        if not isinstance(values, Mapping):
            raise self.error(place, f"{name or 'the file'} is {shown(values)}, but must hold keys: "
                                    f"{', '.join(each.name for each in fields(kind))}.")
        known, hints, out = {each.name: each for each in fields(kind)}, typing.get_type_hints(kind), {}
        for key, value in values.items():
            if key not in known:
                raise self.error((*place, str(key)), self.unknown(str(key), list(known), place))
            out[key] = self.value(known[key], hints[key], value, (*place, key))
        for each in known.values():
            if each.name not in out and each.default is MISSING and each.default_factory is MISSING:
                raise self.error(place, f"{'.'.join((*place, each.name))} is missing: set it.")
        return kind(**out)

    def unknown(self, key: str, known: list[str], place: tuple) -> str:
        elsewhere = [f"{section.name}.{each.name}" for section in fields(Settings)
                     if is_dataclass(hint := typing.get_type_hints(Settings)[section.name]) for each in fields(hint)]
        near = [each for each in elsewhere if each.split(".")[1] == key] or difflib.get_close_matches(key, known, 1)
        near = near or difflib.get_close_matches(key, [each.split(".")[1] for each in elsewhere], 1)
        meant = f": did you mean {near[0]}?" if near else "."
        return f"{'.'.join((*place, key))} is no setting{meant} Here are {', '.join(known)}."

    def value(self, spec, hint: Any, value: Any, place: tuple) -> Any:
        name = ".".join(place)
        if is_dataclass(hint):
            return self.build(hint, value, place)
        if typing.get_origin(hint) in (typing.Union, types.UnionType):
            options = typing.get_args(hint)
            if value is None and type(None) in options:
                return None
            hint = next(each for each in options if (typing.get_origin(each) is tuple) == isinstance(value, list))
        if typing.get_origin(hint) is tuple:
            return tuple(self.value(spec, typing.get_args(hint)[0], each, place) for each in
                         (value if isinstance(value, list) else [value]))
        if hint is Any:
            return value
        if hint in (int, float):
            return self.number(spec, hint, value, place)
        if hint is bool:
            if not isinstance(value, bool):
                raise self.error(place, f"{name} is {shown(value)}, but must be true or false.")
            return value
        if hint in (str, Path) and (not isinstance(value, str) or not value):
            raise self.error(place, f"{name} is {shown(value)}, but must be a {'path' if hint is Path else 'word'}.")
        choices = spec.metadata.get("one_of")
        if choices and value not in choices:
            near = difflib.get_close_matches(str(value), choices, 1)
            raise self.error(place, f"{name} is {shown(value)}, but must be one of {', '.join(choices)}"
                                    f"{f': did you mean {near[0]}?' if near else '.'}")
        if spec.name == "targets":
            self.pattern(value, place)
        own = self.path.absolute().parent / Path(value).expanduser()
        return own if hint is Path else str(own) if "file" in spec.metadata and own.is_file() else value

    def number(self, spec, hint: type, value: Any, place: tuple) -> int | float:
        if isinstance(value, str) and re.fullmatch(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+", value):
            value = float(value)  # YAML 1.1 reads 1e-4 as a word
        low, high = spec.metadata["low"], spec.metadata["high"]
        whole = hint is int and isinstance(value, float) and value.is_integer()
        if isinstance(value, bool) or not isinstance(value, (int, float) if hint is float or whole else int) \
                or not low <= value <= high:
            kind = "whole number" if hint is int else "number"
            raise self.error(place, f"{'.'.join(place)} is {shown(value)}, but must be a {kind} from {low:g} to {high:g}.")
        return hint(value)

    def pattern(self, value: str, place: tuple) -> None:
        try:
            re.compile(value)
        except re.error as error:
            raise self.error(place, f"{'.'.join(place)} is {shown(value)}, which is no regular expression ({error}).") from None
