"""ACE Inspector in a real server: with and without attention, and that it leaves the sampler's picture as it is."""

import numpy as np
import pytest
import torch

from ace_model.comfyui.graph import node
from tools.comfy_server import PromptError

import graphs  # isort: skip

TURNS = [("make {image} night", ["a.png"], {0: "mask.png"}),
         ("{image} like {image1} and {previous.image}", ["b.png", "c.png"], {})]


def inspected(*more, **widgets):
    return graphs.loaders() | graphs.conversation(*TURNS) | {
        "inspect": node("ACEEditorInspector", lcu=["lcu", 0], clip=["clip", 0], **{
            name: [name, 0] for name in more}, **{
            "attention": False, "negative_instruction": "", "width": 0, "height": 0, "target_image": 0, "token_budget": 1024,
            "seed": graphs.SEED, "steps": graphs.STEPS, "guidance": graphs.GUIDANCE, "rescale": graphs.RESCALE,
            "first_step": 0.0, "last_step": 1.0, "first_block": 0, "last_block": 999} | widgets),
        "drawing": node("SaveImage", images=["inspect", 0], filename_prefix="drawing")}


def drawing(server, graph):
    return np.array(server.image(server.run(graph)["drawing"]["images"][0]))


def test_without_and_with_attention(server, base):
    plain = drawing(server, inspected())
    watched = drawing(server, inspected("model", "vae", attention=True))
    assert plain.shape[0] > 300 and watched.shape[0] > plain.shape[0], "a row for every word"
    cards = [plain[58:58 + 256, 24 + i * 276:24 + i * 276 + 256] for i in range(4)]
    assert all(card.std() > 5 for card in cards), "three pictures and the result"
    early = drawing(server, inspected("model", "vae", attention=True, last_step=0.0))
    assert early.shape == watched.shape and (early != watched).any()


def test_the_picture_stays_bit_identical(run):
    graph = graphs.tokens() | graphs.ace_sampler() | {"save": node("SaveLatent", samples=["latent", 0], filename_prefix="seen")}
    alone = run(graphs.loaders() | graphs.conversation(*TURNS) | graph)
    beside = run(inspected("model", "vae", attention=True) | graph)
    assert torch.equal(alone, beside)


def test_errors(server):
    with pytest.raises(PromptError, match="but vae is not connected: connect what is missing, or turn attention off"):
        server.run(inspected("model", attention=True))
    with pytest.raises(PromptError, match="no attention was read: choose blocks"):
        server.run(inspected("model", "vae", attention=True, first_block=5))
