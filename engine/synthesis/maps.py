"""Maps and degradations that are computed from a picture: (H, W, 3) in [0, 1] → the same shape and range.

How coarse the authors' were is not published. Each function draws a strength that is still recognized at the size of a token.
"""

from collections.abc import Callable
from random import Random

import numpy as np
import torch
import torch.nn.functional as F
from scipy.ndimage import label
from torch import Tensor

LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601, as Pillow's "L"
Map = Callable[[Tensor, Random], Tensor]


def grayscale(x: Tensor, rng: Random) -> Tensor:
    return (x @ x.new_tensor(LUMA))[..., None].expand(-1, -1, 3).contiguous()


def mosaic(x: Tensor, rng: Random) -> Tensor:
    """Squares of 8 to 24 pixels. Those at the right and the bottom may be cut off."""
    tile, (height, width) = rng.choice((8, 12, 16, 24)), x.shape[:2]
    tiles = F.avg_pool2d(planes(x), tile, ceil_mode=True, count_include_pad=False)
    return pixels(F.interpolate(tiles, scale_factor=float(tile)))[:height, :width].contiguous()


def blur(x: Tensor, rng: Random) -> Tensor:
    """Gaussian, 2 to 6 pixels."""
    return pixels(gaussian(planes(x), rng.uniform(2, 6))).clamp(0, 1)


def noise(x: Tensor, rng: Random) -> Tensor:
    """Gaussian, standard deviation 0.08 to 0.3."""
    made = torch.Generator().manual_seed(rng.getrandbits(63))
    return (x + rng.uniform(0.08, 0.3) * torch.randn(x.shape, generator=made)).clamp(0, 1)


def edges(x: Tensor, rng: Random) -> Tensor:
    """White on black, as core's Canny node at its own thresholds: kornia's, but weak edges are followed by their connected
    regions, which is as exact as its repeated convolutions and much faster."""
    from kornia.filters import canny  # half a second to import
    found = canny(planes(x), 0.4, 0.8, hysteresis=False)[1][0, 0]  # 0.5 weak, 1 strong
    regions, _ = label((found > 0).numpy(), np.ones((3, 3)))
    strong = np.unique(regions[(found > 0.75).numpy()])
    kept = torch.from_numpy(np.isin(regions, strong[strong > 0]))
    return kept.float()[..., None].expand(-1, -1, 3).contiguous()


def contour(x: Tensor, rng: Random) -> Tensor:
    """Dark outlines on white."""
    return 1 - lines(x, 1.2, 0.06, 6.0)


def scribble(x: Tensor, rng: Random) -> Tensor:
    """Thick white strokes on black along the strongest outlines."""
    strong = (lines(x, 3.0, 0.06, 30.0) > 0.5).float()
    reach = max(1, round(min(x.shape[:2]) / 256))
    return pixels(F.max_pool2d(planes(strong), 2 * reach + 1, 1, reach))


MAPS: dict[str, Map] = {each.__name__: each for each in (grayscale, mosaic, blur, noise, edges, contour, scribble)}


def lines(x: Tensor, sigma: float, low: float, slope: float) -> Tensor:
    """Color steps of a blurred picture above `low`: (H, W, 3) in [0, 1], all channels alike."""
    padded = F.pad(gaussian(planes(x), sigma), (1, 1, 1, 1), mode="replicate")
    across, down = padded[:, :, 1:-1, 2:] - padded[:, :, 1:-1, :-2], padded[:, :, 2:, 1:-1] - padded[:, :, :-2, 1:-1]
    steps = torch.hypot(across, down).amax(1, keepdim=True)
    return pixels(((steps - low) * slope).clamp(0, 1).expand(-1, 3, -1, -1)).contiguous()


def gaussian(x: Tensor, sigma: float) -> Tensor:
    """(1, C, H, W), edges repeated."""
    radius = min(round(3 * sigma), *(side - 1 for side in x.shape[2:]))
    line = torch.exp(-0.5 * (torch.arange(-radius, radius + 1) / sigma) ** 2)
    line = (line / line.sum()).expand(x.shape[1], 1, 1, -1)
    x = F.pad(x, (radius,) * 4, mode="replicate")
    return F.conv2d(F.conv2d(x, line, groups=x.shape[1]), line.transpose(2, 3), groups=x.shape[1])


def planes(x: Tensor) -> Tensor:
    """(H, W, C) → (1, C, H, W)."""
    return x.movedim(-1, 0)[None]


def pixels(x: Tensor) -> Tensor:
    """(1, C, H, W) → (H, W, C)."""
    return x[0].movedim(0, -1)
