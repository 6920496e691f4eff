"""The network as training calls it: batches of samples whose texts are padded, layers that are computed again for their
gradients, and weights stored in few bits (arXiv 2410.00086, section 2.3).
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ace_model.config import ACEConfig
from ace_model.dit import DiT
from ace_model.layers import target_only
from ace_model.lcu import IDENTIFIERS
from ace_model.reuse import ContextReuse


@dataclass
class Batch:
    """B samples whose frames have the same sizes; latents scaled to unit variance. Frames are in order, the clean target first.

    latents: per frame (B, 4, hᵢ, wᵢ) · masks: per frame (B, 1, hᵢ, wᵢ) · texts: per frame a list of B · negatives: the same
    of the negative branch · names: (frames, B), which of the ten image names each frame has; None for the usual ones. One
    tensor may hold the frames if all are of one size.
    """

    latents: Sequence[Tensor]
    masks: Sequence[Tensor]
    texts: list[list[str]]
    names: Tensor | None = None
    negatives: list[list[str]] | None = None

    def to(self, device: torch.device | str) -> "Batch":
        return Batch([x.to(device) for x in self.latents], [x.to(device) for x in self.masks], self.texts,
                     None if self.names is None else self.names.to(device), self.negatives)


Prepared = tuple[list[Tensor], Tensor, list[Tensor | None]]  # projected texts and names, and which words are no padding


class PaddedText:
    """Attention for one forward pass over padded texts: the DiT's blocks call self-attention, then once per frame.

    valid: per frame (B, L) bool, or None if nothing is padding.
    """

    def __init__(self, valid: Sequence[Tensor | None]):
        self.valid, self.calls = [v if v is None else rearrange(v, "b l -> b 1 1 l") for v in valid], 0

    def again(self) -> "PaddedText":
        """The same for another pass, or for one block of it."""
        new = PaddedText([])
        new.valid = self.valid
        return new

    def __call__(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        frame = self.calls % (len(self.valid) + 1) - 1
        self.calls += 1
        valid = self.valid[frame] if frame >= 0 else None
        if q.device.type == "cpu" and q.dtype == torch.bfloat16 and torch.is_grad_enabled():
            return rearrange(spelled_out(q, k, v, valid), "b h n d -> b n (h d)")
        return rearrange(F.scaled_dot_product_attention(q, k, v, attn_mask=valid), "b h n d -> b n (h d)")


def spelled_out(q: Tensor, k: Tensor, v: Tensor, valid: Tensor | None) -> Tensor:
    """The same as F.scaled_dot_product_attention; for training in bfloat16 on a CPU, where that is five times slower."""
    scores = (q * q.shape[-1] ** -0.5) @ k.transpose(-1, -2)
    if valid is not None:
        scores = scores.masked_fill(~valid, -torch.inf)
    return scores.softmax(-1) @ v


def predict(dit: DiT, noisy: Tensor, timestep: Tensor, batch: Batch, prepared: Prepared, reuse: ContextReuse | None = None
            ) -> Tensor:
    """Noise of the target (B, 4, h, w). noisy (B, 4, h, w), timestep (B,) in 0…999."""
    texts, names, valid = prepared
    dit.attention = PaddedText(valid if reuse is None or reuse.full else valid[:1])
    latents, masks = list(batch.latents), list(batch.masks)
    return dit(noisy, timestep, masks[0], latents[1:], masks[1:], texts, names, reuse)


class TrainedDiT(DiT):
    """The DiT with blocks that can forget what they computed and compute it again for the gradient: less memory, a third more
    time."""

    checkpointing = False

    def run_blocks(self, x, y, t0, rope, lengths, call=None):
        if not (self.checkpointing and torch.is_grad_enabled()):
            return super().run_blocks(x, y, t0, rope, lengths, call)
        for i, block in enumerate(self.blocks):
            if i == len(self.blocks) - 1:
                lengths = target_only(lengths)

            def compute(x, block=block, lengths=lengths, attention=self.attention):
                return block(x, y, t0, rope, lengths, attention.again())
            x = checkpoint(compute, x, use_reentrant=False, preserve_rng_state=False)
        return x


class Network:
    """A DiT with the features that it reads instead of words. `prepare` once per batch, then `eps` per noise level.

    features: text → (L, text width), as the text encoder made them · dtype: that the network computes in.
    """

    def __init__(self, dit: DiT, features: Callable[[str], Tensor], dtype: torch.dtype = torch.float32):
        self.dit, self.features, self.dtype = dit, features, dtype
        self.names = torch.stack([features(name)[0] for name in IDENTIFIERS])  # (10, text width): row 0 of each (spec 4)

    @property
    def device(self) -> torch.device:
        return self.dit.final_layer.scale_shift_table.device

    def prepare(self, texts: list[list[str]], names: Tensor | None = None) -> Prepared:
        """Per frame a list of B texts → projected texts, names and valid masks for `eps`."""
        return self.project([[self.features(text) for text in frame] for frame in texts], names)

    def project(self, features: Sequence[Sequence[Tensor]], names: Tensor | None = None) -> Prepared:
        """As `prepare`, of features (L, text width)."""
        where = {"device": self.device, "dtype": self.dtype}
        padded = [padded_text(frame) for frame in features]
        indicators = self.names.to(**where).expand(len(features[0]), -1, -1)
        if names is not None:
            indicators = indicators[0][torch.cat([names[1:], names[:1]]).T]  # project_text takes the target's last
        projected, named = self.dit.project_text([x.to(**where) for x, _ in padded], indicators)
        return projected, named, [v if v is None else v.to(self.device) for _, v in padded]

    def eps(self, noisy: Tensor, timestep: Tensor, batch: Batch, prepared: Prepared, reuse: ContextReuse | None = None
            ) -> Tensor:
        """Noise of the target (B, 4, h, w). batch: on the network's device."""
        typed = Batch([x.to(self.dtype) for x in batch.latents], batch.masks, batch.texts)
        return predict(self.dit, noisy.to(self.dtype), timestep, typed, prepared, reuse)


