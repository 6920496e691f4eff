"""Pairs of pictures → instructions: by a language model that sees, or by templates from a difference that is known.

    labeller = Labeller(Answers(language, folder))
    for found in label(pairs, labeller.label, threads=1):   # a Label or a LeftOut for each pair, in order

The paper's steps (arXiv 2410.00086, section 3.3): describe both pictures, say what differs, write the instruction in several
wordings. A last question shows the model pair and wordings again; what does not fit is left out.
"""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from string import Template

from training.data import look
from training.formats import PICTURES

from . import prompts, replies, templates
from .answers import Answers
from .language import LanguageError, RefusedError
from .pairs import Pair
from .replies import Difference, MalformedError

IN_A_ROW = 10  # pairs that the model refused, before labelling gives up
AHEAD = 4  # pairs in work or waiting, for each thread
REASONS = ("malformed", "wrong", "failed", "unusable")


@dataclass(frozen=True)
class Label:
    """A pair and what asks for it. wordings: each names the source {image}."""

    pair: Pair
    wordings: tuple[str, ...]
    captions: tuple[str, str] = ("", "")
    difference: Difference | None = None


@dataclass(frozen=True)
class LeftOut:
    """A pair that gets no instruction. why: one of REASONS · what: for a person."""

    pair: Pair
    why: str
    what: str


Labelled = Label | LeftOut


class Labeller:
    """Asks about one pair after the other. May be used by several threads.

    count: wordings by the model · templated: wordings from templates beside them, where the difference is a task of theirs ·
    questions: as prompts.read gives them.
    """

    def __init__(self, answers: Answers, count: int = 3, templated: int = 1, questions: dict[str, Template] | None = None):
        self.answers, self.count, self.templated = answers, count, templated
        self.questions = questions or prompts.read()
        self._unusable: dict[Path, str] = {}

    def label(self, pair: Pair) -> Labelled:
        """Raises LanguageError if no more answers can be had."""
        if what := unusable(pair, self._unusable):
            return LeftOut(pair, "unusable", what)
        try:
            return self._asked(pair)
        except MalformedError as error:
            return LeftOut(pair, "malformed", str(error))
        except RefusedError as error:
            return LeftOut(pair, "failed", str(error))

    def _asked(self, pair: Pair) -> Labelled:
        both = (pair.source, pair.target)
        source, target = (self._ask("caption", (picture,), replies.caption) for picture in both)
        found = self._ask("difference", both, replies.difference, source=source, target=target, tasks=replies.offered())
        if found is None:
            return LeftOut(pair, "wrong", "the model sees no edit")
        wordings = self._ask("instruction", both, lambda text: replies.instructions(text, self.count), source=source,
                             target=target, difference=found.text, count=self.count)
        wordings = distinct([*wordings, *self._templates(found)])
        fits = self._ask("check", both, lambda text: replies.fits(text, len(wordings)), count=len(wordings),
                         instructions="\n".join(f"{number}. {text}" for number, text in enumerate(wordings, 1)))
        kept = tuple(text for text, fit in zip(wordings, fits, strict=True) if fit)
        if not kept:
            return LeftOut(pair, "wrong", f"no instruction fits, such as {wordings[0]!r}")
        return Label(pair, kept, (source, target), found)

    def _templates(self, found: Difference) -> list[str]:
        if not found.task or not self.templated:
            return []
        drawn = templates.wordings(found.task, found.what, found.how, self.templated, found.text)
        return [text for text in drawn if not replies.problem(text)]

    def _ask(self, step: str, pictures: tuple[Path, ...], read: Callable, **fields):
        try:
            return self.answers.ask(step, self.questions[step].substitute(fields), pictures, read)
        except MalformedError as error:
            raise MalformedError(f"{step}: {error}") from None


def by_templates(describe: Callable[[Pair], Difference | None], count: int = 3, seed: int = 0) -> Callable[[Pair], Labelled]:
    """A labeller without a language model. describe: what the edit of a pair is, as a task of the starters; None: no edit."""
    seen: dict[Path, str] = {}

    def labelled(pair: Pair) -> Labelled:
        if what := unusable(pair, seen):
            return LeftOut(pair, "unusable", what)
        found = describe(pair)
        if found is None:
            return LeftOut(pair, "wrong", "there is no edit between the two")
        texts = templates.wordings(found.task, found.what, found.how, count, f"{seed} {pair.source.name} {pair.target.name}")
        return Label(pair, tuple(texts), difference=found)
    return labelled


def label(pairs: Iterable[Pair], labelled: Callable[[Pair], Labelled], threads: int = 1) -> Iterator[Labelled]:
    """What becomes of each pair, in their order. Raises LanguageError if the model refuses one pair after the other."""
    waiting, work, refused = deque(), iter(pairs), 0
    with ThreadPoolExecutor(threads) as pool:
        try:
            while True:
                waiting.extend(pool.submit(labelled, pair) for pair in islice(work, threads * AHEAD - len(waiting)))
                if not waiting:
                    return
                found = waiting.popleft().result()
                refused = refused + 1 if isinstance(found, LeftOut) and found.why == "failed" else 0
                if refused >= IN_A_ROW:
                    raise LanguageError(f"the model refused {refused} pairs in a row, the last one because of {found.what}: "
                                        "look at its ComfyUI's log. A model that cannot see refuses pictures.")
                yield found
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def unusable(pair: Pair, seen: dict[Path, str]) -> str:
    """What is wrong with a pair's pictures, or "". seen: what was found before."""
    for path in (pair.source, pair.target):
        if path not in seen:
            if path.suffix.lower() not in PICTURES:
                seen[path] = f"{path.name} is not named as a picture: give it one of the endings {', '.join(PICTURES)}."
            else:
                found = look(path)
                seen[path] = f"{path.name} {found}" if isinstance(found, str) else ""
        if seen[path]:
            return seen[path]
    if os.path.samefile(pair.source, pair.target):
        return f"{pair.source.name} is both source and target."
    return ""


def distinct(texts: Iterable[str]) -> tuple[str, ...]:
    """Without those that say the same in the same words."""
    return tuple({text.strip(" .?!").lower(): text for text in reversed(list(texts))}.values())[::-1]
