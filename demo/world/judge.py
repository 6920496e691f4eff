"""Is a picture the right answer? By truth: it must be nearer to the exact answer than to every plausible wrong one.

A scene's wrong answers differ from it in one attribute: another color, shape, texture, size or spot of a thing, a thing
missing, another place, light, face, pose or letter, and the pictures that went in. Each is compared only where it
differs from the truth. Maps are judged by overlap, edge F1, correlation or PSNR.
"""

from dataclasses import replace
from random import Random

import torch
import torch.nn.functional as F
from torch import Tensor

from .scenes import Picture, Scene, render
from .scenes.drawing import BONES, CLASS_COLORS
from .scenes.views import STYLES
from .scenes.world import (
    ARMS,
    COLORS,
    EXPRESSIONS,
    GAZES,
    HAIR,
    INKS,
    LEGS,
    LETTERS,
    LIGHTS,
    PLACES,
    SHAPES,
    SIZES,
    SKINS,
    SPOTS,
    STUDIO,
    TEXTURES,
)
from .tasks import Sample

DIFFERS = 0.08  # of a channel's range: where two pictures are told apart
FEWEST = 48  # pixels: what differs from the truth in fewer, nobody could call wrong
LOWEST_PSNR = 16.0  # dB against the truth, whatever else holds
KEPT_PSNR = 20.0  # dB where the edit must change nothing
LETTER_TRIALS = 5  # wrong letters tried per letter


def wrong_outlines(scene: Scene, rng: Random) -> list[Scene]:
    """Scenes with one part missing, misplaced or of another shape: what still shows in a style that takes colors away."""
    out = [scene.but(**{part: None}) for part in ("face", "figure", "sign") if getattr(scene, part)]
    for i, thing in enumerate(scene.things):
        out += [scene.change(i, shape=s) for s in SHAPES if s != thing.shape]
        out += [scene.without(i)] + [scene.change(i, spot=s) for s in rng.sample([s for s in SPOTS if s != thing.spot], 2)]
    return out


def wrong_scenes(scene: Scene, rng: Random) -> list[Scene]:
    """Scenes that differ from `scene` in one attribute."""
    out = wrong_outlines(scene, rng) + [scene.but(place=p) for p in PLACES if scene.place not in (p, STUDIO)]
    out += [scene.but(light=v) for v in LIGHTS if v != scene.light]
    for i, thing in enumerate(scene.things):
        for field, values in (("color", COLORS), ("texture", TEXTURES), ("size", SIZES)):
            out += [scene.change(i, **{field: v}) for v in values if v != getattr(thing, field)]
    parts = (("face", {"skin": range(len(SKINS)), "hair": HAIR, "expression": EXPRESSIONS, "gaze": GAZES,
                       "glasses": (False, True)}),
             ("figure", {"skin": range(len(SKINS)), "shirt": COLORS, "texture": TEXTURES, "arms": ARMS, "legs": LEGS}),
             ("sign", {"ink": INKS}))
    for part, fields in parts:
        if (whole := getattr(scene, part)) is None:
            continue
        out += [scene.but(**{part: replace(whole, **{f: v})})
                for f, values in fields.items() for v in values if v != getattr(whole, f)]
    if scene.sign:
        text = scene.sign.text
        out += [scene.but(sign=replace(scene.sign, text=text[:i] + wrong + text[i + 1:])) for i in range(len(text))
                for wrong in rng.sample([c for c in LETTERS if c != text[i]], LETTER_TRIALS)]
    return out


def wrong_answers(sample: Sample, rng: Random) -> list[Picture]:
    target = sample.target
    styled = target.view in STYLES
    out = [replace(target, scene=s) for s in (wrong_outlines if styled else wrong_scenes)(target.scene, rng)]
    if styled:
        out += [replace(target, view=v) for v in ("picture", *STYLES) if v != target.view]
    return out


def wrong_maps(target: Picture, rng: Random) -> list[Picture]:
    """The same map of scenes in which a part is missing, another or elsewhere, or a person stands otherwise."""
    scene, out = target.scene, wrong_outlines(target.scene, rng)
    if figure := scene.figure:
        out += [scene.but(figure=replace(figure, **{field: value})) for field, values in (("arms", ARMS), ("legs", LEGS))
                for value in values if value != getattr(figure, field)]
    return [replace(target, scene=each) for each in out]


def nearest(answer: Tensor, truth: Tensor, wrong: Tensor) -> bool:
    """answer, truth (3, H, W), wrong (n, 3, H, W): is the answer nearer to the truth than to each wrong one?"""
    differs = ((wrong - truth).abs().amax(1, keepdim=True) > DIFFERS).float()
    to_truth = ((answer - truth).abs() * differs).flatten(1).sum(1)
    to_wrong = ((answer - wrong).abs() * differs).flatten(1).sum(1)
    return bool(((to_truth < to_wrong) | (differs.flatten(1).sum(1) < FEWEST)).all())