def padded_text(features: Sequence[Tensor]) -> tuple[Tensor, Tensor | None]:
    """B times (L, width) → (B, longest, width) with zeros behind the end, and (B, longest) bool: where there are words; None if
    all are equally long."""
    lengths = [len(each) for each in features]
    valid = torch.arange(max(lengths)) < torch.tensor(lengths)[:, None] if min(lengths) < max(lengths) else None
    return nn.utils.rnn.pad_sequence(list(features), batch_first=True), valid


class Frozen(torch.autograd.Function):
    """A linear layer without a gradient for its weight, which is stored in few bits and widened only while it is used."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, stored: Tensor, scale: Tensor | None, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(stored, scale)
        return F.linear(x, widened(stored, scale, x.dtype), None if bias is None else bias.to(x.dtype))

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None]:
        stored, scale = ctx.saved_tensors
        return gradient @ widened(stored, scale, gradient.dtype), None, None, None


def widened(stored: Tensor, scale: Tensor | None, dtype: torch.dtype) -> Tensor:
    return stored.to(dtype) if scale is None else stored.to(dtype) * scale.to(dtype)


class Fp8Linear(nn.Linear):
    """A frozen linear layer whose weight is float8 e4m3 with one scale per row: a byte per number."""

    scale: Tensor

    @classmethod
    def of(cls, linear: nn.Linear) -> "Fp8Linear":
        new = cls(linear.in_features, linear.out_features, linear.bias is not None, device="meta")
        weight = linear.weight.detach().float()
        scale = weight.abs().amax(1, keepdim=True).clamp(min=1e-12) / torch.finfo(torch.float8_e4m3fn).max * 1.01
        scale = scale.to(linear.weight.dtype)  # rounded before it is used; the hundredth is room for that
        new.weight = nn.Parameter((weight / scale.float()).to(torch.float8_e4m3fn), requires_grad=False)
        new.bias = None if linear.bias is None else nn.Parameter(linear.bias.detach(), requires_grad=False)
        new.register_buffer("scale", scale, persistent=False)
        return new

    def forward(self, x: Tensor) -> Tensor:
        return Frozen.apply(x, self.weight, self.scale, self.bias)


Module = TypeVar("Module", bound=nn.Module)
BASES = {"float32": torch.float32, "bf16": torch.bfloat16, "fp8": torch.bfloat16}  # {setting: type of the computation}


def frozen(weights: dict[str, Tensor], config: ACEConfig, base: str, checkpointing: bool = True,
           device: torch.device | str = "cpu") -> TrainedDiT:
    """The network with frozen weights of native keys, as `holding` them."""
    dit = TrainedDiT(config, device="meta")
    dit.checkpointing = checkpointing
    return holding(weights, dit, dit.blocks, base, device)


def holding(weights: dict[str, Tensor], network: Module, blocks: Iterable[nn.Module], base: str, device: torch.device | str
            ) -> Module:
    """A network on the device "meta" with these weights, frozen. base: a key of BASES; fp8 keeps the matrices inside blocks in
    a byte per number and computes in bfloat16. Keeps no second copy: `weights` is emptied."""
    kinds = {name: torch.float32 if "scale_shift_table" in name else BASES[base] for name in network.state_dict()}
    weights = {name: weights.pop(name) for name in list(weights)}
    for name in list(weights):
        weights[name] = weights[name].to(device, kinds[name])
    network.load_state_dict(weights, assign=True)
    weights.clear()
    if base == "fp8":
        for block in blocks:
            for path, module in list(block.named_modules()):
                if isinstance(module, nn.Linear):
                    block.set_submodule(path, Fp8Linear.of(module))
    return network.requires_grad_(False)
