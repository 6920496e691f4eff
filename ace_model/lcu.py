"""Long-context Condition Unit (LCU): the turns of a conversation and the frames the model sees.

ACE, arXiv 2410.00086, section 2.2 (condition unit, long-context condition unit). A turn is a
`ConditionUnit`: an instruction with images and masks. Turns in order form a `LongContextUnit`, which
unrolls into frames: the target first, then every image, oldest turn first. Whoever writes an instruction
numbers the placeholders `{image}`, `{image1}`, … within the turn; the model reads them numbered over all turns.
"""

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, replace
from difflib import SequenceMatcher

from torch import Tensor

from .errors import InputError
from .images import check_image
from .masks import check_mask, is_partial
from .text import clean

MAX_IMAGES = 9  # the indicator table has 10 rows and the target takes one (spec: row N for N images)
DEFAULT_ROUNDS = 5  # earlier turns that the official chat remembers

PLACEHOLDER = re.compile(r"\{(?:previous(?P<back>[1-9][0-9]{0,3}|)\.)?image(?P<number>0|[1-9][0-9]{0,3}|)\}")
# No JSON, no {a|b}: a mistyped name has no such signs.
BRACES = re.compile(r"(?<![{｛])[{｛]([\w\s.#()\[\]-]+)[,;:!?]?[}｝](?![}｝])")
MAX_TEXT = 100_000  # characters of an instruction: the model reads 120 tokens, and looking for names takes its time
FORGOTTEN = "an earlier image"  # what the model reads where an earlier turn names a picture that is forgotten
NEAR = 0.8  # how like a name its letters must be: "imgae" is 0.80, "damage" 0.73


class LCUError(InputError):
    """An instruction, image or mask that cannot become part of a long-context condition unit."""


def placeholder(number: int) -> str:
    """The name of image `number` (from 0): `{image}`, `{image1}`, `{image2}`, …"""
    return f"{{image{number or ''}}}"


IDENTIFIERS = tuple(placeholder(i) for i in range(MAX_IMAGES + 1))


@dataclass(frozen=True, eq=False)
class ConditionUnit:
    """One turn: an instruction with its images and masks.

    instruction: cleaned here, so that what is checked is what the model reads · images: each (H, W, C) in [0, 1] with 1, 3 or
    4 channels · masks: per image None or (H, W) in [0, 1], white = edit here · blank: blacken the pixels under a mask before
    encoding (inpainting, try-on).
    Raises LCUError, which names the image, the value and the way out.
    """

    instruction: str
    images: Sequence[Tensor] = ()
    masks: Sequence[Tensor | None] = ()
    blank: bool = False

    def __post_init__(self):
        images, masks = tuple(self.images), tuple(self.masks)
        if len(images) > MAX_IMAGES:
            raise LCUError(f"there are {len(images)} images in one turn, but ACE takes at most {MAX_IMAGES}: "
                           f"remove {len(images) - MAX_IMAGES}.")
        if len(masks) > len(images):
            raise LCUError(f"there are more masks ({len(masks)}) than images ({len(images)}): connect an image for each mask, "
                           "or remove masks.")
        masks += (None,) * (len(images) - len(masks))
        for i, (image, mask) in enumerate(zip(images, masks, strict=True)):
            check_image(image, name=placeholder(i).strip("{}"))
            check_mask(mask, name=f"mask{i or ''}")
        check_length(self.instruction)
        object.__setattr__(self, "instruction", clean(self.instruction))
        object.__setattr__(self, "images", images)
        object.__setattr__(self, "masks", masks)
        if self.blank and not any(is_partial(mask) for mask in masks):
            raise LCUError("no mask marks a part of a picture: paint one on Load Image (right-click → Open in MaskEditor) and "
                           "connect MASK, or turn blank_masked off. A missing, all-black or all-white mask selects the "
                           "whole picture, so blank_masked would leave nothing of it.")
        check_names(self.instruction, len(images))


def check_length(text: str, where: str = "the instruction") -> None:
    """Raises LCUError for a text that is longer than any instruction."""
    if len(text) > MAX_TEXT:
        raise LCUError(f"{where} has {len(text):,} characters, but must have at most {MAX_TEXT:,}: shorten it. The model reads "
                       "its first 120 tokens.")


