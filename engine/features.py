"""Pictures → features, and small looks of the pictures themselves. Both lie in files that are read in parts.

Features come from core's CLIP vision models (SigLIP, as in the paper), from any program of yours as a file, or from the pixels
alone, which needs no weights and finds edits that keep most of a picture where it was.

Bytes per picture, for d features: 2 d on the disk (float16), and a look of 768.
"""

import json
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors import SafetensorError, safe_open
from torch import Tensor

from .ace import data, errors, files, formats

GRID = 16  # cells on a side of a look
BATCH = 32
Maker = Callable[[list[Tensor], list[str]], Tensor]  # pictures (H, W, 3) in [0, 1] and their names → (n, d)


class FeatureError(errors.InputError):
    """Features that cannot be used, or a folder with none to make."""


@dataclass(frozen=True, eq=False)
class Pile:
    """The pictures of a folder that can be opened.

    names: relative to `folder`, sorted · sizes (n, 2) int32: width, height · looks (n, 16, 16, 3) uint8 · features (n, d)
    float16, of length 1 · unreadable: {name: why}. Looks and features are read from files as they are needed.
    """

    folder: Path
    names: list[str]
    sizes: np.ndarray
    looks: np.ndarray
    features: np.ndarray
    unreadable: dict[str, str]

    def __len__(self) -> int:
        return len(self.names)

    def path(self, index: int) -> Path:
        return self.folder / self.names[index]


def pictures_in(folder: Path) -> list[str]:
    """Names of all pictures in a folder and its subfolders, sorted, hidden ones left out. Raises FeatureError."""
    if not folder.is_dir():
        raise FeatureError(f"{folder} is no folder: give a folder of pictures.")
    found = [path.relative_to(folder) for path in folder.rglob("*") if formats.is_picture(path)]
    names = [path.as_posix() for path in found if not any(part.startswith(".") for part in path.parts)]
    if not names:
        raise FeatureError(f"{folder} has no picture: give a folder with {', '.join(formats.PICTURES)}.")
    return sorted(names, key=formats.natural)


def pile(folder: Path, work: Path, make: Maker, maker: str, names: Sequence[str],
         tick: Callable[[int], None] = lambda count: None) -> Pile:
    """Look at every picture once. What was looked at before, in `work`, is not opened again.

    make: of features · maker: what it is, so that those of another are not taken for its own · names: of its
    pictures · tick: called with how many pictures are done. Raises FeatureError if fewer than two can be opened.
    """
    work.mkdir(parents=True, exist_ok=True)
    state = {"maker": maker, "pictures": [[name, *stamp(folder / name)] for name in names]}
    if (kept := reopened(folder, work, state)) is not None:
        tick(len(names))
        return kept
    found = seen(folder, work, make, maker, names, tick)
    files.replaced(work / "pile.json", lambda part: part.write_text(json.dumps(
        {**state, **found}, ensure_ascii=False),
        encoding="utf-8"))
    return reopened(folder, work, state)


def seen(folder: Path, work: Path, make: Maker, maker: str, names: Sequence[str], tick: Callable[[int], None]) -> dict:
    """Write features.bin and looks.bin; what pile.json says of them. Raises FeatureError."""
    rows, sizes, unreadable, width = [], [], {}, 0
    parts = {name: work / f".{name}.part" for name in ("features", "looks")}
    try:
        with parts["features"].open("wb") as features, parts["looks"].open("wb") as looks, ThreadPoolExecutor(4) as pool:
            for start in range(0, len(names), BATCH):
                batch = list(names[start:start + BATCH])
                opened = dict(zip(batch, pool.map(lambda name: tried(folder / name), batch), strict=True))
                unreadable |= {name: pixels for name, pixels in opened.items() if isinstance(pixels, str)}
                good = [name for name in batch if name not in unreadable]
                if good:
                    made = unit(make([opened[name] for name in good], good), good)
                    width = width or made.shape[-1]
                    if made.shape != (len(good), width):
                        raise FeatureError(f"{maker} gave features of shape {made.shape} for {len(good)} pictures, and {width} "
                                           "numbers for each of others: use one that gives as many for every picture.")
                    features.write(made.astype(np.float16).tobytes())
                    looks.write(np.stack([look(opened[name]) for name in good]).tobytes())
                    rows += good
                    sizes += [(opened[name].shape[1], opened[name].shape[0]) for name in good]
                tick(len(batch))
        if len(rows) < 2:
            more = "".join(f" {name} {why}" for name, why in list(unreadable.items())[:3])
            raise FeatureError(f"{folder} has {len(rows)} pictures that can be opened, but a pair needs two.{more}")
        for name, part in parts.items():
            part.replace(work / f"{name}.bin")
    finally:
        for part in parts.values():
            part.unlink(missing_ok=True)
    return {"width": width, "rows": rows, "sizes": sizes, "unreadable": unreadable}


