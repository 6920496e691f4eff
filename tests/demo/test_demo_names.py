"""In the demo's world only the words tell which picture is meant: not its place, its content, or where a sentence names it."""

import json
from collections import Counter
from random import Random

import pytest
import torch

from ace_model.lcu import IDENTIFIERS, PLACEHOLDER
from demo import score
from demo.trainer import model as tiny
from demo.trainer.text import Tokenizer
from demo.world.judge import judge
from demo.world.scenes import Picture, Scene, Thing, render
from demo.world.tasks import TASKS, Turn, generate, names, subtasks
from demo.world.tasks.base import Twin
from demo.world.tasks.batch import Chunks, frames_of, rename

TWO_ROLES = [("semantic editing", "style of a picture"), ("layer editing", "fuse layers"),
             ("reference generation", "subject in a setting"), ("reference generation", "shape and color"),
             ("reference generation", "face"), ("reference generation", "multi-reference"), ("reference generation", "try-on"),
             ("multi-turn", "picture of an earlier turn")]
ONE_ROLE = [("semantic editing", "color"), ("element editing", "remove object"), ("visual analysis", "segmentation"),
            ("layer editing", "split object"), ("multi-turn", "next edit")]
RED, BLUE = (Picture(Scene("meadow", "day", (Thing("star", color),))) for color in ("red", "blue"))


def several(task: str, name: str, count: int = 300):
    samples = (generate(Random(f"names {name} {seed}"), task, name) for seed in range(10 * count))
    found = [s for s in samples if len(s.turns[-1].pictures) > 1]
    return found[:count]


def is_chance(hits: int, count: int, chance: float) -> bool:
    """Within four standard deviations."""
    return abs(hits - chance * count) < 4 * (chance * (1 - chance) * count) ** 0.5


@pytest.mark.parametrize(("task", "name"), [*TWO_ROLES[:-1], *ONE_ROLE])
def test_place_tells_no_role(task, name):
    """Of two, three or four pictures, the one that is edited stands at every place equally often."""
    by_count = Counter(), Counter()
    for sample in several(task, name):
        pictures = len(sample.turns[-1].pictures)
        by_count[0][pictures] += 1
        by_count[1][pictures, sample.turns[-1].edited] += 1
    for pictures, cases in by_count[0].items():
        for place in range(pictures):
            assert is_chance(by_count[1][pictures, place], cases, 1 / pictures), (pictures, place)


@pytest.mark.parametrize(("task", "name"), TWO_ROLES)
def test_the_order_in_a_sentence_tells_no_role(task, name):
    """Of two pictures that a sentence names, the first is the edited one in half of the cases; of three in a third."""
    samples = [generate(Random(f"words {name} {seed}"), task, name) for seed in range(300)]
    named = [[m[0] for m in PLACEHOLDER.finditer(s.turns[-1].instruction)] for s in samples]
    first = sum(names[0] == IDENTIFIERS[s.turns[-1].edited] for names, s in zip(named, samples, strict=True))
    assert is_chance(first, len(samples), sum(1 / len(set(names)) for names in named) / len(samples))


@pytest.mark.parametrize("task", TASKS[1:])
def test_size_tells_no_role(task):
    for seed in range(60):
        sample = generate(Random(f"size {seed}"), task)
        assert len({picture.size for picture in (sample.target, *sample.pictures)}) == 1


def test_a_mean_picture_tells_no_role():
    """The best linear guess from a picture's colors and their spread, of which of two pictures is edited, is no better than
    chance on cases it has not seen."""
    samples = [s for name in ("color", "background", "lighting", "style", "expression", "pose")
               for s in several("semantic editing", name, 120) if len(s.pictures) == 2]
    pixels = [render(s.pictures) for s in samples]
    seen = torch.stack([torch.cat([p.mean((2, 3)), p.std((2, 3))], 1).diff(dim=0)[0] for p in pixels])
    edited = torch.tensor([2.0 * s.turns[-1].edited - 1 for s in samples])
    half = len(samples) // 2
    guess = seen[half:] @ torch.linalg.lstsq(seen[:half], edited[:half, None]).solution[:, 0]
    assert is_chance(int((guess * edited[half:] > 0).sum()), len(guess), 0.5)


