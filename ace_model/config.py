"""Hyper-parameters of ACE's diffusion transformer, and each model's sampling defaults (spec: ACE-0.6B, sections 1, 2, 6)."""

import json
from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

HEAD_WIDTH = 72  # in the published models; a state dict does not tell the number of heads


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
        """Read the sizes from native keys; num_heads None: hidden / 72. Raises ValueError if the heads do not divide the
        width evenly."""
        hidden, in_channels, patch = sd["x_embedder.proj.weight"].shape[:3]
        heads = num_heads or max(1, hidden // HEAD_WIDTH)
        if hidden % heads or (hidden // heads) % 2:
            raise ValueError(f"{heads} heads do not divide the hidden width {hidden} into heads of even width: write the "
                             "number of heads into the file's safetensors metadata (config: {\"NUM_HEADS\": …}).")
        return cls(
            hidden_size=hidden,
            depth=1 + max(int(key.split(".")[1]) for key in sd if key.startswith("blocks.")),
            num_heads=heads,
            text_width=sd["y_embedder.fc1.weight"].shape[1],
            mlp_ratio=sd["blocks.0.mlp.fc1.bias"].shape[0] / hidden,
            patch_size=patch,
            latent_channels=in_channels - 1,
            out_channels=sd["final_layer.linear.bias"].shape[0] // patch**2,
        )

    def metadata(self) -> dict[str, str]:
        """Safetensors metadata that `heads_in` reads back."""
        return {"config": json.dumps({"NUM_HEADS": self.num_heads})}


def heads_in(metadata: Mapping[str, str] | None) -> int | None:
    """The number of heads that a file's safetensors metadata states (`config`, JSON), or None."""
    stored = json.loads((metadata or {}).get("config") or "{}")
    return stored.get("NUM_HEADS") or stored.get("num_heads")


@dataclass(frozen=True)
class Defaults:
    """Sampling settings where the user leaves 0. token_budget: most tokens (16×16 pixels) of one picture."""

    steps: int
    token_budget: int


DEFAULTS = {"512px": Defaults(20, 1024), "1024px": Defaults(50, 4096), "demo": Defaults(10, 1024)}


def kind_of(file_name: str, metadata: Mapping[str, str] | None = None) -> str:
    """Which of DEFAULTS applies to a weight file: its metadata decides (`ace_defaults`), else its name. Unknown files count
    as the 512px model."""
    stated = (metadata or {}).get("ace_defaults")
    if stated in DEFAULTS:
        return stated
    name = file_name.lower()
    return "demo" if name.startswith("ace_demo") else "1024px" if "1024" in name else "512px"
