"""Hyper-parameters of ACE's diffusion transformer, and each model's sampling defaults (spec: ACE-0.6B, sections 1, 2, 6)."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from torch import Tensor

HEAD_WIDTH = 72  # in the published models; a state dict does not tell the number of heads
HEADS = "num_heads"  # a tensor of this name, which ComfyUI saves with the weights unless the heads are 72 wide, tells it
DEPTHS = {1152: 28, 256: 6}  # {width: blocks} of the published models and of the demo model
MOST_BLOCKS, MOST_HEADS = 128, 1024
DIMENSIONS = {"x_embedder.proj.weight": 4, "y_embedder.fc1.weight": 2, "blocks.0.mlp.fc1.bias": 1,
              "final_layer.linear.bias": 1}  # the tensors that tell the sizes
LIMITS = {"width": (2, 16384), "number of input channels": (5, 5), "patch size": (1, 16), "text width": (1, 65536),
          "MLP width": (1, 262144), "number of output channels": (4, 64)}


@dataclass(frozen=True)
class ACEConfig:
    """The defaults are ACE-0.6B: 715 tensors, 610,989,728 parameters."""

    hidden_size: int = 1152
    depth: int = 28
    num_heads: int = 16
    text_width: int = 4096
    mlp_ratio: float = 4.0
    patch_size: int = 2
    latent_channels: int = 4
    out_channels: int = 8  # eps of the 4 latent channels, and 4 that the reference never uses

    @property
    def in_channels(self) -> int:
        return self.latent_channels + 1  # the mask comes last

    @classmethod
    def from_state_dict(cls, sd: Mapping[str, Tensor], num_heads: int | None = None) -> "ACEConfig":
        """Read the sizes from native keys. Heads: those that the weights state, else num_heads, else hidden / 72.

        Raises ValueError if a size is none that ACE can have, or if the heads do not divide the width evenly.
        """
        for key, dimensions in DIMENSIONS.items():
            if sd[key].ndim != dimensions:
                raise ValueError(f"{key} has the shape {tuple(sd[key].shape)}, but ACE's has {dimensions} dimensions: it "
                                 "belongs to another model, or it is damaged. Choose another file.")
        hidden, in_channels, patch = sd["x_embedder.proj.weight"].shape[:3]
        text_width, mlp = sd["y_embedder.fc1.weight"].shape[1], sd["blocks.0.mlp.fc1.bias"].shape[0]
        out_channels = sd["final_layer.linear.bias"].shape[0] // max(1, patch) ** 2
        sizes = dict(zip(LIMITS, (hidden, in_channels, patch, text_width, mlp, out_channels), strict=True))
        for what, size in sizes.items():
            least, most = LIMITS[what]
            if not least <= size <= most:
                takes = least if least == most else f"{least} to {most}"
                raise ValueError(f"its {what} is {size}, but ACE takes {takes}: it belongs to another model, or it is damaged. "
                                 "Choose another file.")
        heads = whole(sd[HEADS], HEADS) if HEADS in sd else num_heads or max(1, hidden // HEAD_WIDTH)
        if hidden % heads or (hidden // heads) % 2:
            raise ValueError(f"{heads} heads do not divide the hidden width {hidden} into heads of even width: write the "
                             "number of heads into the file's safetensors metadata (config: {\"NUM_HEADS\": …}).")
        return cls(hidden_size=hidden, depth=count_blocks(sd, "blocks."), num_heads=heads, text_width=text_width,
                   mlp_ratio=mlp / hidden, patch_size=patch, latent_channels=in_channels - 1, out_channels=out_channels)

    def metadata(self) -> dict[str, str]:
        """Safetensors metadata that `stated` reads back."""
        return {"config": json.dumps({"NUM_HEADS": self.num_heads, "DEPTH": self.depth})}


def count_blocks(keys: Iterable[str], prefix: str) -> int:
    """How many blocks are numbered after `prefix`, from 0 without a gap. Raises ValueError. A number is never counted up to:
    a damaged file may hold block 2000000000."""
    found = {key[len(prefix):].split(".", 1)[0] for key in keys if key.startswith(prefix)}
    expected = {str(i) for i in range(len(found))}
    if found != expected:
        wrong, gap = shown(min(found - expected), 20), min(expected - found, key=int)
        raise ValueError(f"it holds {prefix}{wrong}, but no {prefix}{gap}: blocks are missing, or their numbers are wrong. "
                         "Download it again.")
    if len(found) > MOST_BLOCKS:
        raise ValueError(f"it holds {len(found)} blocks ({prefix}…), but at most {MOST_BLOCKS} are possible.")
    return len(found)


def stated(metadata: Mapping[str, str] | None, name: str) -> int | None:
    """The number `name` (NUM_HEADS or DEPTH, in capitals or not) in a file's safetensors metadata (`config`, JSON), or None.
    Raises ValueError if something else stands there."""
    text = metadata.get("config") if isinstance(metadata, Mapping) else None
    if not text:
        return None
    try:
        config = json.loads(text)
    except (ValueError, TypeError, RecursionError):
        config = None
    if not isinstance(config, dict):
        raise ValueError(f"the config in its metadata is {shown(text)}, but it must be a JSON object, for instance "
                         f"{{\"{name}\": 16}}: correct it or take it out.")
    return next((whole(config[key], key) for key in (name, name.lower()) if key in config), None)


def heads_in(metadata: Mapping[str, str] | None) -> int | None:
    """The number of heads that a file's metadata states, or None. Raises ValueError."""
    return stated(metadata, "NUM_HEADS")


def whole(value, name: str) -> int:
    """A number of heads or blocks, given as a number or as a tensor of one. Raises ValueError."""
    if isinstance(value, Tensor):
        value = value.item() if value.numel() == 1 else f"{tuple(value.shape)} numbers"
    if isinstance(value, bool) or not isinstance(value, int | float) or value not in range(1, MOST_HEADS + 1):
        raise ValueError(f"its {name} is {shown(value)}, but it must be one whole number from 1 to {MOST_HEADS}: correct it "
                         "or take it out.")
    return int(value)


def shown(value, length: int = 60) -> str:
    """Something from a file, short and printable enough for a message."""
    text = ascii(value[:length + 1] if isinstance(value, str) else value).strip("'\"")
    return text if len(text) <= length else f"{text[:length]}…"


@dataclass(frozen=True)
class Defaults:
    """Sampling settings where the user leaves 0. token_budget: most tokens (16×16 pixels) of one picture."""

    steps: int
    token_budget: int


DEFAULTS = {"512px": Defaults(20, 1024), "1024px": Defaults(50, 4096), "demo": Defaults(10, 1024)}


def kind_of(file_name: str, metadata: Mapping[str, str] | None = None) -> str:
    """Which of DEFAULTS applies to a weight file: its metadata decides (`ace_defaults`), else its name. Unknown files count
    as the 512px model."""
    given = (metadata or {}).get("ace_defaults")
    if given in DEFAULTS:
        return given
    name = file_name.lower()
    return "demo" if name.startswith("ace_demo") else "1024px" if "1024" in name else "512px"
