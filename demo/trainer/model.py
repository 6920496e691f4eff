"""A tiny ACE: the pack's own DiT with the demo's text encoder, as one module for training and scoring."""

import json
from functools import lru_cache
from pathlib import Path

import torch
from einops import rearrange
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from ace_model.config import ACEConfig, heads_in
from ace_model.dit import DiT
from ace_model.layers import Attention
from ace_model.lcu import IDENTIFIERS
from ace_model.reuse import ContextReuse
from tools.files import replace_file
from tools.gallery.models import DEMO_DIT, DEMO_T5
from training.network import BASES, Batch, Network, Prepared, frozen, predict

from .text import ENCODER, Tokenizer, text_encoder

WEIGHTS = Path(__file__).parents[1] / "weights"
DIT_FILE = f"diffusion_models/{DEMO_DIT}"  # folders as below ComfyUI's models/
TEXT_FILE = f"text_encoders/{DEMO_T5}"


class TinyACE(nn.Module):
    """text encoder + DiT. `prepare` once per batch, then `eps` per noise level."""

    def __init__(self, config: ACEConfig, tokenizer: Tokenizer):
        super().__init__()
        self.dit, self.t5, self.tokenizer = DiT(config), text_encoder(), tokenizer
        initialise(self.dit)
        self.register_buffer("identifiers", tokenizer.batch(IDENTIFIERS)[0], persistent=False)
        self.register_buffer("identifiers_valid", tokenizer.batch(IDENTIFIERS)[1], persistent=False)
        self.register_buffer("seen", torch.zeros(ENCODER["vocab_size"], dtype=torch.bool), persistent=False)

    def features(self, ids: Tensor, valid: Tensor) -> Tensor:
        """(n, L) → (n, L, text width), zero behind the end."""
        self.seen[ids] = True
        return self.t5(input_ids=ids, attention_mask=valid.long()).last_hidden_state * valid[..., None]

    def indicators(self) -> Tensor:
        """(10, text width): what the network adds to a frame that has this name."""
        return self.features(self.identifiers, self.identifiers_valid)[:, 0]

    def alike(self) -> Tensor:
        """How far the names are from being half their own length apart, 0 if all are.

        Without it the encoder gives all ten the same state, and then nothing can ever tell the pictures apart by name.
        """
        names = self.indicators().float()
        apart, wanted = torch.pdist(names), 0.5 * names.norm(dim=1).mean().detach()
        return ((wanted - apart).clamp(min=0) / wanted).mean()

    def prepare(self, texts: list[list[str]], frame_names: Tensor) -> Prepared:
        """Per frame a list of B texts, and the frames' names (N + 1, B) → projected texts, names and valid masks for `eps`."""
        unique = sorted({t for frame in texts for t in frame})
        index = {t: i for i, t in enumerate(unique)}
        device = self.identifiers.device
        ids, valid = (x.to(device) for x in self.tokenizer.batch(unique))
        features = self.features(ids, valid)
        rows = [torch.tensor([index[t] for t in frame], device=device) for frame in texts]
        in_order = torch.cat([frame_names[1:], frame_names[:1]])  # project_text takes the target's last
        projected, names = self.dit.project_text([features[r] for r in rows], self.indicators()[in_order.T])
        return projected, names, [valid[r] for r in rows]

    def eps(self, noisy: Tensor, timestep: Tensor, batch: Batch, prepared: Prepared, reuse: ContextReuse | None = None
            ) -> Tensor:
        """Noise of the target (B, 4, h, w)."""
        return predict(self.dit, noisy, timestep, batch, prepared, reuse)


@torch.no_grad()
def initialise(dit: DiT) -> None:
    """Xavier for the linear layers, small random tables, and a network that says zero at first."""
    for module in dit.modules():
        if isinstance(module, nn.Linear | nn.Conv2d):
            nn.init.xavier_uniform_(module.weight.flatten(1))
            nn.init.zeros_(module.bias)
        if isinstance(module, Attention):
            nn.init.ones_(module.norm_q.weight)
            nn.init.ones_(module.norm_k.weight)
    for linear in (dit.t_embedder.mlp[0], dit.t_embedder.mlp[2], dit.t_block[1]):
        nn.init.normal_(linear.weight, std=0.02)
    for module in (*dit.blocks, dit.final_layer):
        nn.init.normal_(module.scale_shift_table, std=module.scale_shift_table.shape[-1] ** -0.5)
    for block in dit.blocks:
        block.scale_shift_table[2::3] += 0.3  # gates open a little, so that every layer learns from the start
        nn.init.normal_(block.cross_attn.o.weight, std=0.02)
    start_from_input(dit)
    for block in dit.blocks:
        look_at_same_place(block.attn)