def judge(sample: Sample, answer: Tensor) -> tuple[bool, dict[str, float]]:
    """answer (3, H, W) in [0, 1], as large as the target → right?, measurements."""
    truth, *given = render([sample.target, *sample.pictures])
    if sample.target.view in MEASURES:
        name, measure, least = MEASURES[sample.target.view]
        value = measure(answer, truth)
        wrong = wrong_maps(sample.target, Random(0)) if sample.target.view in AREAS else []
        nearer = not wrong or nearest(answer, truth, render(wrong))
        return bool(value >= least and nearer and unlike(answer, truth, given)), {name: value}
    numbers = {"psnr": psnr(answer, truth)}
    right = numbers["psnr"] >= LOWEST_PSNR
    if sample.edited is not None and sample.edited.view == sample.target.view:
        kept = untouched(truth, given[sample.pictures.index(sample.edited)])
        if kept.mean() > 0.2:
            error = (((answer - truth) ** 2) * kept).sum() / (3 * kept.sum())
            numbers["kept"] = float(-10 * error.clamp(min=1e-10).log10())
            right &= numbers["kept"] >= KEPT_PSNR
    wrong = render(wrong_answers(sample, Random(str(sample.turns[-1].instruction))))
    return bool(right and nearest(answer, truth, wrong) and unlike(answer, truth, given)), numbers


def unlike(answer: Tensor, truth: Tensor, given: list[Tensor]) -> bool:
    """Nearer to the truth than to every picture that went in, those apart that are the truth."""
    others = [g for g in given if not torch.equal(g, truth)]
    return not others or nearest(answer, truth, torch.stack(others))


def untouched(truth: Tensor, given: Tensor) -> Tensor:
    """1 where an edit changes nothing, 8 pixels away from where it does; (1, H, W)."""
    changed = ((truth - given).abs().amax(0, keepdim=True) > 0.02).float()
    return 1 - F.max_pool2d(changed[None], 17, 1, 8)[0]


def overlap(answer: Tensor, truth: Tensor, palette) -> float:
    """Mean intersection over union of the palette's colors that are there, black included."""
    colors = torch.tensor([(0, 0, 0), *palette], dtype=torch.float32) / 255
    a, t = ((x[:, None] - colors.T[:, :, None, None]).square().sum(0).argmin(0) for x in (answer, truth))
    ious = []
    for c in t.unique():
        if (t == c).sum() > 100:
            ious.append(float(((a == c) & (t == c)).sum() / ((a == c) | (t == c)).sum()))
    return sum(ious) / len(ious)


def f1(answer: Tensor, truth: Tensor) -> float:
    """Of lines, bright or dark, matched within a 64th of the side."""
    a, t = (x.mean(0) for x in (answer, truth))
    if t.mean() > 0.5:
        a, t = 1 - a, 1 - t
    a, t = (a > 0.4).float(), (t > 0.4).float()
    if t.mean() < 1 / 800:  # as good as none
        return float(a.mean() < 1 / 80)
    reach = t.shape[-1] // 64
    near_a, near_t = (F.max_pool2d(x[None, None], 2 * reach + 1, 1, reach)[0, 0] for x in (a, t))
    precision, recall = (a * near_t).sum() / a.sum().clamp(min=1), (t * near_a).sum() / t.sum()
    return float(2 * precision * recall / (precision + recall).clamp(min=1e-6))


def correlation(answer: Tensor, truth: Tensor) -> float:
    return float(torch.corrcoef(torch.stack([answer.mean(0).flatten(), truth.mean(0).flatten()]))[0, 1].nan_to_num(0))


def psnr(answer: Tensor, truth: Tensor) -> float:
    """In dB."""
    return float(-10 * ((answer - truth) ** 2).mean().clamp(min=1e-10).log10())


def bones_overlap(answer: Tensor, truth: Tensor) -> float:
    return overlap(answer, truth, BONES)


def classes_overlap(answer: Tensor, truth: Tensor) -> float:
    return overlap(answer, truth, CLASS_COLORS.values())


AREAS = ("segmentation", "pose")  # maps in which another pose could still overlap enough
MEASURES = {"segmentation": ("IoU", classes_overlap, 0.7), "pose": ("IoU", bones_overlap, 0.5),
            "depth": ("correlation", correlation, 0.9),
            **dict.fromkeys(("edge", "scribble", "contour"), ("F1", f1, 0.7)),
            **dict.fromkeys(("mosaic", "blur", "grayscale"), ("psnr", psnr, 22.0))}  # of a map: name, measure, least
