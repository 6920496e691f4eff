"""The eye: a small convolution net that turns a picture of the world into features.

It was taught with drawn scenes to tell place, light, and what lies in each spot, much as SigLIP was taught with captions. It
never saw the pile, knows nothing of families, and has no word for a ring. `python -m demo.collection teach` makes its weights.
"""

from collections.abc import Sequence
from pathlib import Path
from random import Random

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from tools.files import replace_file

from ..world.scenes import Picture, Scene, random_scene, render
from ..world.scenes.world import (
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
    SIGN_PLACES,
    SIZES,
    SPOTS,
    TEXTURES,
)

WEIGHTS = Path(__file__).with_name("eye.safetensors")
OBJECT = {"shape": SHAPES, "color": tuple(COLORS), "texture": TEXTURES, "size": tuple(SIZES)}
WHOLE = {"place": tuple(PLACES), "light": tuple(LIGHTS),
         "face.skin": (0, 1, 2), "face.hair": HAIR, "face.expression": EXPRESSIONS, "face.gaze": GAZES,
         "face.glasses": (False, True), "figure.skin": (0, 1, 2), "figure.shirt": tuple(COLORS), "figure.texture": TEXTURES,
         "figure.arms": ARMS, "figure.legs": LEGS, "sign.ink": INKS, "sign.place": tuple(SIGN_PLACES),
         "sign.first": tuple(LETTERS), "sign.last": tuple(LETTERS)}
NOTHING = 0  # the first answer of every head: there is no such thing
EMPTY, FIELD = 0.8, 0.4  # of the features: how alike an object is to an empty spot, and what a field of the whole counts


class Eye(nn.Module):
    """(n, 3, 128, 128) in [0, 1] → answers per head: (n, spots, classes) for objects, (n, classes) for the whole."""

    def __init__(self, width: int = 24, thin: int = 24):
        super().__init__()
        self.trunk = nn.Sequential(nn.AvgPool2d(2), nn.Conv2d(3, width, 5, 2, 2), nn.ReLU(),
                                   nn.Conv2d(width, 2 * width, 3, 2, 1), nn.ReLU(), nn.Conv2d(2 * width, 2 * width, 3, 1, 1),
                                   nn.ReLU(), nn.Conv2d(2 * width, thin, 1))  # (n, thin, 16, 16)
        self.near = nn.Sequential(nn.Linear(thin * 64, 96), nn.ReLU())  # of the 8 × 8 cells around a spot
        self.far = nn.Sequential(nn.Linear(thin * 64, 128), nn.ReLU())  # of all, halved
        self.object = nn.ModuleDict({name: nn.Linear(96, len(values) + 1) for name, values in OBJECT.items()})
        self.whole = nn.ModuleDict({name.replace(".", "_"): nn.Linear(128, len(values) + 1) for name, values in WHOLE.items()})

    def forward(self, pixels: Tensor) -> dict[str, Tensor]:
        cells = self.trunk(2 * pixels - 1)
        crops = torch.stack([cells[:, :, y // 8 - 4:y // 8 + 4, x // 8 - 4:x // 8 + 4] for x, y in SPOTS.values()], 1)
        near, far = self.near(crops.flatten(2)), self.far(F.avg_pool2d(cells, 2).flatten(1))
        return {**{name: head(near) for name, head in self.object.items()},
                **{name: self.whole[name.replace(".", "_")](far) for name in WHOLE}}

    def features(self, pixels: Tensor) -> Tensor:
        """(n, 3, 128, 128) → (n, d), of length 1, so that a cosine counts what two pictures have in common.

        Square roots of probabilities: those of the whole picture, and for each spot a vector that turns away from that of an
        empty spot as far as for one to two other attributes.
        """
        answers = {name: F.softmax(answer, -1) for name, answer in self(pixels).items()}
        empty = answers["shape"][..., :1]  # (n, spots, 1)
        looks = torch.cat([answers[name][..., 1:].sqrt() for name in OBJECT], -1) / len(OBJECT)**0.5
        spots = torch.cat([empty + EMPTY * (1 - empty), (1 - EMPTY**2)**0.5 * (1 - empty) * looks], -1)
        parts = [F.normalize(spots, dim=-1), *(FIELD * answers[name].sqrt()[:, None] for name in WHOLE)]
        return F.normalize(torch.cat([part.flatten(1) for part in parts], 1), dim=1)


def truth(scene: Scene) -> dict[str, list[int] | int]:
    """What the heads should say, as numbers of their classes."""
    at = {thing.spot: thing for thing in scene.things}
    out: dict[str, list[int] | int] = {name: [1 + values.index(getattr(at[spot], name)) if spot in at else NOTHING
                                              for spot in SPOTS] for name, values in OBJECT.items()}
    for name, values in WHOLE.items():
        part, _, field = name.rpartition(".")
        whole = getattr(scene, part) if part else scene
        if whole is None:
            out[name] = NOTHING
        elif field in ("first", "last"):
            out[name] = 1 + values.index(whole.text[0 if field == "first" else -1])
        else:
            out[name] = 1 + values.index(getattr(whole, field))
    return out


def drawn(count: int, seed: int) -> tuple[Tensor, dict[str, Tensor]]:
    """(count, 3, 128, 128) uint8 and what they show."""
    rng = Random(f"eye {seed}")
    scenes = [random_scene(rng) for _ in range(count)]
    pixels = torch.cat([(render([Picture(scene) for scene in scenes[i:i + 64]]) * 255).round().byte()
                        for i in range(0, count, 64)])
    answers = [truth(scene) for scene in scenes]
    return pixels, {name: torch.tensor([each[name] for each in answers]) for name in answers[0]}


def teach(count: int = 12_000, epochs: int = 12, batch: int = 64, seed: int = 0, say=print) -> Eye:
    torch.manual_seed(seed)
    pixels, answers = drawn(count, seed)
    say(f"{count} scenes are drawn.", flush=True)
    eye, steps = Eye(), epochs * (count // batch)
    optimizer = torch.optim.AdamW(eye.parameters(), 2e-3, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=steps)
    for epoch in range(epochs):
        total = 0.0
        for part in torch.randperm(count)[:count // batch * batch].split(batch):
            x = pixels[part].float() / 255
            loss = sum(F.cross_entropy(answer.flatten(0, -2), answers[name][part].flatten())
                       for name, answer in eye(x).items())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            total += float(loss.detach())
        say(f"epoch {epoch + 1}: loss {total / (count // batch):.3f}", flush=True)
    return eye.eval()


@torch.no_grad()
def right(eye: Eye, count: int = 512, seed: int = 1) -> dict[str, float]:
    """The share of right answers of each head on unseen scenes."""
    pixels, answers = drawn(count, seed)
    found = eye(pixels.float() / 255)
    return {name: float((found[name].argmax(-1) == answers[name]).float().mean()) for name in answers}


def save(eye: Eye, path: Path = WEIGHTS) -> None:
    replace_file(path, lambda part: save_file({k: v.half().contiguous() for k, v in eye.state_dict().items()}, part))


def load(path: Path = WEIGHTS) -> Eye:
    eye = Eye()
    eye.load_state_dict({key: value.float() for key, value in load_file(path).items()})
    return eye.eval()


@torch.no_grad()
def look(eye: Eye, pictures: Sequence[Tensor]) -> Tensor:
    """(3, 128, 128) each → (n, d)."""
    return eye.features(torch.stack(list(pictures)))