def start_from_input(dit: DiT) -> None:
    """At first the network answers with the noisy picture itself, which is nearly right where noise is strong."""
    c, out, p = dit.config.latent_channels, dit.config.out_channels, dit.config.patch_size
    hidden = dit.config.hidden_size
    cells = c * p * p
    into = nn.init.orthogonal_(torch.empty(hidden, cells)) if hidden >= cells else None
    linear = dit.final_layer.linear.weight
    nn.init.zeros_(linear)
    if into is not None:
        dit.x_embedder.proj.weight[:, :c] = into.reshape(hidden, c, p, p)
        back = rearrange(into, "d (c p q) -> p q c d", c=c, p=p) * (cells / hidden) ** 0.5  # undoes the norm before it
        linear.reshape(p, p, out, hidden)[:, :, :c] = back


def look_at_same_place(attention: Attention, share: float = 0.4, gain: float = 4.5) -> None:
    """At first some heads attend to their own place in every frame: most of an edited picture is a copy of another.

    A constant in the first channel pair of height and of width, which the rotary embedding turns by one radian per token.
    """
    hidden = attention.q.weight.shape[0]
    width = hidden // attention.heads
    spatial = 2 * (width // 6)
    rows = width - 2 * spatial
    for head in range(int(share * attention.heads)):
        for channel in (rows, rows + 1, rows + spatial, rows + spatial + 1):
            index = head * width + channel
            for linear in (attention.q, attention.k):
                linear.weight[index] = 0
                linear.bias[index] = 1
            attention.norm_q.weight[index] = gain


def save(model: TinyACE, weights: dict[str, Tensor], settings: dict, folder: Path = WEIGHTS) -> None:
    """Two fp16 files, keyed as the published weights and as T5 are; rows of words never trained on are zero."""
    dit = {k.removeprefix("dit."): v.half().cpu().contiguous() for k, v in weights.items() if k.startswith("dit.")}
    t5 = {k.removeprefix("t5."): v.half().cpu().contiguous() for k, v in weights.items()
          if k.startswith("t5.") and "embed_tokens" not in k}
    t5["shared.weight"][~model.seen.cpu()] = 0
    training = {"training": json.dumps(settings)}
    replace_file(folder / DIT_FILE, lambda path: save_file(dit, path, model.dit.config.metadata() | training))
    replace_file(folder / TEXT_FILE, lambda path: save_file(t5, path, {"t5_config": json.dumps(ENCODER)} | training))


def load(tokenizer: Tokenizer | None = None, folder: Path = WEIGHTS) -> TinyACE:
    """The shipped model. Raises FileNotFoundError with the way out."""
    for name in (DIT_FILE, TEXT_FILE):
        if not (folder / name).exists():
            raise FileNotFoundError(f"{folder / name} is missing: run python -m demo.trainer.train first.")
    dit = load_file(folder / DIT_FILE)
    with safe_open(folder / DIT_FILE, "pt") as file:
        config = ACEConfig.from_state_dict(dit, heads_in(file.metadata()))
    model = TinyACE(config, tokenizer or Tokenizer())
    model.dit.load_state_dict({k: v.float() for k, v in dit.items()})
    t5 = {k: v.float() for k, v in load_file(folder / TEXT_FILE).items()}
    model.t5.load_state_dict(t5 | {"encoder.embed_tokens.weight": t5["shared.weight"]})
    model.seen |= t5["shared.weight"].abs().sum(1) > 0
    return model


def network_of(model: TinyACE, base: str = "float32", device: str = "cpu") -> Network:
    """The model as the pack's trainer takes it: a frozen DiT, and texts' features remembered. base: see training.network."""
    @lru_cache(65536)
    @torch.no_grad()
    def features(text: str) -> Tensor:
        return model.features(*(x.to(model.identifiers.device) for x in model.tokenizer.batch([text])))[0].cpu()
    return Network(frozen(model.dit.state_dict(), model.dit.config, base, False, device), features, BASES[base])
