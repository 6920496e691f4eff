"""Instructions from the starters' phrasings, varied as people vary what they ask for.

    wordings("Semantic editing: color", "the door", "red", count=3, seed=7)
    # ["{image} the door in red", "Please alter the color of the door in {image} to red.", "make the door in {image} red"]

The published weights learned short and plain requests. So the variants stay near the phrasings: another verb, an opening, a
capital and a full stop. Captions in quotes stay as they are.
"""

import random
import re

if "." in __package__:  # inside ComfyUI
    from ..starters.phrasings import GAP, MARK, PHRASINGS, phrase, phrasings
else:
    from starters.phrasings import GAP, MARK, PHRASINGS, phrase, phrasings

VERBS = tuple((re.compile(pattern), others) for pattern, others in (
    (r"^make (?=an? )", ("create ", "produce ", "draw ")),
    (r"^change (?=the )", ("alter ", "switch ")),
    (r"^remove ", ("delete ", "erase ")),
    (r"^erase ", ("remove ", "delete ")),
    (r"^replace (.+ in \{image\}|the background of \{image\}) with ", (r"swap \1 for ", r"exchange \1 for ")),
    (r"^turn (.*\{image\}) into ", (r"convert \1 into ", r"transform \1 into ")),
    (r"^(create|extract|estimate|detect|pixelate|blur) ", (r"now \1 ", r"please \1 ")),
))
OPENINGS = ("please ", "now ", "can you ", "could you ")
STARTS = re.compile(r"(?:make|change|remove|replace|turn|add|give|put|show|create|extract|estimate|detect|draw|redraw|divide|"
                    r"segment|edit|keep|blur|pixelate|take|place|fill|complete|extend|continue|dress|let|combine|merge|cut|"
                    r"bring|restore|erase|write|delete|alter|switch|swap|exchange|convert|transform|produce|follow) ")
ATTEMPTS = 20  # for each wording that is wanted: two draws may say the same
# What the difference of two pictures can be, one of which is there and without a mask.
EDITS = tuple(f"{group}: {name}" for group in ("Semantic editing", "Element editing")
              for name, texts in PHRASINGS[group].items()
              if not any("mask" in text or "{image1}" in text for text in texts))


def gaps(task: str) -> tuple[str, ...]:
    """Which of "what" and "how" every phrasing of a task needs. Raises PhrasingError for an unknown task."""
    return tuple(gap for gap in ("what", "how") if all(gap in GAP.findall(text) for text in phrasings(task)))


def wordings(task: str, what: str = "", how: str = "", count: int = 1, seed: int | str = 0) -> list[str]:
    """Up to `count` different instructions for a task, as named in starters' TASKS; the same for the same seed.

    The first is a plain phrasing. There are fewer if the phrasings that can be filled do not give so many. Raises
    PhrasingError for an unknown task, and if no phrasing can be filled.
    """
    what, how = (text.replace('"', "'") for text in (what, how))  # many phrasings put them in quotes
    numbers = [number for number, text in enumerate(phrasings(task), 1)
               if all({"what": what, "how": how}[gap].strip() for gap in GAP.findall(text))]
    if not numbers:
        phrase(task, 1, what, how)  # raises, and says which gap is empty
    draw = random.Random(f"{seed} {task.removesuffix(MARK)} {what} {how}")
    found = [phrase(task, draw.choice(numbers), what, how)]
    for _ in range(ATTEMPTS * count):
        if len(found) >= count:
            break
        text = varied(phrase(task, draw.choice(numbers), what, how), draw)
        if not any(text.strip(" .?").lower() == other.strip(" .?").lower() for other in found):
            found.append(text)
    return found[:count]


def varied(text: str, draw: random.Random) -> str:
    """The same request in another dress, or as it is."""
    for pattern, others in VERBS:
        if pattern.search(text) and draw.random() < 0.5:
            text = pattern.sub(draw.choice(others), text)
            break
    opening = draw.choice(OPENINGS) if STARTS.match(text) and draw.random() < 0.3 else ""
    text = opening + text
    if STARTS.match(text.removeprefix(opening)) and draw.random() < 0.4:
        text = text[0].upper() + text[1:] + ("?" if opening.startswith(("can", "could")) else ".")
    return text