def check_names(text: str, images: int, where: str = "the instruction") -> None:
    """Raises LCUError unless every name in a cleaned text is one of the turn's `images` pictures, or an earlier turn's."""
    check_placeholders(text, images, where)
    for match in PLACEHOLDER.finditer(text):
        if match["back"] is None and int(match["number"] or 0) >= images:
            raise LCUError(f"{where} names {match[0]}, but nothing is connected to {match[0].strip('{}')} (this turn has "
                           f"{_count(images)}): connect that picture, or refer to the picture of the turn before as "
                           "{previous.image}.")


def check_placeholders(text: str, images: int | None, where: str = "the instruction") -> None:
    """Raises LCUError for anything in single braces that looks like an image's name but is none: {imgae}, {image 1}.

    images: how many images the turn has, None if that is not known yet. The model would read such a thing as plain words, and
    nobody would notice.
    """
    for match in BRACES.finditer(text):
        meant = None if PLACEHOLDER.fullmatch(match[0]) else _meant(match[1], images)
        if meant:
            names = ", ".join(map(placeholder, range(images or 0))) or "no image"
            known = "" if images is None else f"This turn has {names}; an earlier turn's picture is {{previous.image}}. "
            raise LCUError(f"{where} has {shorten(match[0])}, which names no picture: did you mean {meant}? {known}If it is "
                           "not meant as a name, leave out the braces.")


def shorten(text: str, most: int = 40) -> str:
    """For messages."""
    return text if len(text) <= most else f"{text[:most]}…"


def _meant(text: str, images: int | None) -> str | None:
    """The name that `text` is probably mistyped from, if any."""
    plain = re.sub(r"[\W_]", "", unicodedata.normalize("NFKC", text).casefold())
    plain = re.sub(r"^prev(?=[0-9]|im|pic|$)", "previous", plain)
    plain = re.sub(r"^(previous[0-9]*|)(?:img(?!ae)|pic(?:ture)?(?=s?[0-9]*$))", r"\1image", plain)
    letters = re.sub(r"[0-9]", "", plain)
    likeness = {name: SequenceMatcher(None, letters, name).ratio() for name in ("image", "previous", "previousimage")}
    name = max(likeness, key=likeness.get)
    if likeness[name] < NEAR:
        return None
    back, number = re.fullmatch(r"(?:[^0-9]+([0-9]+)(?=[^0-9]))?[^0-9]*([0-9]*).*", plain).groups()
    back, number = (back or "")[:4], int(number[:4] or 0)
    if name == "image":
        return placeholder(min(number, images - 1) if images else number)
    if name == "previous":
        back, number = number, 0
    return f"{{previous{back if int(back or 0) > 1 else ''}.{placeholder(number)[1:]}"


def name_image(instruction: str, images: int) -> str:
    """`instruction` with `{image} ` in front if there are images and it names none, as the official tools do."""
    return instruction if images == 0 or PLACEHOLDER.search(clean(instruction)) else f"{placeholder(0)} {instruction}"


@dataclass(frozen=True, eq=False)
class Frame:
    """One image as the model sees it. The target has no image yet; `mask` is the region to edit, None = everywhere."""

    text: str  # placeholders numbered over all turns
    negative_text: str  # the same frame's text in the negative branch
    image: Tensor | None = None
    mask: Tensor | None = None
    blank: bool = False


