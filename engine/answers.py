"""What a language model has answered, kept on the disk: no question is asked twice, and a run that was stopped goes on.

An answer is a small JSON file under the hash of model, question, pictures (their contents) and seed. Malformed answers are kept
as well: the same question would bring the same nonsense again.
"""

import hashlib
import json
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from training.files import digest, replaced

from .language import Language, RefusedError
from .replies import LONGEST, MalformedError

OUTCOMES = ("asked", "cached", "valid", "malformed", "failed")


@dataclass
class Counts:
    """{step: {outcome: answers}}. Every answer is asked or cached, and valid or malformed; failed ones are none of them."""

    steps: dict[str, Counter] = field(default_factory=dict)
    _lock: Any = field(default_factory=threading.Lock, repr=False)

    def add(self, step: str, outcome: str) -> None:
        with self._lock:
            self.steps.setdefault(step, Counter())[outcome] += 1

    def data(self) -> dict[str, dict[str, int]]:
        return {step: {name: found[name] for name in OUTCOMES} for step, found in self.steps.items()}


class Answers:
    """Asks a language model, or the folder of what it has answered before.

    tries: answers to a question, each with another seed, until one is well formed.
    """

    def __init__(self, language: Language, folder: Path, tries: int = 3, seed: int = 0):
        self.language, self.folder, self.tries, self.seed = language, folder, tries, seed
        self.counts = Counts()
        self._lock = threading.Lock()
        self._pending: dict[str, Future] = {}
        self._digests: dict[Path, str] = {}

    def ask(self, step: str, prompt: str, pictures: Sequence[Path], read: Callable[[str], Any]) -> Any:
        """What `read` makes of the first well-formed answer. Raises MalformedError if none is, and what Language raises."""
        wrong = MalformedError("nothing was asked")
        for seed in range(self.seed, self.seed + self.tries):
            try:
                text, cached = self._answer(step, prompt, pictures, seed)
            except RefusedError:
                self.counts.add(step, "failed")
                raise
            self.counts.add(step, "cached" if cached else "asked")
            try:
                found = read(text)
            except MalformedError as error:
                self.counts.add(step, "malformed")
                wrong = error
                continue
            self.counts.add(step, "valid")
            return found
        raise wrong

    def _answer(self, step: str, prompt: str, pictures: Sequence[Path], seed: int) -> tuple[str, bool]:
        """(answer, whether it was known). Two threads with one question ask once."""
        shown = [self._digest(path) for path in pictures]
        question = {"model": self.language.name, "prompt": prompt, "pictures": shown, "seed": seed}
        key = hashlib.sha256(json.dumps(question, sort_keys=True).encode()).hexdigest()
        with self._lock:
            pending = self._pending.get(key)
            if own := pending is None:
                pending = self._pending[key] = Future()
        if not own:
            return pending.result(), True
        try:
            path = self.folder / key[:2] / f"{key[2:34]}.json"
            text = known = load(path)
            if text is None:
                text = self.language.answer(prompt, pictures, seed)[:LONGEST + 1]  # one more is malformed already
                save(path, {"step": step, "model": self.language.name, "pictures": shown, "seed": seed, "answer": text})
            pending.set_result(text)
            return text, known is not None
        except BaseException as error:
            pending.set_exception(error)
            raise
        finally:
            with self._lock:
                del self._pending[key]

    def _digest(self, path: Path) -> str:
        if path not in self._digests:
            self._digests[path] = digest(path)
        return self._digests[path]


def load(path: Path) -> str | None:
    """A kept answer; None if there is none, or if the file is damaged."""
    try:
        found = json.loads(path.read_bytes())["answer"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    return found if isinstance(found, str) else None


def save(path: Path, data: dict) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(data)  # ASCII: halves of characters are kept, too
    replaced(path, lambda part: part.write_text(text, encoding="ascii"))