@pytest.mark.parametrize(("task", "name"), [(task, name) for task in TASKS for name in subtasks(task)])
def test_exchanged_names_have_another_answer_and_every_name_is_a_picture(task, name):
    for seed in range(25):
        sample = generate(Random(f"twins {name} {seed}"), task, name)
        for turns in filter(None, (sample.turns, sample.renamed and sample.renamed.turns)):
            frames_of([score.replace(sample, turns=turns)])  # the pack's own unit refuses names that nothing has
        if sample.renamed and sample.target.photo is None:
            other = score.renamed_right(sample)
            truth, answer = render([other.target, sample.target])
            assert judge(other, truth)[0] and sample.renamed.turns[-1].instruction != sample.turns[-1].instruction
            if not torch.equal(truth, answer):
                assert not judge(other, answer)[0] or not judge(sample, truth)[0]


def test_dealing_keeps_who_is_who():
    turn = Turn("{image} with the color of {image1}", (RED, BLUE))
    for seed in range(20):
        (dealt,), _ = names.deal(Random(seed), (turn,), None)
        first, second = PLACEHOLDER.findall(dealt.instruction)
        assert dealt.pictures[int(first[1] or 0)] == RED and dealt.pictures[int(second[1] or 0)] == BLUE
        assert dealt.pictures[dealt.edited] == RED


def test_names_of_earlier_turns_follow_their_pictures():
    turns = (Turn("{image} in sepia", (RED,)), Turn("the star of {previous.image} in {image}", (BLUE,)))
    named = set()
    for seed in range(30):
        dealt, renamed = names.deal(Random(seed), turns, Twin(BLUE, BLUE, back=1))
        name = names.NAME.search(dealt[1].instruction)
        assert dealt[0].pictures[int(name[2] or 0)] == RED
        if renamed:
            named.add(name[0])
            assert renamed.back == 1 and renamed.turns[0] == dealt[0] and name[0] not in renamed.turns[1].instruction
    assert named == {"{previous.image}", "{previous.image1}"}


def test_training_deals_out_names_whatever_the_order():
    """Every name stands on every frame, the target's too, and the words follow."""
    seen = Counter()
    for chunk in range(12):
        for frames in Chunks(5, 20)[chunk]:
            seen.update((name, frame == 0) for frame, name in enumerate(frames.names))
            assert len(set(frames.names)) == len(frames.names) == len(frames.images)
            assert {IDENTIFIERS.index(f"{{{m}}}") for text in frames.texts for m in
                    (p[0].strip("{}") for p in PLACEHOLDER.finditer(text))} <= set(frames.names)
    assert all(seen[name, target] for name in range(10) for target in (True, False))
    sample = generate(Random(3), "reference generation", "shape and color")
    (frames,) = frames_of([sample])
    other = next(f for f in (rename(Random(seed), frames) for seed in range(20)) if f.names != frames.names)
    where = [other.names[1:].index(IDENTIFIERS.index(p[0])) for p in PLACEHOLDER.finditer(other.texts[0])]
    assert where == [IDENTIFIERS.index(p[0]) for p in PLACEHOLDER.finditer(frames.texts[0])]


def test_pictures_swapped_with_their_names_are_the_same_question():
    for seed in range(60):
        sample = generate(Random(f"both {seed}"), "reference generation")
        other = score.both_swapped(sample)
        if other is None:
            continue
        before, after = sample.turns[-1], other.turns[-1]
        assert after.pictures == before.pictures[::-1] and other.edited == sample.edited
        shown = [[t.pictures[int(m["number"] or 0)] for m in PLACEHOLDER.finditer(t.instruction)] for t in (before, after)]
        assert shown[0] == shown[1]


def test_names_are_far_apart_in_the_shipped_model():
    """Half their length: were they one vector, no network could tell pictures apart by name."""
    model = tiny.load(Tokenizer())
    assert float(model.alike()) < 0.1


@pytest.mark.parametrize("name", score.CONTROLS)
def test_the_published_controls_are_within_their_limits(name):
    assert score.CONTROLS[name].passes(json.loads(score.REPORT.read_text(encoding="utf-8"))["controls"][name])