@dataclass(frozen=True, eq=False)
class LongContextUnit:
    """The turns so far, oldest first. The last one is the current turn."""

    turns: tuple[ConditionUnit, ...] = ()
    forgotten: int = 0  # turns before these

    def then(self, unit: ConditionUnit, max_rounds: int = DEFAULT_ROUNDS) -> "LongContextUnit":
        """The conversation with `unit` added. Forgets the oldest turns beyond `max_rounds` earlier ones and beyond 9 images.

        A turn that stays may have named a picture that goes: from then on the model reads FORGOTTEN there. Raises LCUError if
        the new turn names such a picture, for it cannot be meant.
        """
        earlier = self.turns[-max_rounds:] if max_rounds > 0 else ()
        while sum(len(turn.images) for turn in (*earlier, unit)) > MAX_IMAGES:
            earlier = earlier[1:]
        lcu = LongContextUnit((*earlier, unit), self.forgotten + len(self.turns) - len(earlier))
        lcu.check_earlier(self.turns, max_rounds)
        return lcu

    def check_earlier(self, before: Sequence[ConditionUnit] = (), max_rounds: int = 0) -> None:
        """Raises LCUError if the last turn names a picture of an earlier turn that is not there.

        before: the earlier turns of which `max_rounds` at most were kept; they tell what would help.
        """
        earlier, text = self.turns[:-1], self.turns[-1].instruction
        for match in PLACEHOLDER.finditer(text):
            back, number = int(match["back"] or 1), int(match["number"] or 0)
            if match["back"] is None:
                continue
            if back <= len(earlier):
                if number >= len(earlier[-back].images):
                    raise LCUError(f"the instruction names {match[0]}, but that turn has {_count(len(earlier[-back].images))}: "
                                   "name one that it has.")
                continue
            if back > len(earlier) + self.forgotten:
                raise LCUError(f"the instruction names {match[0]}, but " + (
                    f"the conversation has only {len(earlier)} earlier turn{'s' * (len(earlier) > 1)}: name one of them."
                    if earlier else
                    "there is no earlier turn: connect history of ACE Long-context Unit, or connect the picture itself."))
            known = {0: "no earlier turn is", 1: "only 1 earlier turn is"}.get(
                len(earlier), f"only {len(earlier)} earlier turns are")
            fits = back <= len(before) and sum(len(t.images) for t in (*before[-back:], self.turns[-1])) <= MAX_IMAGES
            raise LCUError(f"the instruction names {match[0]}, but {known} remembered: " + (
                f"raise max_rounds of ACE Long-context Unit from {max_rounds} to {back}, or " if fits and back > max_rounds else
                "") + "connect the picture itself and name it by its slot, such as {image1}.")

    def instructions(self) -> list[str]:
        """One text per turn, with its placeholders numbered over all turns."""
        return [self._globalise(i, turn.instruction) for i, turn in enumerate(self.turns)]

    def frames(self, negative: str = "", target_index: int = 0) -> list[Frame]:
        """Target first, then the images, oldest turn first; at most 10 frames.

        Every image of a turn has that turn's text; the target has the last turn's. The negative branch differs only
        in the last text: the target's, and the last image's if it belongs to the last turn (spec/ace.md, section 6).
        target_index: the image of the last turn that gives the target its mask and, by default, its size.
        """
        check_length(negative, "the negative instruction")
        texts = self.instructions()
        last, negative = self.turns[-1], clean(negative)
        check_names(negative, len(last.images), "the negative instruction")
        negative = self._globalise(len(self.turns) - 1, negative)
        frames = [Frame(text, text, image, mask, turn.blank)
                  for turn, text in zip(self.turns, texts, strict=True)
                  for image, mask in zip(turn.images, turn.masks, strict=True)]
        target = self.target_frame(target_index)
        target_mask = frames[target - 1].mask if target else None
        if last.images:
            frames[-1] = replace(frames[-1], negative_text=negative)
        return [Frame(texts[-1], negative, mask=target_mask), *frames]

    def target_frame(self, index: int = 0) -> int | None:
        """Which frame is image number `index` of the last turn; None if that turn has no image. Raises LCUError."""
        last = len(self.turns[-1].images)
        if not last and index == 0:
            return None
        if not 0 <= index < last:
            raise LCUError(f"target_image is {index}, but this turn has {_count(last)}: use "
                           f"{'0' if last < 2 else f'0 to {last - 1}'}.")
        return 1 + sum(len(turn.images) for turn in self.turns[:-1]) + index

    def _globalise(self, turn: int, text: str) -> str:
        starts = [sum(len(t.images) for t in self.turns[:i]) for i in range(len(self.turns))]

        def shift(match: re.Match) -> str:
            source = turn - (0 if match["back"] is None else int(match["back"] or 1))
            number = int(match["number"] or 0)
            known = source >= 0 and number < len(self.turns[source].images)
            return placeholder(starts[source] + number) if known else FORGOTTEN

        return PLACEHOLDER.sub(shift, text)


def _count(images: int) -> str:
    return {0: "no image", 1: "1 image"}.get(images, f"{images} images")