def reopened(folder: Path, work: Path, state: dict) -> Pile | None:
    """What `pile` left in `work`; None if it was made of other pictures or by another maker, or is not whole."""
    try:
        found = json.loads((work / "pile.json").read_text(encoding="utf-8"))
        if {key: found[key] for key in state} != state:
            return None
        count, width = len(found["rows"]), found["width"]
        features = np.memmap(work / "features.bin", np.float16, "r", shape=(count, width))
        looks = np.memmap(work / "looks.bin", np.uint8, "r", shape=(count, GRID, GRID, 3))
        sizes = np.array(found["sizes"], np.int32).reshape(count, 2)
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return Pile(folder, found["rows"], sizes, looks, features, found["unreadable"])


def stamp(path: Path) -> list[int]:
    try:
        state = path.stat()
    except OSError:
        return [0, 0]
    return [state.st_size, state.st_mtime_ns]


def tried(path: Path) -> Tensor | str:
    """The pixels, or what is wrong with the file."""
    found = data.look(path)
    return found if isinstance(found, str) else data.opened(path)


def unit(made: Tensor, names: Sequence[str] = ()) -> np.ndarray:
    """(n, d) → the same in float32, of length 1. Raises FeatureError for numbers that are none."""
    made = made.detach().float().cpu()
    bad = ~torch.isfinite(made).all(1)
    if bad.any():
        which = int(bad.nonzero()[0])
        raise FeatureError(f"the features of {names[which] if which < len(names) else f'row {which}'} are not all numbers: the "
                           "model failed on it. Take the picture out, or use another model.")
    return F.normalize(made, dim=1).numpy()


def look(pixels: Tensor) -> np.ndarray:
    """(H, W, 3) in [0, 1] → (16, 16, 3) uint8: means over the cells of a grid."""
    small = F.adaptive_avg_pool2d(pixels.movedim(-1, 0)[None], GRID)[0].movedim(0, -1)
    return (small * 255).round().byte().numpy()


# ---- makers

def from_pixels(pictures: list[Tensor], names: Sequence[str] = ()) -> Tensor:
    """(n, 1536): colors against the picture's own mean, and how much they change, on a 16 × 16 grid. No weights."""
    out = []
    for pixels in pictures:
        x = F.adaptive_avg_pool2d(pixels.movedim(-1, 0)[None], 4 * GRID)  # 64 × 64 whatever the size
        x = x / (x.mean() + 0.05)  # another exposure is no other picture
        steps = F.pad(x.diff(dim=3).abs(), (0, 1)) + F.pad(x.diff(dim=2).abs(), (0, 0, 0, 1))
        colors, changes = (F.avg_pool2d(each, 4).flatten() for each in (x, steps))
        out.append(torch.cat([F.normalize(colors - colors.mean(), dim=0), F.normalize(changes - changes.mean(), dim=0)]))
    return torch.stack(out)


def handed_in(path: Path, names: Sequence[str]) -> tuple[Maker, str]:
    """A maker that reads rows of a file, in the order of the names, and what it is called.

    .npy: (n, d), a row for each picture in the order of their names (a2 before a10) · .safetensors: a tensor for each picture
    under its name, or one tensor `features` in that order. Raises FeatureError.
    """
    if path.suffix.lower() == ".npy":
        try:
            rows = np.load(path, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError) as error:
            raise FeatureError(f"{path} cannot be read as a .npy of numbers ({error}).") from None
        return in_order(path, rows, names)
    try:
        with safe_open(str(path), "pt") as file:
            if "features" in file.keys():  # noqa: SIM118 - safe_open is no mapping
                return in_order(path, file.get_tensor("features").float().numpy(), names)
            lacking = sorted(set(names) - set(file.keys()))
    except (OSError, SafetensorError) as error:
        raise FeatureError(f"{path} cannot be read as .npy or .safetensors ({error}).") from None
    if lacking:
        raise FeatureError(f"{path} has no features of {lacking[0]}" + (f" and {len(lacking) - 1} other pictures"
                           if len(lacking) > 1 else "") + ": make them, too, or name a folder without these pictures.")

    def rows(_: list[Tensor], chosen: list[str]) -> Tensor:
        with safe_open(str(path), "pt") as file:
            return torch.stack([file.get_tensor(name).float().flatten() for name in chosen])
    return rows, known_as(path)


def in_order(path: Path, rows: np.ndarray, names: Sequence[str]) -> tuple[Maker, str]:
    if rows.ndim != 2 or len(rows) != len(names) or rows.dtype.kind not in "fiu":
        raise FeatureError(f"{path} holds {rows.dtype} of shape {rows.shape}, but the folder has {len(names)} pictures: give "
                           f"numbers of shape ({len(names)}, any), a row for each in the order of their names.")
    at = {name: number for number, name in enumerate(names)}
    return lambda _, chosen: torch.from_numpy(np.array(rows[[at[name] for name in chosen]], np.float32)), known_as(path)


def known_as(path: Path) -> str:
    return " ".join(map(str, (path.absolute(), *stamp(path))))
