"""The LCU record: a conversation as JSON, one format for the conversation panel, batch requests and data sets.

    {"version": 1, "at": "t2", "turns": [
        {"id": "t1", "parent": null, "instruction": "make {image} night", "images": [{"file": "street.png", "in": "input"}]},
        {"id": "t2", "parent": "t1", "instruction": "add a moon to {image}", "images": [{"answer_of": "t1"}]}]}

Turns form a tree: a turn goes on from its parent, and turns of the same parent are branches. `at` is the turn that is looked
at. The turns from the root to it are its branch, and become a LongContextUnit. record_json.py reads and writes it.
"""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from torch import Tensor

from .config import DEFAULTS
from .diffusion import GUIDANCE, RESCALE
from .errors import InputError
from .lcu import DEFAULT_ROUNDS, ConditionUnit, LongContextUnit, name_image, shorten
from .outpaint import add_room


class RecordError(InputError):
    """A record that cannot be used. The text names the place in it, the value, and what would do."""


@dataclass(frozen=True)
class Picture:
    """A file, or the answer of an earlier turn.

    file: with forward slashes, inside its folder · place: "input" or "output" of ComfyUI, "" for the folder that the record
    itself lies in (data sets) · answer_of: a turn that stands before this one.
    """

    file: str = ""
    place: str = ""
    answer_of: str = ""


@dataclass(frozen=True)
class Answer:
    """A saved picture and the key that it was made under."""

    file: str
    place: str
    key: str


@dataclass(frozen=True)
class Settings:
    """What the nodes' widgets are. 0 in steps, width, height and token_budget: the model's, or the target image's, own."""

    steps: int = 0
    guidance: float = GUIDANCE
    rescale: float = RESCALE
    sampler: str = "euler"
    negative: str = ""
    width: int = 0
    height: int = 0
    target_image: int = 0
    token_budget: int = 0
    max_rounds: int = DEFAULT_ROUNDS
    grow: int = 8
    feather: int = 8


