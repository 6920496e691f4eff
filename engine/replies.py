"""What a language model may answer. Everything else is malformed: an answer ends up as training data, or in the next question.

An answer is one JSON object with exactly the fields that were asked for, alone or in one ``` fence, after the model's thoughts
if it shows them. Its texts are English prose: no file names, links, markup or names of pictures that are not there.
"""

import json
import re
import unicodedata
from dataclasses import dataclass

from ace_model.errors import InputError
from ace_model.lcu import PLACEHOLDER, check_names
from ace_model.text import clean
from starters.phrasings import PHRASINGS

from .templates import EDITS, gaps

LONGEST = 20_000  # characters of an answer
LONGEST_TEXT = 400  # of a text in it: 120 tokens are about 480 characters of English
KINDS = (*EDITS, "other", "none")
THOUGHTS = re.compile(r"\s*<think>.*?</think>", re.DOTALL)
FENCE = re.compile(r"```(?:json)?[ \t]*\n(.*)\n[ \t]*```", re.DOTALL)
SIGNS = re.compile(r"[<>{}\[\]|\\^`*#_~@=]")  # markup, gaps, names of pictures, mail
UNSEEN = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}  # Unicode categories
FILES = re.compile(r"://|www\.|(?:^|[\s\"'(])(?:\.{1,2}|[A-Za-z]:)?/\w|\w/\w+/|"
                   r"\w\.(?:png|jpe?g|webp|gif|bmp|tiff?|avif|json|txt|py)\b", re.IGNORECASE)
# Words that tell languages apart; a text counts as English unless it has more of the others.
ENGLISH, OTHERS = (frozenset(re.findall(r"\w+", words)) for words in (
    "a an the of to with and its from by for at into as that this than more make add remove",
    "le les une des dans du est avec sur et au aux der die das und den von auf ein eine einen mit ist im dem el los las del "
    "una con por y il gli della nel che um uma os não het een van de la"))


class MalformedError(ValueError):
    """An answer that cannot be used. The text says why."""


@dataclass(frozen=True)
class Difference:
    """What an edit changed: in a sentence, and as a task of the starters with its gaps. task "": none of them."""

    text: str
    task: str = ""
    what: str = ""
    how: str = ""


def caption(answer: str) -> str:
    """{"caption": "…"}. Raises MalformedError."""
    return prose(fields(answer, "caption")["caption"], "caption")


def difference(answer: str) -> Difference | None:
    """{"difference", "kind", "what", "how"}; None if the model sees no edit. Raises MalformedError."""
    found = fields(answer, "difference", "kind", "what", "how")
    kind = found["kind"]
    if not isinstance(kind, str) or kind not in KINDS:
        raise MalformedError("kind is none of those that were offered")
    if kind == "none":
        return None
    text = prose(found["difference"], "difference")
    what, how = ("" if found[gap] in (None, "") else prose(found[gap], gap, words=False) for gap in ("what", "how"))
    if kind == "other":
        return Difference(text)
    for gap in gaps(kind):
        if not {"what": what, "how": how}[gap]:
            raise MalformedError(f"{gap} is empty, but {kind} needs it")
    return Difference(text, kind, what, how)


def instructions(answer: str, count: int) -> tuple[str, ...]:
    """{"instructions": [count different texts that name {image}]}. Raises MalformedError."""
    found = fields(answer, "instructions")["instructions"]
    if type(found) is not list or len(found) != count:
        raise MalformedError(f"instructions is no list of {count}")
    texts = tuple(instruction(text) for text in found)
    if len({text.lower() for text in texts}) < count:
        raise MalformedError("two instructions are the same")
    return texts


def fits(answer: str, count: int) -> tuple[bool, ...]:
    """{"fits": [count times true or false]}. Raises MalformedError."""
    found = fields(answer, "fits")["fits"]
    if type(found) is not list or len(found) != count or not all(type(each) is bool for each in found):
        raise MalformedError(f"fits is no list of {count} times true or false")
    return tuple(found)


def fields(answer: str, *names: str) -> dict:
    """The answer's only object, with exactly these fields."""
    if len(answer) > LONGEST:
        raise MalformedError(f"it has more than {LONGEST:,} characters")
    text = THOUGHTS.sub("", answer, count=1).strip() if answer.lstrip().startswith("<think>") else answer.strip()
    if match := FENCE.fullmatch(text):
        text = match[1]
    try:
        found = json.loads(text, object_pairs_hook=_once)
    except (ValueError, RecursionError):
        raise MalformedError("it is no JSON object" if text else "it is empty") from None
    if type(found) is not dict or set(found) != set(names):
        raise MalformedError(f"it has not exactly the fields {', '.join(names)}")
    return found


def instruction(text: object) -> str:
    """A cleaned instruction for one picture. Raises MalformedError."""
    if not isinstance(text, str):
        raise MalformedError("an instruction is no text")
    if len(text) > LONGEST_TEXT:
        raise MalformedError(f"an instruction has more than {LONGEST_TEXT} characters")
    tidy = clean(text)  # as the model will read it: &#123; is a brace then
    try:
        check_names(tidy, 1)
    except InputError:
        raise MalformedError("an instruction names a picture that is not there") from None
    if {match[0] for match in PLACEHOLDER.finditer(tidy)} != {"{image}"}:
        raise MalformedError("an instruction does not name {image}, or names another picture")
    prose(PLACEHOLDER.sub("picture", tidy), "an instruction")
    return tidy


def problem(text: str) -> str:
    """What is wrong with an instruction that a template made, or ""."""
    try:
        instruction(text)
    except MalformedError as error:
        return str(error)
    return ""


def prose(text: object, name: str, words: bool = True) -> str:
    """A cleaned text. words: whether it must be a phrase, for a single word has no language. Raises MalformedError."""
    if not isinstance(text, str):
        raise MalformedError(f"{name} is no text")
    if len(text) > LONGEST_TEXT:
        raise MalformedError(f"{name} has more than {LONGEST_TEXT} characters")
    tidy = clean(text)
    if SIGNS.search(tidy) or any(unicodedata.category(letter) in UNSEEN for letter in tidy):
        raise MalformedError(f"{name} has signs that no sentence has")
    if FILES.search(tidy):
        raise MalformedError(f"{name} has the name of a file or a link")
    letters = [letter for letter in tidy if letter.isalpha()]
    if len(letters) < 2 or sum(letter.isascii() for letter in letters) < 0.8 * len(letters):
        raise MalformedError(f"{name} is not written in English letters")
    found = re.findall(r"[^\W\d_]+", tidy.lower())
    if words and (len(found) < 3 or sum(word in OTHERS for word in found) > sum(word in ENGLISH for word in found)):
        raise MalformedError(f"{name} is no English sentence")
    return tidy


def offered() -> str:
    """The kinds of difference with their gaps, for the question."""
    def line(task: str) -> str:
        texts = PHRASINGS[task.partition(": ")[0]][task.partition(": ")[2]]
        return f'- "{task}", as in: {texts[0].replace("{image}", "the picture")}'
    return "\n".join([*map(line, EDITS), '- "other"', '- "none"'])


def _once(pairs: list) -> dict:
    if len({name for name, _ in pairs}) < len(pairs):
        raise ValueError
    return dict(pairs)
