"""The check's statistics, questions and words, without a model."""

import math

import pytest
import torch
from PIL import ImageFont

from ace_model.check import cases, files, page, weights
from ace_model.check.cases import Starters, remixed, square
from ace_model.check.pairs import Ask, Outcome, Pair, coin, crossed, judge
from ace_model.check.report import Report, RoundTrip, Shown
from ace_model.check.verdict import BEATEN, decide
from ace_model.published import DIT, T5, VAE
from demo.requests import to_tensor
from demo.world.scenes import views
from starters import phrasings, pictures
from tools.gallery.graph import ROOT

PLANS = {"published": cases.PUBLISHED, "demo": cases.DEMO}
WON, LOST, REVERSED = Outcome(20, 20, 5.0), Outcome(10, 20, 1.0), Outcome(0, 20, 0.2)
DEMO = ROOT / "demo" / "weights"


def test_sign_test():
    assert coin(0, 5) == 1 and coin(5, 5) == 1 / 32
    assert coin(8, 10) == pytest.approx((45 + 10 + 1) / 1024)
    assert Outcome(7, 7).shown and not Outcome(6, 7).shown and not Outcome(0, 0).shown


def test_ties_and_broken_numbers_are_not_won():
    assert judge([(1.0, 1.0), (math.nan, 1.0), (1.0, math.nan), (math.inf, 1.0), (0.5, 1.0)]).wins == 1
    assert judge([(0.5, 1.0), (0.5, 2.0)]).factor == pytest.approx(math.sqrt(8))
    assert math.isnan(judge([]).factor)


def test_crossing_cancels_what_is_easy_about_one_side():
    """One instruction makes every error ten times smaller, right or wrong: that must decide nothing."""
    def errors(right):
        return {Ask(("cat", truth), (("cat", ""),), words): ((0.1 if words == "a" else 1.0) * (right if truth == words else 1),)
                for truth in "ab" for words in "ab"}

    ask = {(truth, words): Ask(("cat", truth), (("cat", ""),), words) for truth in "ab" for words in "ab"}
    pair = Pair("instruction", "", (ask["a", "a"], ask["b", "b"]), (ask["a", "b"], ask["b", "a"]))
    assert crossed([pair], errors(0.9)).wins == 1 and crossed([pair], errors(1.1)).wins == 0
    assert crossed([pair], errors(0.5)).factor == pytest.approx(2)


@pytest.mark.parametrize("plan", PLANS.values(), ids=PLANS)
def test_pairs_exchange_one_thing(plan):
    """Within a pair the same answers are asked for at the same noise levels, and all but what its kind says is the same."""
    pairs = cases.all_pairs(plan, phrasings.phrase)
    assert {pair.kind for pair in pairs} == {"picture", "instruction", "names", "latents", "rows"}
    varies = {"picture": "sees", "instruction": "words", "names": "words", "latents": "mixed", "rows": "rows"}
    for pair in pairs:
        for right, swapped in zip(pair.right, pair.swapped, strict=True):
            changed = {name for name in ("truth", "sees", "words", "mixed", "rows", "timesteps")
                       if getattr(right, name) != getattr(swapped, name)}
            assert changed == {varies[pair.kind]}, pair.about
    for kind in varies:
        levels = sum(len(pair.right[0].timesteps) for pair in pairs if pair.kind == kind)
        assert coin(levels, levels) < 1e-4, f"{kind} has enough pairs to show anything"


@pytest.mark.parametrize("plan", PLANS.values(), ids=PLANS)
def test_pictures_and_instructions_exist(plan):
    starters = Starters(pictures.load, phrasings.phrase)
    for name, side in plan.sizes().items():
        pixels, mask = starters.opened(f"{name}, masked" if name in plan.hidden else name)
        assert square(pixels, side).shape == (side, side, 3) and side % 32 == 0
        assert (mask is not None) == (name in plan.hidden)
    for edit in plan.edits:
        opened = [starters.opened(name) for name in edit.pictures]
        assert ("{image}" in edit.words) == bool(opened) and ("{image1}" in edit.words) == (len(opened) > 1)
        assert edit.truth in {"", *cases.TASKS}
    for picture in plan.sizes():
        for task in cases.tasks_of(plan, picture):
            assert cases.instruction(plan, phrasings.phrase, picture, task, "{image1}").count("{image1}") == 1


def test_exact_answers_are_those_of_the_demo_world():
    pixels = to_tensor(pictures.load("toy scene"))
    for name in cases.MAPS:
        mine = cases.TASKS[name].truth(pixels.permute(1, 2, 0)).permute(2, 0, 1)
        assert torch.allclose(mine, views.apply(name, pixels[None], [0])[0], atol=1e-5), name


def test_other_latent_spaces_keep_sizes_and_are_all_different():
    spaces = [torch.tensor(space) for space in cases.latent_spaces()]
    assert len({str(space) for space in spaces}) == len(spaces) == 18
    for space in spaces:
        assert torch.allclose(space @ space.T, torch.eye(4), atol=1e-6) and not torch.allclose(space, torch.eye(4))
    latent = torch.randn(1, 4, 8, 8)
    assert torch.equal(remixed(latent, None), latent)
    assert torch.allclose(remixed(latent, cases.latent_spaces()[0]).norm(), latent.norm())


def outcomes():
    return dict.fromkeys(BEATEN, WON)


