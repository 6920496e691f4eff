"""Pictures, many at once, on any device; RGB in [0, 1]. Scenes have 128 × 128 pixels, photographs 256 × 256."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from PIL import Image
from torch import Tensor

from . import photographs, views
from .drawing import HORIZON, draw
from .shapes import KINDS, distance
from .world import TEXTURES, Scene

SIZE, PHOTO_SIZE = 128, 256
STRUCTURAL = ("segmentation", "depth", "pose")  # drawn from the scene; every other view is computed from its picture
PERIOD = 16  # of stripes and dots, in pixels
CHUNK = 256  # primitives drawn together


@dataclass(frozen=True)
class Picture:
    """What a frame shows: a scene or a photograph, as a view ("picture", a map, a degradation, a style).

    seed: of the noise · photo: number of a photograph (see photographs.crops) · crop: its left, top and mirrored, in [0, 1].
    """

    scene: Scene | None = None
    view: str = "picture"
    seed: int = 0
    photo: int | None = None
    crop: tuple[float, float, float] = (0.0, 0.0, 0.0)

    @property
    def size(self) -> int:
        """Pixels on a side."""
        return SIZE if self.photo is None else PHOTO_SIZE


def render(pictures: Sequence[Picture], device: torch.device | str = "cpu") -> Tensor:
    """Pictures of one size → (n, 3, size, size) float32. Raises ValueError for scenes and photographs together."""
    if len({p.size for p in pictures}) > 1:
        raise ValueError("Scenes and photographs differ in size: use render_each.")
    if pictures and pictures[0].photo is not None:
        out = photographs.crops([(p.photo, p.crop) for p in pictures], PHOTO_SIZE).to(device)
        computed = [i for i, p in enumerate(pictures) if p.view != "picture"]
    else:
        out = paint([(p.scene, p.view if p.view in STRUCTURAL else "picture") for p in pictures], device)
        computed = [i for i, p in enumerate(pictures) if p.view not in ("picture", *STRUCTURAL)]
    by_view: dict[str, list[int]] = {}
    for i in computed:
        by_view.setdefault(pictures[i].view, []).append(i)
    for view, which in by_view.items():
        out[which] = views.apply(view, out[which], [pictures[i].seed for i in which])
    return out


def render_each(pictures: Sequence[Picture], device: torch.device | str = "cpu") -> list[Tensor]:
    """Pictures of any size, (3, size, size) each."""
    out: list[Tensor] = [torch.empty(0)] * len(pictures)
    for size in (SIZE, PHOTO_SIZE):
        which = [i for i, p in enumerate(pictures) if p.size == size]
        for i, pixels in zip(which, render([pictures[i] for i in which], device) if which else (), strict=True):
            out[i] = pixels
    return out


def to_image(pixels: Tensor) -> Image.Image:
    """(3, H, W) in [0, 1] → RGB."""
    return Image.fromarray((pixels * 255).round().byte().permute(1, 2, 0).numpy())


def image_of(picture: Picture) -> Image.Image:
    return to_image(render([picture])[0])


def paint(scenes: Sequence[tuple[Scene, str]], device: torch.device | str) -> Tensor:
    """(scene, "picture" or a structural view) … → (n, 3, 128, 128)."""
    rows, owners, layers, backdrops, lights = [], [], [], [], []
    for i, (scene, view) in enumerate(scenes):
        made, backdrop, light = draw(scene, view)
        rows += made
        owners += [i] * len(made)
        layers += range(len(made))
        backdrops.append(backdrop)
        lights.append(light)
    y = torch.arange(SIZE, device=device) + 0.5
    x, y = y.reshape(1, 1, SIZE), y.reshape(1, SIZE, 1)
    out = ground(torch.tensor(backdrops, device=device, dtype=torch.float32), y)
    if rows:
        table = torch.tensor(rows, device=device, dtype=torch.float32)
        owner, layer = torch.tensor(owners, device=device), torch.tensor(layers, device=device)
        for k in range(int(max(layers)) + 1):
            for which in (layer == k).nonzero()[:, 0].split(CHUNK):
                alpha, color = coverage(table[which], x, y), texture(table[which], x, y)
                behind = out[owner[which]]
                out[owner[which]] = torch.lerp(behind, color, alpha[:, None])
    light = torch.tensor(lights, device=device)[:, :, None, None]
    return (out * light / 255).clamp(0, 1)


def ground(backdrops: Tensor, y: Tensor) -> Tensor:
    """(n, 4, 3) colors at the top, above and below the horizon, at the bottom → (n, 3, 128, 128)."""
    top, above, below, bottom = (c[:, :, None, None] for c in backdrops.unbind(1))
    y = y.reshape(1, 1, SIZE, 1)
    upper = torch.lerp(top, above, (y / HORIZON).clamp(0, 1))
    lower = torch.lerp(below, bottom, ((y - HORIZON) / (SIZE - HORIZON)).clamp(0, 1))
    return torch.where(y < HORIZON, upper, lower).expand(-1, -1, -1, SIZE).clone()


def coverage(rows: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """(n, 13) primitives → (n, 128, 128) in [0, 1], soft over one pixel."""
    out = torch.empty(len(rows), SIZE, SIZE, device=rows.device)
    for kind in rows[:, 0].unique().long().tolist():
        which = (rows[:, 0] == kind).nonzero()[:, 0]
        out[which] = (0.5 - distance(KINDS[kind], x, y, rows[which, 1:6])).clamp_(0, 1)
    return out


def texture(rows: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """(n, 13) primitives → their colors (n, 3, 128, 128), or (n, 3, 1, 1) if all are plain."""
    first, second = rows[:, 6:9, None, None], rows[:, 10:13, None, None]
    kind = rows[:, 9, None, None]
    if not (kind > 0).any():
        return first
    u, v = x - rows[:, 1, None, None], y - rows[:, 2, None, None]
    stripes = ((torch.remainder(v, PERIOD) - PERIOD / 2).abs() - PERIOD * 0.27 + 0.5).clamp(0, 1)
    u, v = (torch.remainder(w + PERIOD / 2, PERIOD) - PERIOD / 2 for w in (u, v))
    dots = (PERIOD * 0.31 - torch.hypot(u, v) + 0.5).clamp(0, 1)
    mix = stripes * (kind == TEXTURES.index("striped")) + dots * (kind == TEXTURES.index("dotted"))
    return torch.lerp(first, second, mix[:, None])
