"""Multi-turn chains. Where `history` is said, the last picture and instruction alone cannot tell the answer."""

from dataclasses import replace
from random import Random

from ..scenes import Picture, Scene, random_scene
from ..scenes.views import STYLES
from ..scenes.world import COLORS, SPOTS
from . import editing, words
from .base import MULTI_TURN, Turn, Twin, subtask
from .names import NAME, twin_of


def turn(text: str, scene: Scene) -> Turn:
    return Turn(text, (Picture(scene),))


UNDO = {"color": (editing.recolor, "few"), "background": (editing.move_to_place, "any"), "removed": (editing.remove, "few"),
        "replaced": (editing.swap, "few"), "hair": (editing.rehair, "face"), "shirt": (editing.redress, "figure"),
        "text": (editing.unwrite, "sign")}
UNDO_WORDS = {
    "color": ("give it back the color it had before", "{image} with the color from before",
               "the old color again in {image}"),
    "background": ("put {image} back where it was before", "the place from before in {image}",
                   "restore the former background of {image}"),
    "removed": ("put back what was there before", "bring back to {image} what was removed",
                "{image} with the removed thing again"),
    "replaced": ("put back what was there before", "undo the replacement in {image}", "{image} with the former thing again"),
    "hair": ("the hair from before in {image}", "give back the former hair color in {image}"),
    "shirt": ("the shirt from before in {image}", "give back the former shirt color in {image}"),
    "text": ("put back the text that was there before", "{image} with the removed letters again")}


@subtask(MULTI_TURN, "put back", 2.0)
def put_back(rng: Random):
    what = rng.choice(tuple(UNDO))
    edit, kind = UNDO[what]
    first = editing.SCENES[kind](rng)
    second, text = edit(first, rng)
    again = words.say(rng, *UNDO_WORDS[what], "undo that", "{previous.image} again")
    other = random_scene(rng)
    twin = Twin(Picture(other), Picture(other), back=1) if again == "{previous.image} again" else None
    return (turn(text, first), turn(again, second)), Picture(first), True, twin


@subtask(MULTI_TURN, "color of earlier")
def earlier_color(rng: Random):
    """Three turns; the color that a thing had two turns ago, or one turn ago."""
    first = random_scene(rng, "things", rng.choice((1, 2)))
    i = rng.randrange(len(first.things))
    colors = rng.sample([c for c in COLORS if c not in {t.color for t in first.things}], 2)
    scenes = [first, *(first.change(i, color=c) for c in colors)]
    it = f"the {first.things[i].shape}"
    texts = [words.say(rng, "[make|paint|turn] <it> <color> in {image}", it=it, color=c) for c in colors]
    back = rng.choice((1, 2))
    last = words.say(rng, *(("give <it> the color it had two turns ago", "<it> in {image} with its very first color",
                             "<it> with the color it has in {previous2.image}",
                             "give <it> in {image} the color it had in {previous2.image}") if back == 2 else
                            ("give <it> the color it had one turn ago", "<it> in {image} with its last color",
                             "<it> with the color it has in {previous.image}",
                             "give <it> in {image} the color it had in {previous.image}")), it=it)
    turns = [turn(t, s) for t, s in zip((*texts, last), scenes, strict=True)]
    other = replace(first.things[i], color=editing.other(rng, COLORS, *colors, *(t.color for t in first.things)))
    shown = random_scene(rng, "things", 0).but(things=(replace(other, spot=rng.choice(tuple(SPOTS))),))
    twin = Twin(Picture(shown), Picture(scenes[2].change(i, color=other.color)), back=back) if "previous" in last else None
    return turns, Picture(scenes[2 - back]), True, twin


@subtask(MULTI_TURN, "take away what was added")
def take_away(rng: Random):
    """The last picture alone has several things; only the turn before tells which came last."""
    first = random_scene(rng, "things", rng.choice((1, 2)))
    second, text = editing.add(first, rng)
    again = words.say(rng, "[remove|take away] what was [just|] added", "{image} without the added thing", "undo that",
                      "[remove|erase] the newest thing in {image}")
    return (turn(text, first), turn(again, second)), Picture(first), True


