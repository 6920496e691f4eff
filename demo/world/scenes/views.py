"""Views that are computed from a picture: maps, degradations and styles. (n, 3, H, W) in [0, 1] → the same.

Lines grow with the picture: on one of 256 pixels they are twice as wide as on one of 128. Tiles, blur and noise do not.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

UNIT = 128  # pixels on the side of a picture whose lines are one pixel wide
MOSAIC = 16  # pixels on a tile's side
BLUR = 4.0  # standard deviation in pixels
NOISE = 0.22  # standard deviation
STYLES = ("sepia", "inverted", "sketch", "blueprint", "infrared")
LUMA = (0.299, 0.587, 0.114)


def apply(view: str, images: Tensor, seeds: Sequence[int]) -> Tensor:
    """One view of every picture; seeds are used by noise alone."""
    if view == "noisy":
        return noisy(images, seeds)
    return _VIEWS[view](images)


def grayscale(x: Tensor) -> Tensor:
    return luma(x).expand(-1, 3, -1, -1)


def luma(x: Tensor) -> Tensor:
    """(n, 1, H, W)."""
    return (x * x.new_tensor(LUMA).reshape(1, 3, 1, 1)).sum(1, keepdim=True)


def mosaic(x: Tensor) -> Tensor:
    return F.interpolate(F.avg_pool2d(x, MOSAIC), scale_factor=MOSAIC, mode="nearest")


def gaussian(x: Tensor, sigma: float) -> Tensor:
    radius = round(3 * sigma)
    line = torch.exp(-0.5 * (torch.arange(-radius, radius + 1, device=x.device) / sigma) ** 2)
    line = (line / line.sum()).expand(x.shape[1], 1, 1, -1)
    x = F.pad(x, (radius,) * 4, mode="replicate")
    return F.conv2d(F.conv2d(x, line, groups=x.shape[1]), line.transpose(2, 3), groups=x.shape[1])


def blur(x: Tensor) -> Tensor:
    return gaussian(x, BLUR)


def gradient(x: Tensor) -> Tensor:
    """Largest color step per pixel, (n, 1, H, W)."""
    x = F.pad(x, (1, 1, 1, 1), mode="replicate")
    dx, dy = x[:, :, 1:-1, 2:] - x[:, :, 1:-1, :-2], x[:, :, 2:, 1:-1] - x[:, :, :-2, 1:-1]
    return torch.hypot(dx, dy).amax(1, keepdim=True)


def steps(x: Tensor, sigma: float) -> Tensor:
    """The gradient at a scale, per pixel of a picture of 128, (n, 1, H, W)."""
    scale = x.shape[-1] / UNIT
    return gradient(gaussian(x, sigma * scale)) * scale


def lines(x: Tensor) -> Tensor:
    """Color steps, (n, 1, H, W)."""
    return ((steps(x, 1.0) - 0.06) * 5).clamp(0, 1)


def edge(x: Tensor) -> Tensor:
    """Color steps, white on black."""
    return lines(x).expand(-1, 3, -1, -1)


def scribble(x: Tensor) -> Tensor:
    """Thick white strokes along strong outlines, on black."""
    strong, reach = ((steps(x, 2.0) - 0.13) * 30).clamp(0, 1), x.shape[-1] // UNIT
    return F.max_pool2d(strong, 2 * reach + 1, 1, reach).expand(-1, 3, -1, -1)


def contour(x: Tensor) -> Tensor:
    """Dark outlines on white."""
    return 1 - ((steps(x, 1.2) - 0.12) * 8).clamp(0, 1).expand(-1, 3, -1, -1)


def noisy(x: Tensor, seeds: Sequence[int]) -> Tensor:
    noise = torch.stack([torch.randn(x.shape[1:], generator=torch.Generator().manual_seed(seed)) for seed in seeds])
    return (x + NOISE * noise.to(x)).clamp(0, 1)


def depth(x: Tensor) -> Tensor:
    """A guess for pictures whose depth nobody measured: near is low in the picture, and dark or warm; far is light or blue.

    Air adds its own blue light to what lies behind it (aerial perspective), and the ground rises towards the horizon. Both are
    cues, not a measurement: what is white and near is guessed far. Scenes have true depth maps.
    """
    height = torch.linspace(0, 1, x.shape[-2], device=x.device).reshape(1, 1, -1, 1)
    red, _, blue = gaussian(x, x.shape[-1] / UNIT).split(1, 1)
    air = ((blue - 0.4 * red + 0.15) / 0.6).clamp(0, 1)
    return (0.25 * height + 0.75 * (1 - air)).expand(-1, 3, -1, -1)


def sepia(x: Tensor) -> Tensor:
    return (luma(x) * x.new_tensor((1.12, 0.92, 0.66)).reshape(1, 3, 1, 1)).clamp(0, 1)


def inverted(x: Tensor) -> Tensor:
    return 1 - x


def sketch(x: Tensor) -> Tensor:
    """Pencil: dark lines on paper, faint shading."""
    return (0.72 + 0.28 * luma(x)) * (1 - 0.85 * lines(x)) * x.new_tensor((1, 0.98, 0.9)).reshape(1, 3, 1, 1)


def blueprint(x: Tensor) -> Tensor:
    """Gray levels from deep blue to white, as the process that blueprints were made by renders them."""
    dark, light = (x.new_tensor(c).reshape(1, 3, 1, 1) for c in ((0.04, 0.1, 0.4), (0.9, 0.95, 1.0)))
    return dark + luma(x) * (light - dark)


def infrared(x: Tensor) -> Tensor:
    """False colors, as on infrared film: red shows as green, green as blue; blue takes the place of what no eye sees."""
    return x[:, [2, 0, 1]]


_VIEWS = {f.__name__: f for f in (grayscale, mosaic, blur, edge, scribble, contour, depth, sepia, inverted, sketch,
                                  blueprint, infrared)}
