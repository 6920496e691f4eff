"""What the difference of two scenes is, as a task of the starters and what fills its gaps.

This stands in for the language model that sees (engine/labels.py): it looks at the scenes' data instead of the pictures.
"""

from random import Random

from engine.replies import Difference
from engine.templates import wordings

from ..world.scenes import Scene
from ..world.scenes.world import Face, Figure, Thing
from ..world.tasks import words


def instruction(old: Scene, new: Scene, rng: Random) -> str | None:
    """A phrasing that asks for the one edit between two scenes; None if there is no such edit."""
    found = difference(old, new, rng)
    return found and wordings(found.task, found.what, found.how, 1, rng.random())[0]


def difference(old: Scene, new: Scene, rng: Random) -> Difference | None:
    """The one edit that leads from `old` to `new`; None if there is none, or more than one."""
    parts = [name for name in ("place", "light", "face", "figure", "sign") if getattr(old, name) != getattr(new, name)]
    gone, come = [t for t in old.things if t not in new.things], [t for t in new.things if t not in old.things]
    if len(parts) + max(len(gone), len(come)) != 1:
        return None
    if not parts:
        return of_things(gone, come, rng)
    if parts[0] == "place":
        return said("Semantic editing: background", words.STAGES[new.place])
    if parts[0] == "light":
        return said("Semantic editing: lighting", f"the {new.light}")
    one, other = getattr(old, parts[0]), getattr(new, parts[0])
    if one is None or other is None:
        return None
    if parts[0] == "sign":
        return said("Semantic editing: color", "the letters", other.ink) if changed(one, other) == ["ink"] else None
    return of_face(one, other, rng) if parts[0] == "face" else of_figure(one, other)


def said(task: str, what: str, how: str = "") -> Difference:
    return Difference(f"{task}: {what} {how}".strip(), task, what=what, how=how)


def of_things(gone: list[Thing], come: list[Thing], rng: Random) -> Difference | None:
    if not gone:
        return said("Element editing: add object", f"a {looks(come[0], True)} {words.spot(rng, come[0].spot)}")
    name = words.the(rng, gone[0])
    if not come:
        return said("Element editing: remove object", name)
    if changed(gone[0], come[0]) == ["color"]:
        return said("Semantic editing: color", name, come[0].color)
    if changed(gone[0], come[0]) == ["shape"]:
        return said("Element editing: replace object", name, f"a {looks(come[0])}")
    return None


def of_face(old: Face, new: Face, rng: Random) -> Difference | None:
    gaps = {"expression": new.expression, "hair": rng.choice(words.HAIR_WORDS[new.hair]), "gaze": new.gaze}
    fields = changed(old, new)
    return said(f"Semantic editing: {fields[0]}", gaps[fields[0]]) if len(fields) == 1 and fields[0] in gaps else None


def of_figure(old: Figure, new: Figure) -> Difference | None:
    fields = changed(old, new)
    if fields == ["shirt"]:
        return said("Semantic editing: color", "the shirt", new.shirt)
    if fields in (["arms"], ["legs"]):
        pose = words.ARM_WORDS[new.arms] if fields == ["arms"] else words.LEG_WORDS[new.legs]
        return said("Semantic editing: pose", "the person", f"with {pose}")
    return None


def changed(old, new) -> list[str]:
    return [name for name in old.__dataclass_fields__ if getattr(old, name) != getattr(new, name)]


def looks(thing: Thing, size: bool = False) -> str:
    texture = "" if thing.texture == "plain" else f"{thing.texture} "
    return f"{f'{thing.size} ' * size}{thing.color} {texture}{thing.shape}"
