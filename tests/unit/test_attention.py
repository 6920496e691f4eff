"""The attention that the inspector reads, against dense attention from the equations."""

from types import SimpleNamespace

import pytest
import torch
from PIL import Image

from ace_model.comfyui.attention import AttentionError, Watch
from ace_model.config import ACEConfig
from ace_model.dit import DiT
from ace_model.drawing import Card, draw, words_in
from ace_model.rope import rotate

CONFIG = ACEConfig(hidden_size=48, depth=3, num_heads=2, text_width=24)
SIZES = [(8, 4), (4, 4), (6, 10)]  # latent cells of the frames, target first


class Watched(DiT):
    """The network as a host runs it, with a watch at every attention."""

    watch: Watch
    options: dict

    def run_blocks(self, x, y, t0, rope, lengths, call):
        for i, block in enumerate(self.blocks):
            def attention(q, k, v, i=i):
                self.watch._see(q, k, {**self.options, "block_index": i})
                return self.attention(q, k, v)
            x = block(x, y, t0, rope, lengths, attention)
        return x


def network(batch=2, texts=(5, 3, 7)):
    generator = torch.Generator().manual_seed(1)
    model = Watched(CONFIG).eval()
    model.load_state_dict({key: torch.randn(value.shape, generator=generator) / max(value.shape[-1], 1) ** 0.5
                           for key, value in model.state_dict().items()})
    latents = [torch.randn(batch, 4, *size, generator=generator) for size in SIZES]
    masks = [torch.ones(batch, 1, *size) for size in SIZES]
    features = [torch.randn(batch, length, 24, generator=generator) for length in texts]
    words, names = model.project_text(features, torch.randn(batch, 10, 24, generator=generator))
    return model, (latents[0], torch.full((batch,), 500.0), masks[0], latents[1:], masks[1:], words, names)


def normed(x, weight):
    return x / (x.square().mean(-1, keepdim=True) + 1e-6).sqrt() * weight


