"""What the text encoder and the VAE are asked for in a real server, run after run."""

from collections import Counter
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from ace_model.comfyui.graph import node
from ace_model.record import Picture, Record, Settings, Turn
from ace_model.record_json import write
from tools.comfy_server import PACK_NAME, ComfyServer, link_folder

import graphs  # isort: skip

HELPER = Path(__file__).with_name("counting_pack")
OTHER = ("taesd_other.safetensors", "t5_lora.safetensors")


@pytest.fixture(scope="module")
def counting(base):
    (base / "custom_nodes").mkdir(exist_ok=True)
    link_folder(base / "custom_nodes" / HELPER.name, HELPER)
    vae, t5 = (load_file(base / "models" / f"{name}_tiny.safetensors") for name in ("vae/taesd", "text_encoders/t5"))
    save_file({key: value * 1.01 for key, value in vae.items()}, base / "models/vae" / OTHER[0])
    name = next(key for key in t5 if key.endswith("SelfAttention.q.weight"))
    rows, columns = t5[name].shape
    prefix = "text_encoders.t5xxl.transformer." + name.removesuffix(".weight")
    save_file({f"{prefix}.lora_up.weight": torch.ones(rows, 1), f"{prefix}.lora_down.weight": torch.ones(1, columns)},
              base / "models/loras" / OTHER[1])
    with ComfyServer(base, extra_args=["--whitelist-custom-nodes", PACK_NAME, HELPER.name]) as server:
        yield server


@pytest.fixture
def asked(counting):
    """asked(graph) → how often each was asked for, and the server's outputs."""
    def asked(graph, **extra):
        before = len(counting.log)
        outputs = counting.run(graph, **extra)
        return Counter(line.rsplit(" ", 1)[1] for line in counting.log[before:].splitlines() if "COUNTED" in line), outputs
    return asked


def edit(picture="a.png", text="make {image} blue", **loaders):
    graph = graphs.loaders() | graphs.conversation((text, [picture], {})) | graphs.tokens() | graphs.ace_sampler()
    for name, links in loaders.items():
        graph[name] = links
    return graph | {"save": node("SaveLatent", samples=["latent", 0], filename_prefix="once")}


def test_another_picture_wakes_no_text_encoder_and_other_words_no_vae(asked):
    assert asked(edit())[0] == {"text": 12, "pass": 4, "load": 1, "picture": 1}, (
        "the instruction, the empty text, {image}, the nine names with a number")
    assert asked(edit("b.png"))[0] == {"picture": 1}
    assert asked(edit("b.png", "make {image} red"))[0] == {"text": 1, "pass": 1, "load": 1}
    assert asked(edit("a.png", "make {image} red"))[0] == {}
    assert asked(edit("a.png", "make {image} blue, really"))[0] == {"text": 1, "pass": 1, "load": 1}


def test_what_is_patched_or_swapped_encodes_anew(asked):
    asked(edit())
    lora = {"tuned": node("LoraLoader", model=["model", 0], clip=["clip", 0], lora_name=OTHER[1], strength_model=0.0,
                          strength_clip=0.5)}
    graph = edit() | lora
    graph["tokens"]["inputs"]["clip"] = ["tuned", 1]
    found, _ = asked(graph)
    assert found["text"] == 12 and not found["picture"]
    other = edit()
    other["vae"]["inputs"]["vae_name"] = OTHER[0]
    assert asked(other)[0] == {"picture": 1}
    assert not asked(edit())[0]["text"], "the first text encoder is still there, and so is what it read"


def talk(turns):
    record = Record(tuple(turns), turns[-1].id)
    return graphs.loaders() | {"chat": node("ACEEditorConversation", model=["model", 0], clip=["clip", 0], vae=["vae", 0],
                                            record=write(record))}


@pytest.mark.parametrize(("settings", "most"), [(Settings(steps=1), 6), (Settings(steps=1, max_rounds=9), 9)])
def test_a_further_turn_encodes_one_picture_and_one_text(asked, settings, most):
    """Until forgetting begins: from then on the names in all turns that stay count anew, by default in five and the new one."""
    turns, counts = [], []
    for i in range(most + 3):
        picture = Picture(answer_of=f"t{i - 1}") if i else Picture("c.png", "input")
        turns.append(Turn(f"t{i}", f"t{i - 1}" if i else None, f"change number {i} of {most} in {{image}}", (picture,), seed=i,
                          settings=settings))
        counts.append(asked(talk(turns))[0])
    assert all(each == {"text": 1, "pass": 1, "load": 1, "picture": 1} for each in counts[1:most]), counts
    assert all(each == {"text": most, "pass": most, "load": 1, "picture": 1} for each in counts[most:]), counts


def test_what_is_remembered_is_what_a_new_server_computes(base, asked):
    _, outputs = asked(edit("a.png", "make {image} red"))
    with ComfyServer(base) as fresh:
        new = fresh.run(edit("a.png", "make {image} red"))
    infos = (each["save"]["latents"][0] for each in (outputs, new))
    first, second = (load_file(base / "output" / info["subfolder"] / info["filename"])["latent_tensor"] for info in infos)
    assert torch.equal(first, second)
