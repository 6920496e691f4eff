"""Pairing: groups as their definition has them, cleaning by each threshold, files that are read again, bad input."""

import json
import os
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from ace_model.errors import InputError
from engine import __main__ as program
from engine import clusters, features, page, pairing, pairs
from engine.cleaning import CAP, CHAIN, CHANGED, LONG, REASONS, SHAPE, SMALL, TWIN, UNLIKE, clean
from engine.settings import Pairing, SettingError

LOOSE = Pairing(smallest=16, duplicate=0.0, strict=0.9, loose=0.9, least=-1.0)


def unit(rows) -> np.ndarray:
    rows = np.asarray(rows, np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def random_features(count: int, width: int = 8, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    centers = rng.normal(size=(count // 5, width))
    return unit(centers[rng.integers(len(centers), size=count)] + 0.15 * rng.normal(size=(count, width)))


def union_find(count: int, edges) -> list[int]:
    """By hand: the smallest member's number for each."""
    parent = list(range(count))

    def root(i):
        while parent[i] != i:
            i = parent[i]
        return i
    for i, j in edges:
        a, b = sorted((root(int(i)), root(int(j))))
        parent[b] = a
    return [root(i) for i in range(count)]


def partition(labels) -> set[frozenset]:
    out: dict[int, set] = {}
    for i, label in enumerate(np.asarray(labels).tolist()):
        out.setdefault(label, set()).add(i)
    return {frozenset(each) for each in out.values()}


def draw(path: Path, color=(200, 30, 30), size=(64, 64), square=None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.new("RGB", size, color)
    if square:
        image.paste(square, (8, 8, 40, 40))
    image.save(path, **({"quality": 95, "subsampling": 0} if path.suffix == ".jpg" else {}))
    return path


# ---- clusters and groups

def test_every_similar_pair_of_a_cluster_is_found_once():
    found = random_features(300)
    homes = clusters.clustered(found, Pairing(clusters=7, each=3))
    assert homes.shape == (300, 3) and homes.min() >= 0 and homes.max() < 7
    similarity = found @ found.T
    wanted = {(i, j) for i, j in combinations(range(300), 2) if similarity[i, j] >= 0.8 and set(homes[i]) & set(homes[j])}
    near = clusters.links(found, homes, 0.8)
    assert len(near) == len(wanted) and set(zip(near.one.tolist(), near.other.tolist(), strict=True)) == wanted
    assert np.allclose(near.similarity, similarity[near.one, near.other], atol=1e-6)


def test_small_blocks_find_what_one_block_finds(monkeypatch):
    found = random_features(200)
    homes = clusters.clustered(found, Pairing(clusters=3))
    whole = clusters.links(found, homes, 0.7)
    monkeypatch.setattr(clusters, "BLOCK", 49)
    assert np.array_equal(clusters.clustered(found, Pairing(clusters=3)), homes)
    parts = clusters.links(found, homes, 0.7)
    assert set(zip(whole.one, whole.other, strict=True)) == set(zip(parts.one, parts.other, strict=True))


def test_the_first_home_is_the_nearest_center():
    """Three clouds that are far apart: K-means finds them, and each picture's first home is its cloud."""
    clouds = np.repeat(unit([[1, 0, 0], [0, 1, 0], [0, 0, 1]]), 30, axis=0)
    homes = clusters.clustered(unit(clouds + 0.01 * np.random.default_rng(0).normal(size=clouds.shape)),
                               Pairing(clusters=3, each=2, seed=3))
    assert partition(homes[:, 0]) == partition(np.repeat([0, 1, 2], 30))


def test_two_turns_are_union_find_twice():
    found = random_features(120, seed=4)
    settings = Pairing(strict=0.93, loose=0.8)
    groups, _ = clusters.grouped(found, np.zeros((120, 1), np.int32), settings)
    similarity = found @ found.T
    first = union_find(120, [(i, j) for i, j in combinations(range(120), 2) if similarity[i, j] >= 0.93])
    medoid = {}
    for name in set(first):
        rows = [i for i in range(120) if first[i] == name]
        medoid[name] = max(rows, key=lambda i: sum(similarity[i, j] for j in rows)) if len(rows) > 2 else rows[0]
    names = sorted(medoid)
    joined = union_find(120, [(a, b) for a, b in combinations(names, 2) if similarity[medoid[a], medoid[b]] >= 0.8])
    assert partition(groups) == partition([joined[name] for name in first])
    assert len(set(groups.tolist())) < len(set(first)), "the second turn joined something"


def test_too_many_links_are_an_error(monkeypatch):
    monkeypatch.setattr(clusters, "MOST_LINKS", 10)
    with pytest.raises(clusters.ClusterError, match="more than 10 pairs are as similar as -1: raise strict"):
        clusters.links(random_features(50), np.zeros((50, 1), np.int32), -1.0)


# ---- cleaning

def pile_of(folder: Path, rows=None) -> features.Pile:
    names = features.pictures_in(folder)
    rows = unit(np.ones((len(names), 2)) if rows is None else rows)
    at = dict(zip(names, rows, strict=True))
    return features.pile(folder, folder.parent / "work", lambda _, chosen: torch.tensor(np.array([at[n] for n in chosen])), "t",
                         names)


def why(outcome) -> dict:
    return {(each.source.name, each.target and each.target.name): each.why for each in outcome.rejected}


def test_pictures_by_themselves_are_left_out_for_size_and_shape(tmp_path):
    for name, size in (("a.png", (100, 100)), ("b.png", (100, 60)), ("c.png", (300, 64)), ("d.png", (101, 100)),
                       ("e.png", (140, 100))):
        draw(tmp_path / "in" / name, (ord(name[0]) * 2 % 256, 40, 90), size)
    pile = pile_of(tmp_path / "in")
    outcome = clean(pile, np.zeros(5, np.int32), Pairing(smallest=64, longest=3, duplicate=0.0, shape=0.05))
    assert why(outcome) == {("b.png", None): SMALL, ("c.png", None): LONG, ("a.png", "e.png"): SHAPE, ("d.png", "e.png"): SHAPE}
    assert [(p.source.name, p.target.name) for p in outcome.pairs] == [("a.png", "d.png")]
    assert {each.why: each.value for each in outcome.rejected}[LONG] == pytest.approx(300 / 64)


def test_of_near_duplicates_the_largest_stays(tmp_path):
    draw(tmp_path / "in" / "a.png", size=(64, 64), square=(0, 0, 255))
    draw(tmp_path / "in" / "b.jpg", size=(64, 64), square=(0, 0, 255))
    image = Image.open(tmp_path / "in" / "a.png")
    image.resize((128, 128), Image.Resampling.NEAREST).save(tmp_path / "in" / "c.png")
    draw(tmp_path / "in" / "d.png", size=(64, 64), square=(0, 255, 0))
    outcome = clean(pile_of(tmp_path / "in"), np.zeros(4, np.int32), Pairing(smallest=16))
    assert {name: reason for (name, _), reason in why(outcome).items()} == {"a.png": TWIN, "b.jpg": TWIN}
    assert {each.kept.name for each in outcome.rejected} == {"c.png"}
    assert [{p.source.name, p.target.name} for p in outcome.pairs] == [{"c.png", "d.png"}]


def test_a_pair_is_alike_enough_and_changed_little_enough(tmp_path):
    for name, color in (("a.png", (0, 0, 0)), ("b.png", (30, 30, 30)), ("c.png", (255, 255, 255))):
        draw(tmp_path / "in" / name, color)
    pile = pile_of(tmp_path / "in", [[1, 0], [1, 0.2], [1, 0.5]])
    outcome = clean(pile, np.zeros(3, np.int32), Pairing(smallest=16, least=0.91, changed=0.5))
    assert why(outcome) == {("b.png", "c.png"): CHANGED, ("a.png", "c.png"): UNLIKE}
    assert outcome.pairs[0].similarity == pytest.approx(1 / np.hypot(1, 0.2), abs=1e-3)


def test_groups_are_capped_and_chains_left_out(tmp_path):
    rng = np.random.default_rng(0)
    for i in range(9):
        draw(tmp_path / "in" / f"{i}.png", tuple(int(c) for c in rng.integers(0, 256, 3)))
    rows = [[1, 0.02 * i] for i in range(9)]
    pile = pile_of(tmp_path / "in", rows)
    groups = np.array([0] * 5 + [1] * 4, np.int32)
    outcome = clean(pile, groups, Pairing(smallest=16, changed=1.0, largest=4, per_group=2))
    assert outcome.counts[CHAIN] == 5 and outcome.counts[CAP] == 4 and len(outcome.pairs) == 2
    assert all(int(each.source.stem) < 5 for each in outcome.rejected if each.why == CHAIN)
    assert {int(p.source.stem) for p in outcome.pairs} <= {5, 6, 7, 8}
    kept = [p.similarity for p in outcome.pairs]
    assert min(kept) >= max(each.value for each in outcome.rejected if each.why == CAP) - 1e-6


# ---- the whole

def test_edits_are_found_from_pixels_alone(tmp_path):
    """Three scenes of random blocks with two edits each, and a scene that nobody edited."""
    rng = np.random.default_rng(1)
    (tmp_path / "in").mkdir()
    for scene in range(4):
        base = rng.integers(0, 256, (8, 8, 3), np.uint8).repeat(16, 0).repeat(16, 1)
        for edit in range(3 if scene < 3 else 1):
            shown = base.copy()
            if edit:
                shown[16 * edit:16 * edit + 24, 40:64] = (255, 255, 255)
            Image.fromarray(shown).save(tmp_path / "in" / f"{scene}{edit}.png")
    found = pairing.pair(tmp_path / "in", tmp_path / "out", Pairing(smallest=64, strict=0.9, loose=0.85))
    names = {frozenset((p.source.name, p.target.name)) for p in pairs.read(found.list_file)}
    assert names == {frozenset((f"{s}{a}.png", f"{s}{b}.png")) for s in range(3) for a, b in combinations(range(3), 2)}
    assert all(p.source.is_file() and p.target.is_file() for p in pairs.read(found.list_file))
    assert len({p.group for p in pairs.read(found.list_file)}) == 3
    content = found.page_file.read_text(encoding="utf-8")
    assert content.count("<img") == 9 and "http" not in content, "all groups, nothing from elsewhere"


def test_what_was_seen_is_not_seen_again(tmp_path):
    for i in range(4):
        draw(tmp_path / "in" / f"{i}.png", (60 * i, 10, 10))
    (tmp_path / "in" / "broken.png").write_bytes(b"no picture")
    seen = []

    def make(pictures, names):
        seen.extend(names)
        return torch.ones(len(names), 3)
    for expected in (4, 0):
        seen.clear()
        pile = features.pile(tmp_path / "in", tmp_path / "work", make, "one", features.pictures_in(tmp_path / "in"))
        assert len(seen) == expected and len(pile) == 4 and list(pile.unreadable) == ["broken.png"]
    draw(tmp_path / "in" / "4.png")
    names = features.pictures_in(tmp_path / "in")
    assert len(features.pile(tmp_path / "in", tmp_path / "work", make, "one", names)) == 5 and len(seen) == 5
    features.pile(tmp_path / "in", tmp_path / "work", make, "another", names)
    assert len(seen) == 10, "another maker"
    (tmp_path / "work" / "features.bin").write_bytes(b"\0\0")
    features.pile(tmp_path / "in", tmp_path / "work", make, "another", names)
    assert len(seen) == 15, "a file that was cut off"


def test_features_can_be_handed_in(tmp_path):
    names = [f"{i}.png" for i in (1, 2, 10)]
    for i, name in enumerate(names):
        draw(tmp_path / "in" / name, (80 * i, 0, 0))
    rows = unit([[1, 0], [0, 1], [1, 1]])
    np.save(tmp_path / "f.npy", rows)
    save_file({"features": torch.tensor(rows)}, tmp_path / "all.safetensors")
    save_file({name: torch.tensor(row.copy()) for name, row in zip(names, rows, strict=True)}, tmp_path / "each.safetensors")
    for file in ("f.npy", "all.safetensors", "each.safetensors"):
        pile = features.pile(tmp_path / "in", tmp_path / file[:3], *features.handed_in(tmp_path / file, names), names)
        assert pile.names == names and np.allclose(pile.features, rows, atol=1e-3)


@pytest.mark.parametrize(("content", "words"), [
    (np.ones((2, 4)), r"holds float64 of shape \(2, 4\), but the folder has 3 pictures"),
    (np.array(["a", "b", "c"], object), "cannot be read as a .npy of numbers"),
    (np.full((3, 4), np.nan), "features of 0.png are not all numbers")])
def test_bad_features_are_named(tmp_path, content, words):
    for i in range(3):
        draw(tmp_path / "in" / f"{i}.png")
    np.save(tmp_path / "f.npy", content, allow_pickle=True)
    names = features.pictures_in(tmp_path / "in")
    with pytest.raises(InputError, match=words):
        features.pile(tmp_path / "in", tmp_path / "work", *features.handed_in(tmp_path / "f.npy", names), names)


def test_settings_are_checked():
    assert Pairing().but(["strict=0.97", "per_group=4"]) == Pairing(strict=0.97, per_group=4)
    for change, words in (("strickt=1", r"did you mean strict\?"), ("strict", "names no setting"),
                          ("strict=high", "must be a number"), ("per_group=1.5", "whole number"),
                          ("strict=2", "strict is 2.0, but must be a number from -1 to 1"),
                          ("loose=0.99", "must not be above strict")):
        with pytest.raises(SettingError, match=words):
            Pairing().but([change])


def test_the_program(tmp_path, capsys):
    for i in range(4):
        draw(tmp_path / "in" / f"{i}.png", (12 * i + 60, 90, 30), (80, 80), (10, 200, 12 * i))
    command = ["pair", str(tmp_path / "in"), str(tmp_path / "out"), "--set", "smallest=64"]
    assert program.main(command) == 0
    shown = capsys.readouterr().out
    assert "1 groups with 4 pictures" in shown and "6 pairs" in shown
    counts = json.loads((tmp_path / "out" / pairing.COUNTS).read_text())["counts"]
    assert counts["pairs"] == 6 and set(REASONS) <= counts.keys()
    np.save(tmp_path / "clusters.npy", np.array([0, 0, 1, 1]))
    assert program.main([*command, "--clusters", str(tmp_path / "clusters.npy")]) == 0
    assert "2 groups with 4 pictures\n2 pairs" in capsys.readouterr().out
    assert program.main([*command[:-1], "smallest=1000"]) == 1
    assert "4 too small" in capsys.readouterr().out
    assert program.main(["pair", str(tmp_path / "no"), str(tmp_path / "out")]) == 1
    assert "is no folder" in capsys.readouterr().err


# ---- the list

def test_a_list_is_read_as_it_was_written(tmp_path):
    given = [pairs.Pair(tmp_path / "a b.png", tmp_path / "in" / "ü.png", 0.5, 3),
             pairs.Pair(tmp_path.parent / "c.png", tmp_path / "a b.png", 1.0, 0)]
    pairs.write(tmp_path / "pairs.jsonl", given)
    found = pairs.read(tmp_path / "pairs.jsonl")
    assert [(os.path.normpath(p.source), os.path.normpath(p.target), p.similarity, p.group) for p in found] == \
        [(str(p.source), str(p.target), p.similarity, p.group) for p in given]


@pytest.mark.parametrize(("line", "words"), [
    ("nonsense", "pairs.jsonl:2 is no JSON"), ("[1]", "2 has list, but must have source"),
    ('{"source": "a", "target": "b"}', r'has \["source", "target"\], but must have'),
    ('{"source": "", "target": "b", "similarity": 1, "group": 1}', "source is \"\", but must be the name of a file"),
    ('{"source": "a", "target": "b", "similarity": 2, "group": 1}', "similarity is 2"),
    ('{"source": "a", "target": "b", "similarity": NaN, "group": 1}', "similarity is NaN"),
    ('{"source": "a", "target": "b", "similarity": 1, "group": -1}', "group is -1")])
def test_bad_lines_are_named(tmp_path, line, words):
    (tmp_path / "pairs.jsonl").write_text('{"source": "a", "target": "b", "similarity": 1, "group": 1}\n' + line)
    with pytest.raises(pairs.PairsError, match=words):
        pairs.read(tmp_path / "pairs.jsonl")


def test_the_sheet_shows_a_group_in_each_row(tmp_path):
    for i in range(3):
        draw(tmp_path / "in" / f"{i}.png", (80 * i, 0, 0))
    pile = pile_of(tmp_path / "in")
    sheet = page.sheet(pile, clean(pile, np.zeros(3, np.int32), LOOSE))
    shown = {sheet.getpixel((8 + x * 120 + 40, 52 + 40)) for x in range(3)}
    assert shown == {(80 * i, 0, 0) for i in range(3)}