@dataclass(frozen=True)
class Turn:
    """One instruction with its pictures, and what was made of it. Never changed: an edit is another turn beside it.

    masks: one for each image, or None; white = edit here · room: to add around the target image before the edit, as fractions
    of its width and height (left, top, right, bottom) · target: what the answer should be (data sets) · meta: anything that
    others want to keep with it.
    """

    id: str
    parent: str | None = None
    instruction: str = ""
    images: tuple[Picture, ...] = ()
    masks: tuple[Picture | None, ...] = ()
    blank: bool = False
    room: tuple[float, ...] = (0.0, 0.0, 0.0, 0.0)
    seed: int = 0
    settings: Settings = field(default_factory=Settings)
    answer: Answer | None = None
    target: Picture | None = None
    meta: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Record:
    """Turns, every one after those that it goes on from or takes an answer of. at: None before the first turn."""

    turns: tuple[Turn, ...] = ()
    at: str | None = None

    def __post_init__(self):
        known: set[str] = set()
        for number, turn in enumerate(self.turns):
            where = f"turns[{number}]"
            if turn.id in known:
                raise RecordError(f"{where}.id is {turn.id}, which an earlier turn has already: give it another.")
            for name, wanted in (("parent", turn.parent), *_answers_wanted(turn)):
                if wanted is not None and wanted not in known:
                    raise RecordError(f"{where}.{name} is {wanted}, " + (
                        "which stands after it or is the turn itself: turns come after those that they go on from."
                        if any(wanted == other.id for other in self.turns) else
                        f"but no turn before it has that id: use {listed(known) or 'null'}."))
            known.add(turn.id)
        if self.at not in known and not (self.at is None and not known):
            raise RecordError(f"at is {shown(self.at)}, but must be the id of a turn: use {listed(known) or 'null'}.")

    def __getitem__(self, name: str) -> Turn:
        for turn in self.turns:
            if turn.id == name:
                return turn
        known = listed({turn.id for turn in self.turns})
        raise RecordError(f"there is no turn {shown(name)}: use {known or 'a record with turns'}.")

    def branch(self, at: str | None = None) -> tuple[Turn, ...]:
        """The turns from the root to `at` (default: the record's own), oldest first."""
        known, name, out = {turn.id: turn for turn in self.turns}, self.at if at is None else self[at].id, []
        while name is not None:
            out.append(known[name])
            name = out[-1].parent
        return tuple(reversed(out))

    def siblings(self, name: str) -> tuple[Turn, ...]:
        """The turns that go on from the same parent, itself among them, in the order of the record."""
        parent = self[name].parent
        return tuple(turn for turn in self.turns if turn.parent == parent)

    def needed(self, at: str | None = None) -> tuple[Turn, ...]:
        """Every turn whose answer the branch shows or takes, in an order in which they can be made."""
        wanted = {turn.id for turn in self.branch(at)}
        for turn in reversed(self.turns):
            if turn.id in wanted:
                wanted |= {name for _, name in _answers_wanted(turn)}
                wanted |= {turn.parent} - {None}
        return tuple(turn for turn in self.turns if turn.id in wanted)

    def then(self, turn: Turn) -> "Record":
        """With `turn` added and looked at. Raises RecordError."""
        return Record((*self.turns, turn), turn.id)

    def answered(self, answers: Mapping[str, Answer]) -> "Record":
        """With these answers, by turn."""
        for name in answers:
            self[name]
        return replace(self, turns=tuple(replace(t, answer=answers.get(t.id, t.answer)) for t in self.turns))

    def lcu(self, open_picture: Callable[[Picture, str], Tensor], at: str | None = None,
            budget: int = DEFAULTS["512px"].token_budget) -> LongContextUnit:
        """The branch that ends at `at`, as the model takes it.

        open_picture: (picture with a file, "RGB" or "L") → (H, W, 3) or, for masks, (H, W), in [0, 1] · budget: tokens of a
        picture with room around it if the turn's token_budget is 0. Raises RecordError, or what LongContextUnit raises.
        """
        lcu = LongContextUnit()
        for turn in self.branch(at):
            images = [open_picture(self.file(picture), "RGB") for picture in turn.images]
            masks = [picture and open_picture(self.file(picture), "L") for picture in turn.masks]
            masks += [None] * (len(images) - len(masks))
            if any(turn.room):
                target = turn.settings.target_image
                padded, new = add_room(images[target][None], *turn.room, turn.settings.token_budget or budget, True)
                images[target], masks[target] = padded[0], new[0]
            unit = ConditionUnit(name_image(turn.instruction, len(images)), images, masks, turn.blank)
            lcu = lcu.then(unit, turn.settings.max_rounds)
        return lcu

    def file(self, picture: Picture) -> Picture:
        """A picture with a file: itself, or the saved answer that it stands for. Raises RecordError."""
        if not picture.answer_of:
            return picture
        answer = self[picture.answer_of].answer
        if answer is None:
            raise RecordError(f"turn {picture.answer_of} has no answer yet, but a later turn takes it as a picture: run that "
                              "turn first.")
        return Picture(answer.file, answer.place)

    def keys(self, maker: str, digest: Callable[[Picture], str], kept: Callable[[Answer], bool], at: str | None = None
             ) -> dict[str, str]:
        """{turn: the key of its answer} for every turn that is `needed`.

        A key is two hashes: of the turn with everything before it, and of what made it. maker: the signature of model, text
        encoder and VAE · digest: a hash of a picture's content · kept: whether an answer's file is still there. An answer
        that is there and was made of the same turn keeps its key, whoever made it: a changed model replaces nothing.
        """
        keys: dict[str, str] = {}
        for turn in self.needed(at):
            def named(picture: Picture | None) -> str | None:
                return picture and (keys[picture.answer_of] if picture.answer_of else digest(picture))  # noqa: B023

            content = {"parent": keys.get(turn.parent), "instruction": turn.instruction, "blank": turn.blank,
                       "room": turn.room, "seed": turn.seed, "settings": asdict(turn.settings),
                       "images": [named(p) for p in turn.images], "masks": [named(p) for p in turn.masks]}
            own = hash_of(json.dumps(content, sort_keys=True))
            as_made = turn.answer and turn.answer.key.startswith(f"{own}-") and kept(turn.answer)
            keys[turn.id] = turn.answer.key if as_made else f"{own}-{hash_of(maker)}"
        return keys


def hash_of(text: str) -> str:
    """16 hexadecimal digits."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def _answers_wanted(turn: Turn) -> list[tuple[str, str]]:
    """[(place in the turn, id)] of the turns whose answers it takes as pictures."""
    return [(f"{name}[{i}].answer_of", picture.answer_of) for name in ("images", "masks")
            for i, picture in enumerate(getattr(turn, name)) if picture and picture.answer_of]


def shown(value: Any) -> str:
    if isinstance(value, list | dict):
        return f"{'a list' if isinstance(value, list) else 'an object'} of {len(value)}"
    return shorten(json.dumps(value, ensure_ascii=False) if isinstance(value, str | bool | None) else str(value))


def listed(names: set[str], most: int = 5) -> str:
    found = sorted(names)
    return ", ".join(map(shorten, found[:most])) + (f" or one of {len(found) - most} others" if len(found) > most else "")