@subtask(MULTI_TURN, "keep the rest")
def keep_the_rest(rng: Random):
    """Undo the first of two changes."""
    first = random_scene(rng, "things", rng.choice((1, 2)))
    second, one = editing.recolor(first, rng)
    third, two = rng.choice((editing.relight, editing.move_to_place))(second, rng)
    text = words.say(rng, "undo the first change but keep the rest", "the colors from the beginning in {image}",
                     "{image} with the colors of {previous2.image}")
    twin = None
    if "previous" in text:
        taken = {t.color for t in (*first.things, *second.things)}
        colors = rng.sample([c for c in COLORS if c not in taken], len(first.things))
        things = tuple(replace(t, color=c) for t, c in zip(first.things, colors, strict=True))
        other = random_scene(rng, "things", 0).but(things=things)
        twin = Twin(Picture(other), Picture(third.but(things=things)), back=2)
    return (turn(one, first), turn(two, second), turn(text, third)), Picture(third.but(things=first.things)), True, twin


@subtask(MULTI_TURN, "the same again")
def same_again(rng: Random):
    """The instruction of the turn before, for another picture."""
    first, second = random_scene(rng), random_scene(rng)
    kind = rng.choice(("place", "style"))
    text = words.say(rng, "do the same [with|to] {image}", "the same for {image}", "{image} in the same way")
    if kind == "style":
        wanted = rng.choice(STYLES)
        earlier = words.say(rng, "{image} in <style> style", "[turn|convert] {image} into <style>", style=wanted)
        return (turn(earlier, first), turn(text, second)), Picture(second, wanted), True
    moved, earlier = editing.move_to_place(first, rng)
    if second.place == moved.place:
        second = second.but(place=editing.other(rng, words.PLACE_WORDS, moved.place, "studio"))
    return (turn(earlier, first), turn(text, second)), Picture(second.but(place=moved.place)), True


@subtask(MULTI_TURN, "next edit")
def next_edit(rng: Random):
    """An ordinary second or third turn: the history is there and must not disturb, whatever was edited before."""
    edits = [(n, e, k) for n, (e, k) in (*editing.SEMANTIC_EDITS.items(), *editing.ELEMENT_EDITS.items())
             if n not in editing.NEEDS_MASK]
    _, edit, kind = rng.choice(edits if rng.random() < 0.6 else [e for e in edits if e[2] == "any"])
    kind = rng.choice(("face", "figure", "few", "few")) if kind == "any" else kind
    family = kind if kind in ("face", "figure") else "things"
    before = [e for n, e, k in edits if n != "remove object" and k in (family, "any") or (n, kind) == ("add object", "few")]
    scene, turns = editing.SCENES[kind](rng), []
    for earlier in (*rng.choices(before, k=rng.choice((1, 1, 2))), edit):
        after, text = earlier(scene, rng)
        turns.append(turn(text, scene))
        scene, first = after, scene
    return turns, Picture(scene), twin_of(rng, first, scene)


@subtask(MULTI_TURN, "picture of an earlier turn")
def earlier_picture(rng: Random):
    """A thing from a picture that was shown two pictures ago, in the setting of the present one."""
    first, styled, setting = random_scene(rng, "things", 1), rng.choice(STYLES), random_scene(rng, "things", 0)
    one = words.say(rng, "{image} in <style> style", style=styled)
    two = words.say(rng, *words.either(
        rng, ("the object of {previous.image} in the setting of {image}", "put the object from {previous.image} into {image}"),
        ("in the setting of {image} the object of {previous.image}", "into {image} put the object from {previous.image}")))
    other = random_scene(rng, "things", 1)
    twin = Twin(Picture(other), Picture(setting.but(things=other.things)), back=1)
    return (turn(one, first), turn(two, setting)), Picture(setting.but(things=first.things)), True, twin


def without_history(turns: tuple[Turn, ...]) -> tuple[Turn, ...]:
    """The last turn alone; names of earlier pictures become the present one's."""
    last, shown = turns[-1], f"{{image{turns[-1].edited or ''}}}"
    return (replace(last, instruction=NAME.sub(lambda m: shown if m[0].startswith("{previous") else m[0], last.instruction)),)
