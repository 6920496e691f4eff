"""The data engine on a small pile of the toy world: edits are found, look-alikes are not, and the edits are said."""

from itertools import combinations
from random import Random

import numpy as np
import pytest

from demo.collection import files, measure, ring
from demo.collection.labels import difference, instruction
from demo.collection.pile import APART, EDITS, code, edits_between, kind_of, look_alike, made, pile
from demo.world.judge import judge
from demo.world.scenes import render
from engine import pairing
from training import data
from training.settings import read as read_settings

COUNT = 120


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    out = tmp_path_factory.mktemp("pile")
    files.write(pile(COUNT, "test", 0.5), out)
    return out


@pytest.fixture(scope="module")
def found(folder) -> pairing.Paired:
    return files.pair(folder)


def attributes(scene) -> dict:
    """Everything that can be said of a scene, by hand."""
    out = {"place": scene.place, "light": scene.light}
    for thing in scene.things:
        out |= {(thing.spot, name): getattr(thing, name) for name in ("shape", "color", "texture", "size")}
    for name in ("face", "figure", "sign"):
        part = getattr(scene, name)
        out |= {(name, key): value for key, value in vars(part).items()} if part else {}
    return out


def differing(one, other) -> set:
    """Attributes in which two scenes differ, and spots of objects that only one of them has."""
    return differing_in(attributes(one), attributes(other))


def differing_in(a: dict, b: dict) -> set:
    return {key if key in a and key in b else key[0] for key in a.keys() | b.keys() if a.get(key) != b.get(key)}


@pytest.mark.parametrize("kind", EDITS)
def test_an_edit_changes_one_thing_and_a_look_alike_several(kind):
    rng = Random(kind)
    for _ in range(30):
        scene = made(rng, kind)
        new, other = rng.choice(EDITS[kind])(scene, rng), look_alike(scene, rng)
        codes = np.array([code(each) for each in (scene, new, other)])
        assert len(differing(scene, new)) == 1 and edits_between(codes[0], codes[1:2])[0] == 1
        assert kind_of(other) == kind and len(differing(scene, other)) >= 2
        assert [(t.shape, t.spot) for t in other.things] == [(t.shape, t.spot) for t in scene.things]


def test_families_are_apart(folder):
    entries = files.read(folder)
    assert len(entries) == COUNT and {"scene", "edit", "look-alike", "stranger"} == {entry.role for entry in entries}
    known, codes = [attributes(entry.scene) for entry in entries], np.array([code(entry.scene) for entry in entries])
    between = [edits_between(each, codes) for each in codes]
    for i, j in combinations(range(COUNT), 2):
        far, same = len(differing_in(known[i], known[j])), entries[i].family == entries[j].family
        assert far <= 2 if same else far >= 2
        assert (between[i][j] < APART) == same


def test_edits_are_found_and_look_alikes_are_not(folder, found):
    """What issue and docs promise of 3,000 pictures, here of few."""
    scored = measure.score(files.read(folder), found)
    assert scored.precision >= 0.95 and scored.recall >= 0.8 and scored.rand >= 0.9, scored
    assert scored.pairs > 40 and not found.pile.unreadable


def test_pairing_does_not_know_the_truth(folder, found, tmp_path):
    """The same pictures alone, under other names and in another order, make the same pairs, but for medoids of two."""
    names = {path.name: f"{int(path.stem) * 7919 % COUNT:05}.png" for path in (folder / files.PICTURES).iterdir()}
    (tmp_path / files.PICTURES).mkdir()
    for old, new in names.items():
        (tmp_path / files.PICTURES / new).write_bytes((folder / files.PICTURES / old).read_bytes())
    again = files.pair(tmp_path)
    before, after = ({frozenset(known[path.name] for path in (pair.source, pair.target)) for pair in each.outcome.pairs}
                     for each, known in ((found, names), (again, {name: name for name in names})))
    assert len(before ^ after) <= 0.05 * len(before)


def test_the_rand_index_is_right():
    """Values from scikit-learn's documentation of adjusted_rand_score."""
    for one, other, value in (([0, 0, 1, 1], [1, 1, 0, 0], 1.0), ([0, 0, 1, 2], [0, 0, 1, 1], 0.5714285714),
                              ([0, 0, 0, 0], [0, 1, 2, 3], 0.0), ([0, 0, 1, 1], [0, 1, 0, 1], -0.5)):
        assert measure.adjusted_rand(np.array(one), np.array(other)) == pytest.approx(value)


def test_pairs_become_a_data_set(folder, found):
    labels, counts = ring.examples(found.outcome.pairs, files.read(folder))
    assert counts["rings"] >= 5 and counts["wrong"] > 0
    assert len(labels) == counts["rings"] + min(counts["rings"], counts["others"])
    assert counts["rings"] + counts["others"] + counts["wrong"] == len(found.outcome.pairs)
    path = files.write_examples(labels, folder, ring.LESSON)
    examples = data.read(path.parent)
    rings = [each for each in examples if "ring" in each.turn.instruction]
    assert len(examples) == sum(len(each.wordings) for each in labels) and len(rings) >= 2 * counts["rings"] - 5
    assert read_settings(path).data.path == path.with_name("turns.jsonl")


def test_every_edit_is_said_and_nothing_else():
    rng, said = Random(1), 0
    for kind, edits in EDITS.items():
        for edit in dict.fromkeys(edits):
            scene = made(rng, kind)
            new = edit(scene, rng)
            text = instruction(scene, new, rng)
            said += text is not None
            assert text is None or "{image}" in text
            assert difference(scene, scene, rng) is None and difference(scene, look_alike(scene, rng), rng) is None
    assert said >= 12, "putting glasses on or off has no phrasing"


@pytest.mark.parametrize("how", ["instead", "added"])
def test_unseen_requests_are_judged(how):
    rng = Random(how)
    for _ in range(2):
        sample = ring.request(rng, how)
        truth, given = render([sample.target, sample.pictures[0]])
        assert "ring" in sample.turns[0].instruction and judge(sample, truth)[0] and not judge(sample, given)[0]
