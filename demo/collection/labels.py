"""What a person would say to turn one scene into another: the pack's phrasings, filled from the difference.

This stands in for the language model that sees (engine/labels.py): it looks at the scenes' data instead of the pictures.
"""

from random import Random

from starters.phrasings import GAP, phrase, phrasings

from ..world.scenes import Scene, Thing
from ..world.scenes.world import Face, Figure
from ..world.tasks import words

Difference = tuple[str, dict[str, str]]  # a task of the starters, and what fills its gaps


def instruction(old: Scene, new: Scene, rng: Random) -> str | None:
    """One of the phrasings for the one edit that leads from `old` to `new`; None if there is no such edit."""
    found = difference(old, new, rng)
    if found is None:
        return None
    task, gaps = found
    numbers = [number for number, text in enumerate(phrasings(task), 1) if all(gap in gaps for gap in GAP.findall(text))]
    return phrase(task, rng.choice(numbers), **gaps)


def difference(old: Scene, new: Scene, rng: Random) -> Difference | None:
    parts = [name for name in ("place", "light", "face", "figure", "sign") if getattr(old, name) != getattr(new, name)]
    gone, come = [t for t in old.things if t not in new.things], [t for t in new.things if t not in old.things]
    if len(parts) + max(len(gone), len(come)) != 1:
        return None
    if not parts:
        return of_things(gone, come, rng)
    if parts[0] == "place":
        return "Semantic editing: background", {"what": words.STAGES[new.place]}
    if parts[0] == "light":
        return "Semantic editing: lighting", {"what": f"the {new.light}"}
    one, other = getattr(old, parts[0]), getattr(new, parts[0])
    if one is None or other is None:
        return None
    if parts[0] == "sign":
        recolored = changed(one, other) == ["ink"]
        return ("Semantic editing: color", {"what": "the letters", "how": other.ink}) if recolored else None
    return of_face(one, other, rng) if parts[0] == "face" else of_figure(one, other)


def of_things(gone: list[Thing], come: list[Thing], rng: Random) -> Difference | None:
    if not gone:
        return "Element editing: add object", {"what": f"a {looks(come[0], True)} {words.spot(rng, come[0].spot)}"}
    name = words.the(rng, gone[0])
    if not come:
        return "Element editing: remove object", {"what": name}
    if changed(gone[0], come[0]) == ["color"]:
        return "Semantic editing: color", {"what": name, "how": come[0].color}
    if changed(gone[0], come[0]) == ["shape"]:
        return "Element editing: replace object", {"what": name, "how": f"a {looks(come[0])}"}
    return None


def of_face(old: Face, new: Face, rng: Random) -> Difference | None:
    gaps = {"expression": new.expression, "hair": rng.choice(words.HAIR_WORDS[new.hair]), "gaze": new.gaze}
    fields = changed(old, new)
    return (f"Semantic editing: {fields[0]}", {"what": gaps[fields[0]]}) if len(fields) == 1 and fields[0] in gaps else None


def of_figure(old: Figure, new: Figure) -> Difference | None:
    fields = changed(old, new)
    if fields == ["shirt"]:
        return "Semantic editing: color", {"what": "the shirt", "how": new.shirt}
    if fields in (["arms"], ["legs"]):
        return "Semantic editing: pose", {"what": "the person", "how": f"with {words.ARM_WORDS[new.arms]}"
                                          if fields == ["arms"] else f"with {words.LEG_WORDS[new.legs]}"}
    return None


def changed(old, new) -> list[str]:
    return [name for name in old.__dataclass_fields__ if getattr(old, name) != getattr(new, name)]


def looks(thing: Thing, size: bool = False) -> str:
    texture = "" if thing.texture == "plain" else f"{thing.texture} "
    return f"{f'{thing.size} ' * size}{thing.color} {texture}{thing.shape}"
