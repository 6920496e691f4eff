"""Few steps: ACE Sampler's lcm against core's, and the demo model with its LoRA."""

import numpy as np
import pytest
import torch

from ace_model.comfyui.graph import node
from ace_model.record import Record, Settings, Turn
from ace_model.record_json import write
from demo.page import toys
from demo.requests import InputFiles, Sampling, to_tensor
from demo.score import Answerer, cases, measure, parser
from demo.trainer.model import WEIGHTS
from demo.world.judge import judge
from demo.world.tasks import TASKS
from tools.comfy_server import ComfyServer, PromptError
from tools.gallery.api import api_graph
from tools.gallery.build import workflows
from tools.gallery.models import DEMO_FAST

import graphs  # isort: skip

TITLE, FILE = "ACE Fast", WEIGHTS / "loras" / DEMO_FAST
CASES, SEED = 12, 98  # per task, of scenes that training did not see


def lcm(style, guidance, **more):
    """A request with lcm in four steps, through ACE's sampler or core's."""
    graph = graphs.edit(sampler=style, **more)
    if style == "ACE Sampler":
        graph["latent"]["inputs"] |= {"sampler": "lcm", "guidance": guidance}
    elif style == "KSampler":
        graph["latent"]["inputs"] |= {"sampler_name": "lcm", "cfg": guidance}
    else:
        graph["euler"]["inputs"]["sampler_name"] = "lcm"
        graph["guider"]["inputs"]["cfg"] = guidance
    return graph


@pytest.mark.parametrize("guidance", [1.0, graphs.GUIDANCE])
def test_lcm_of_ace_sampler_is_that_of_core(run, guidance):
    ours = run(lcm("ACE Sampler", guidance))
    assert torch.equal(run(lcm("SamplerCustomAdvanced", guidance)), ours)
    assert torch.allclose(run(lcm("KSampler", guidance)), ours, atol=1e-3 * ours.std()), "its levels are rounded in another way"
    assert not torch.allclose(run(graphs.edit() | graphs.ace_sampler(guidance=guidance)), ours, rtol=1e-2), "euler is another"


def test_without_guidance_the_negative_is_not_asked(run):
    dull, bright = ([run(lcm("ACE Sampler", much, negative=text)) for much in (1.0, 4.5)] for text in ("dull", "bright"))
    assert torch.equal(dull[0], bright[0]) and not torch.allclose(dull[1], bright[1], rtol=1e-3)


def test_a_graph_from_before_samples_with_euler(run):
    graph = graphs.edit()
    expected = run(graph)
    del graph["latent"]["inputs"]["sampler"]
    assert torch.equal(run(graph), expected)


def test_another_sampler_is_refused(server):
    graph = graphs.edit()
    graph["latent"]["inputs"]["sampler"] = "heun"
    with pytest.raises(PromptError, match="sampler: 'heun' not in"):
        server.submit(graph)


def test_a_conversation_takes_lcm(server):
    settings = Settings(steps=graphs.STEPS, guidance=1.0, sampler="lcm", width=64, height=48)
    record = Record((Turn("a", None, "a blue cup", seed=graphs.SEED, settings=settings),), "a")
    chat = graphs.loaders() | {
        "chat": node("ACEEditorConversation", model=["model", 0], clip=["clip", 0], vae=["vae", 0], record=write(record)),
        "shown": node("SaveImage", images=["chat", 0], filename_prefix="chat")}
    wired = lcm("SamplerCustomAdvanced", 1.0, turns=[("a blue cup", [], {})], width=64, height=48) | graphs.show()
    del wired["save"]
    first, second = (np.asarray(server.image(server.run(graph)["shown"]["images"][0])) for graph in (chat, wired))
    assert np.array_equal(first, second)


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """A ComfyUI as the demo starts it."""
    with ComfyServer(tmp_path_factory.mktemp("comfyui_fast")) as server:
        yield server


def test_the_template_answers_right_and_as_core_does(demo):
    toy = toys.toy(TITLE)
    graph, (saved,) = toys.toy_graph(TITLE, toy, InputFiles(demo.base / "input"), Sampling())
    (key,) = (key for key, one in graph.items() if one["class_type"] == "ACEEditorSampler")
    given = graph[key]["inputs"]
    assert (given["steps"], given["guidance"], given["sampler"]) == (4, 1.0, "lcm")
    assert graph[given["model"][0]]["class_type"] == "LoraLoaderModelOnly"
    answer = demo.image(demo.run(graph)[saved]["images"][0]).convert("RGB")
    assert judge(toy.steps[0], to_tensor(answer))[0]
    core = {name: one for name, one in graph.items() if name != key} | {
        "sigmas": node("ACEEditorScheduler", model=given["model"], steps=4, denoise=1.0),
        "sampler": node("KSamplerSelect", sampler_name="lcm"), "noise": node("RandomNoise", noise_seed=given["seed"]),
        "guider": node("BasicGuider", model=given["model"], conditioning=given["positive"]),
        key: node("SamplerCustomAdvanced", noise=["noise", 0], guider=["guider", 0], sampler=["sampler", 0],
                  sigmas=["sigmas", 0], latent_image=given["latent"])}
    assert np.array_equal(demo.image(demo.run(core)[saved]["images"][0]).convert("RGB"), answer)


def test_turns_after_a_fast_one_have_the_model_without_the_lora():
    graph = api_graph(workflows()[TITLE](TITLE))
    (packed,) = (one["inputs"] for one in graph.values() if one["class_type"] == "ACEEditorPackConversation")
    assert graph[packed["model"][0]]["class_type"] == "ACEEditorLoadModel"


def right(*arguments) -> int:
    """How many of the same cases are."""
    answerer = Answerer(parser().parse_args([*arguments, "--device", "cpu"]))
    asked = [cases(SEED, task, CASES) for task in TASKS]
    return sum(ok for samples in asked for _, ok, _ in measure(answerer(samples), samples))


@pytest.fixture(scope="module")
def right_in_full():
    return right()


@pytest.mark.parametrize("steps", [2, 4])
def test_few_steps_answer_nearly_as_often_as_all(steps, right_in_full):
    """README's table is of many more cases."""
    found = right("--sampler", "lcm", "--guidance", "1", "--steps", str(steps), "--lora", str(FILE))
    assert found >= right_in_full - 0.07 * CASES * len(TASKS)
