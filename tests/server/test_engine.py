"""ACE Pair Pictures and ACE Make Pairs in a real server: what programs make, and nothing outside ComfyUI's folders."""

import json
from pathlib import Path
from random import Random

import graphs
import numpy as np
import pytest
import torch
from PIL import Image

from ace_model.images import preprocess
from engine import pairing, pairs
from engine.settings import Pairing
from engine.synthesis import tasks
from tools.comfy_server import PromptError

PILE = "a pile"


@pytest.fixture(scope="module")
def pile(base) -> Path:
    """Three scenes of blocks with an edit each, one in a subfolder."""
    rng = np.random.default_rng(0)
    for scene in range(3):
        levels = rng.integers(0, 256, (6, 8, 3), np.uint8).repeat(16, 0).repeat(16, 1)
        for name in ("before", "after"):
            path = base / "input" / PILE / (f"{scene}" if scene < 2 else "more/2")
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(levels).save(path.with_name(f"{path.name} {name}.png"))
            levels = levels.copy()
            levels[16:48, 32:64] = 255 - levels[16:48, 32:64]
    return base / "input" / PILE


def pair(folder=PILE, **more):
    inputs = {"folder": folder, "strict": 0.8, "loose": 0.75, "least": 0.7, "smallest": 64, "shown": 2, **more}
    return {"pair": graphs.node("ACEEditorPairPictures", **inputs), **shown("pair", groups=0, sources=1, targets=2),
            "report": graphs.node("PreviewAny", source=["pair", 3])}


def shown(key, **slots):
    return {name: graphs.node("SaveImage", images=[key, slot], filename_prefix=name) for name, slot in slots.items()}


def pictures(server, outputs, key):
    return [np.asarray(server.image(each).convert("RGB")) for each in outputs[key]["images"]]


def test_pairs_are_those_of_the_program(server, base, pile, tmp_path):
    outputs = server.run(pair())
    out = base / "output" / "ACE pairs" / PILE
    found = pairs.read(out / pairs.NAME)
    wanted = pairing.pair(pile, tmp_path, Pairing(smallest=64)).outcome.pairs
    assert [(p.source.resolve(), p.target.resolve()) for p in found] == [(p.source, p.target) for p in wanted]
    assert len(found) == 3
    assert (out / "ACE pairs.html").is_file()
    for name, side in (("sources", "source"), ("targets", "target")):
        assert [Image.fromarray(x).tobytes() for x in pictures(server, outputs, name)] == \
            [Image.open(getattr(p, side)).convert("RGB").tobytes() for p in found[:2]]
    assert "6 pictures, 6 of them in 3 groups, make 3 pairs." in outputs["report"]["text"][0]


def test_a_changed_folder_is_looked_at_again(server, base, pile):
    Image.new("RGB", (96, 96), "red").save(pile / "new.png")
    try:
        assert "7 pictures, 6 of them in 3 groups" in server.run(pair())["report"]["text"][0]
    finally:
        (pile / "new.png").unlink()


@pytest.mark.parametrize("folder", ["..", "../output", "/etc", "nothing here"])
def test_it_stays_in_the_input_folder(server, pile, folder):
    with pytest.raises(PromptError, match="Value not in list"):
        server.run(pair(folder))


def test_no_pair_is_said(server, pile):
    with pytest.raises(PromptError, match="There is no pair: look at the page"):
        server.run(pair(strict=1.0, loose=1.0))


def make(task, image="a.png", **more):
    inputs = {"images": ["load", 0], "task": task, "seed": 5, "caption": "", "token_budget": 1024, **more}
    return {"load": graphs.node("LoadImage", image=image), "make": graphs.node("ACEEditorMakePairs", **inputs),
            "white": graphs.node("MaskToImage", mask=["make", 1]), "mask": graphs.node("SaveImage", images=["white", 0],
                                                                                      filename_prefix="m"),
            **shown("make", image=0, target=3), "text": graphs.node("PreviewAny", source=["make", 2])}


@pytest.mark.parametrize("task", ["inpainting", "mosaic", "write-text", "deblur", "edges"])
def test_examples_are_those_of_the_program(server, base, task):
    Image.fromarray(np.random.default_rng(1).integers(0, 256, (10, 16, 3), np.uint8).repeat(16, 0).repeat(16, 1)).save(
        base / "input/large.png")
    outputs = server.run(make(task, "large.png"))
    levels = torch.from_numpy(np.asarray(Image.open(base / "input/large.png"), np.float32) / 255)
    made = tasks.make(task, tasks.Source(preprocess(levels, None, 1024)[0]), Random("5 0"))
    mask = made.masks[0] if made.masks else torch.zeros(levels.shape[:2])
    given = made.images[0] * (1 - mask[..., None] * made.blank)
    for key, wanted in (("image", given), ("target", made.target), ("mask", mask[..., None].expand(-1, -1, 3))):
        (found,) = pictures(server, outputs, key)
        assert np.abs(found.astype(int) - (wanted * 255).round().numpy()).max() <= 1, key
    assert outputs["text"]["text"][0] == made.instruction


def test_a_connected_map_is_the_map(server):
    graph = make("from-depth", caption="a field", map=["map", 0]) | {"map": graphs.node("LoadImage", image="b.png")}
    outputs = server.run(graph)
    assert pictures(server, outputs, "image")[0].shape == (48, 64, 3) and '"a field"' in outputs["text"]["text"][0]


@pytest.mark.parametrize(("task", "words"), [("colorize", "no caption"), ("depth", "no annotator for depth"),
                                             ("cut-out", "no mask of its subject"), ("removal", "no other picture")])
def test_what_a_task_lacks_is_said(server, task, words):
    with pytest.raises(PromptError, match=words):
        server.run(make(task, mask=["load", 1]))


def test_the_list_lies_in_comfyuis_folders(base, pile):
    for line in (base / "output" / "ACE pairs" / PILE / pairs.NAME).read_text(encoding="utf-8").splitlines():
        for name in ("source", "target"):
            path = (base / "output" / "ACE pairs" / PILE / json.loads(line)[name]).resolve()
            assert path.is_relative_to((base / "input").resolve())