def dense(model, inputs, chosen, blocks):
    """(shares, words per frame) from the layers' outputs: softmax(q·k/√d) written out."""
    kept = {}
    hooks = [linear.register_forward_hook(lambda module, x, out, key=(i, kind, part): kept.update({key: out}))
             for i, block in enumerate(model.blocks) for kind in ("attn", "cross_attn") for part in ("q", "k")
             for linear in [getattr(getattr(block, kind), part)]]
    model(*inputs)
    for hook in hooks:
        hook.remove()
    frames, texts = [h * w // 4 for h, w in SIZES], [text.shape[1] for text in inputs[5]]
    table = model.rope(tuple((h // 2, w // 2) for h, w in SIZES), torch.device("cpu"))
    shares, words = torch.zeros(3), [torch.zeros(n, m) for n, m in zip(frames, texts, strict=True)]
    for i in blocks:
        for kind in ("attn", "cross_attn"):
            weight = getattr(model.blocks[i], kind).norm_q.weight
            q, k = (normed(kept[i, kind, part], weight).unflatten(2, (2, 24)).transpose(1, 2) for part in ("q", "k"))
            if kind == "attn":
                q, k = rotate(q, table), rotate(k, table)
            scores = torch.einsum("bhnd,bhmd->bhnm", q, k) / 24**0.5
            if kind == "attn":
                parts = (scores.exp() / scores.exp().sum(-1, keepdim=True))[:, :, :frames[0]][:, :, chosen].split(frames, -1)
                shares += torch.stack([part.sum(-1).mean() for part in parts]) / len(blocks)
            else:
                for f, (rows, found) in enumerate(zip(scores.split(frames, 2), words, strict=True)):
                    own = rows.split(texts, 3)[f]
                    found += (own.exp() / own.exp().sum(-1, keepdim=True)).mean((0, 1)) / len(blocks)
    return shares, words


@pytest.mark.parametrize("blocks", [(0, 999), (1, 1), (0, 1)])
@torch.no_grad()
def test_equal_to_dense_attention_in_every_frame(blocks):
    model, inputs = network()
    chosen = torch.arange(8) % 3 == 0
    exact_shares, exact_words = dense(Watchless(model), inputs, chosen, [i for i in range(3) if blocks[0] <= i <= blocks[1]])
    watch = Watch([8, 4, 15], [5, 3, 7], chosen, blocks)
    model.watch, model.options = watch, {"cond_or_uncond": [0]}
    model(*inputs)
    assert (watch.shares - exact_shares).abs().max() < 1e-5 and watch.shares.sum().item() == pytest.approx(1, abs=1e-5)
    for found, exact in zip(watch.words, exact_words, strict=True):
        assert (found - exact).abs().max() < 1e-5


@torch.no_grad()
def test_only_the_positive_branch_and_the_chosen_steps_count():
    model, inputs = network(batch=4)
    sigmas = torch.tensor([4.0, 3.0, 2.0, 1.0, 0.0])
    found = []
    for options in ([1, 0], [0, 1]):
        model.watch = Watch([8, 4, 15], [5, 3, 7], torch.ones(8, dtype=torch.bool), steps=(0.0, 0.4))
        for step in range(4):
            model.options = {"cond_or_uncond": options, "sample_sigmas": sigmas, "sigmas": sigmas[step:step + 1]}
            model(*inputs)
        assert model.watch._seen == 2 * 3  # steps 0 and 1 of 0…3, three blocks
        found.append(model.watch.shares)
    half = tuple(part[2:] if torch.is_tensor(part) else [each[2:] for each in part] for part in inputs)
    exact, _ = dense(Watchless(model), half, torch.ones(8, dtype=torch.bool), range(3))
    assert (found[0] - exact).abs().max() < 1e-5 and (found[1] - exact).abs().max() > 1e-4


def Watchless(model):
    """The same weights without a watch."""
    plain = Watched(CONFIG).eval()
    plain.watch, plain.options = SimpleNamespace(_see=lambda *_: None), {}
    plain.load_state_dict(model.state_dict())
    return plain


@torch.no_grad()
def test_errors():
    model, inputs = network()
    model.watch, model.options = Watch([8, 4], [5, 3], torch.ones(8, dtype=torch.bool)), {}
    with pytest.raises(AttentionError, match="from 27 to 27 tokens, but from 12 to 12"):
        model(*inputs)
    with pytest.raises(AttentionError, match="no attention was read: choose blocks"):
        print(Watch([8], [5], torch.ones(8, dtype=torch.bool)).shares)


def test_words_and_their_tokens():
    text = "make {image1} red, and {previous.image} too"
    offsets = [(0, 4), (4, 6), (6, 11), (11, 12), (12, 13), (13, 17), (17, 18), (18, 22), (22, 24), (24, 39), (39, 43)]
    words = words_in(text, offsets)
    assert [word for word, _ in words] == ["make", "{image1}", "red,", "and", "{previous.image}", "too"]
    assert dict(words)["{image1}"] == [1, 2, 3, 4] and dict(words)["red,"] == [5, 6]


def test_a_drawing_shows_pictures_masks_and_maps():
    red = torch.zeros(32, 64, 3)
    red[..., 0] = 1
    mask = torch.zeros(32, 64)
    mask[:, :32] = 1
    cards = [Card("turn 1", "{image}", 0, (32, 64), (2, 4), ["make", " it", " blue"], red, mask, cut=3, share=0.25),
             Card("result", "{image1}", 1, (32, 64), (2, 4), ["make"], share=0.75)]
    heat = torch.zeros(2, 4)
    heat[:, 3] = 1
    image = draw(cards, "2 turns", [("it", [heat, None])])
    assert image.shape[0] == 1 and image.min() >= 0 and image.max() <= 1
    page = Image.fromarray((image[0] * 255).byte().numpy())
    colors = {page.getpixel((24 + 120 + 240, 58 + 128)), page.getpixel((24 + 120 + 20, 58 + 128))}
    assert (255, 0, 0) in colors and len(colors) == 2, "the masked half is tinted, the other is the picture's own red"
    gold = [page.getpixel((x, page.height - 24 - 148 + 32)) for x in (24 + 120 + 128 - 60, 24 + 120 + 128 + 60)]
    assert gold[1][1] > gold[0][1] + 60, "the map is bright where the word is looked at"


def test_a_heading_wider_than_the_cards_is_whole():
    card = Card("result", "", 0, (32, 64), (2, 4), ["make"])
    heading = "1 turn and a heading that is as long as that of one with many settings"
    ink = [int((draw([card] * count, heading)[0, :40] > 0.5).sum()) for count in (1, 4)]
    assert ink[0] == ink[1] > 0