def test_verdicts():
    fp8 = {"diffusion model": "scales are lost"}
    assert decide(outcomes(), 0, {}).right
    assert "odd" in decide(outcomes(), 0, fp8).words and decide(outcomes(), 0, fp8).right
    for changed, spaces, suspicions, likely in (
            (dict.fromkeys(BEATEN, LOST), 9, {}, "diffusion model"),
            (dict.fromkeys(BEATEN, LOST), 9, fp8, "diffusion model, converted"),
            ({"round trip": LOST, "latents": LOST}, 0, {}, "VAE"), ({}, 1, {}, "VAE"), ({"latents": LOST}, 0, {}, "VAE"),
            ({"instruction": LOST, "names": LOST, "blind": LOST}, 0, {}, "text encoder"),
            ({"instruction": LOST}, 0, {"text encoder": "scales are lost"}, "text encoder, converted"),
            ({"picture": LOST}, 0, {}, "diffusion model"), ({"names": REVERSED, "rows": REVERSED}, 0, {}, "names"),
            ({"rows": LOST}, 0, {}, "names")):
        found = decide(outcomes() | changed, spaces, suspicions)
        assert not found.right and found.likely == likely and found.headline.startswith("Wrong: ")


def test_names_that_make_no_difference_are_a_doubt():
    """Weights may never have learned them."""
    found = decide(outcomes() | {"names": LOST, "rows": LOST}, 0, {})
    assert not found.right and found.likely == "names" and found.headline.startswith("Doubtful: ")


def test_suspicious_weights():
    generator = torch.Generator().manual_seed(0)
    sd = {f"blocks.{i}.fc.weight": torch.randn(64, 64, generator=generator) * 0.05 for i in range(8)}
    assert not weights.suspicion(sd)
    assert not weights.suspicion({key: value.to(torch.float8_e4m3fn) for key, value in sd.items()})
    lost = {key: (value * 448 / value.abs().max()).to(torch.float8_e4m3fn) for key, value in sd.items()}
    assert "scales to undo it are lost" in weights.suspicion(lost)
    assert "scales" in weights.suspicion({key: value.bfloat16() for key, value in lost.items()}), "whatever it is stored in"
    assert not weights.suspicion(lost | {key.replace("weight", "weight_scale"): torch.ones(()) for key in lost})
    assert "exactly zero" in weights.suspicion({key: (value * 1e-2).to(torch.float8_e4m3fn) for key, value in sd.items()})


def test_files_are_told_by_their_tensors(tmp_path):
    known = files.found(DEMO)
    assert {file.role for file in known} == set(files.ROLES) and not any(file.problem for file in known)
    chosen = files.choose(known, {})
    assert [file.path.parent.name for file in chosen.values()] == ["diffusion_models", "text_encoders", "vae"]
    assert not files.missing(chosen)
    elsewhere = files.choose([], {"VAE": str(chosen["VAE"].path)})
    assert elsewhere["VAE"] == chosen["VAE"] and elsewhere["text encoder"] is None
    assert files.sha256(tmp_path.joinpath("empty").touch() or tmp_path / "empty").startswith("e3b0c44298fc1c14")


def test_missing_and_damaged_files_are_named(tmp_path):
    (tmp_path / "vae").mkdir()
    (tmp_path / "vae" / VAE.name).write_bytes(b"<!DOCTYPE html>")
    chosen = files.choose(files.found(tmp_path), {})
    assert "a web page, not weights" in chosen["VAE"].problem
    wanted = files.missing(chosen)
    assert DIT in wanted["diffusion model"] and T5 in wanted["text encoder"] and "VAE" not in wanted
    with pytest.raises(files.CheckpointError, match="there is no VAE x.safetensors in the folder: there is vae-ft"):
        files.choose(files.found(tmp_path), {"VAE": "x.safetensors"})
    with pytest.raises(files.CheckpointError, match="is not a folder"):
        files.found(tmp_path / "nowhere")


def test_report_as_text_page_and_picture(tmp_path):
    edit = cases.Edit("An <edit>", "make {image} <b>", ("cat",), "grayscale")
    pixels = torch.rand(48, 64, 3)
    shown = [Shown(edit, [pixels], pixels, pixels), Shown(cases.Edit("From words", "word " * 90), [], pixels, None)]
    found = outcomes() | {"instruction": LOST, "rows": Outcome(0, 0, math.nan)}
    report = Report(decide(found, 0, {}), found, {300: {"right": 0.01, "no model": 0.4}},
                    [RoundTrip("cat", pixels, (0.001,) * 4, (0.01,) * 4)], [(0.1, 0.9)] * 4, 7, shown)
    words = page.text(report, [("VAE", "x.safetensors")])
    assert "VAE: x.safetensors" in words and "cat 30.0 dB" in words and "Seed 7" in words
    assert "\nNO  the right instruction beats another task's: 10 of 20" in words
    assert "An &lt;edit&gt;" in page.html(report) and "make {image} &lt;b&gt;" in page.html(report)
    assert "SHA-256" in page.html(report, [("VAE", "x", "1 GB", "abc")]) and "SHA-256" not in page.html(report, [("VAE", "x")])
    assert page.sheet(report).shape[-1] == 3 and page.sheet(report).min() >= 0 and page.sheet(report).max() <= 1
    path = page.write(tmp_path / "new" / "page.html", "x")
    assert path.read_text() == "x" and [file.name for file in path.parent.iterdir()] == ["page.html"]


def test_long_words_are_cut_to_a_line():
    font = ImageFont.load_default(13)
    assert page.shortened("short", font, 300) == "short"
    assert font.getlength(page.shortened("word " * 200, font, 300)) <= 300
    assert page.picture(torch.ones(4, 6, 3)).size == (6, 4)
