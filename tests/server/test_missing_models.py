"""Templates opened without the models, or with models of other names: what ComfyUI says names the file and the widget."""

import re

import pytest
import requests

from tools import tiny_models
from tools.comfy_server import ComfyServer
from tools.gallery.api import api_graph
from tools.gallery.build import workflows
from tools.gallery.descriptions.data import WORKFLOWS as DATA
from tools.gallery.models import DIT, T5, VAE, by_name

GRAPHS = {title: api_graph(describe(title)) for title, describe in workflows().items()}
BUNDLED = ("ACE Start here", "ACE Talk to your pictures", "ACE What the model sees", "ACE Fast",  # the demo's files come along
           *DATA)  # and these need none
OTHERS = {DIT.name: "my ace.safetensors", T5.name: "my t5.safetensors", VAE.name: "my vae.safetensors"}
MADE = {DIT: tiny_models.ace, T5: tiny_models.t5, VAE: tiny_models.tiny_vae}


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """A ComfyUI without any model but the demo's."""
    base = tmp_path_factory.mktemp("comfyui_without_models")
    (base / "input" / "my subject").mkdir(parents=True)  # the examples of ACE Teach a subject are no model
    with ComfyServer(base) as server:
        yield server


def refusal(server, graph: dict) -> dict:
    answer = requests.post(f"{server.url}/prompt", json={"prompt": graph, "client_id": server.client_id}, timeout=60)
    assert answer.status_code == 400
    return answer.json()


@pytest.mark.parametrize("title", [title for title in GRAPHS if title not in BUNDLED])
def test_every_missing_file_is_named_with_its_widget(server, title):
    graph = GRAPHS[title]
    wanted = {(key, name, value) for key, node in graph.items() for name, value in node["inputs"].items() if by_name(value)}
    assert wanted
    told = set()
    for key, node in refusal(server, graph)["node_errors"].items():
        for error in node["errors"]:
            name, file = re.match(r"(\w+): '(.+?)' not in", error["details"]).groups()
            assert error["type"] == "value_not_in_list" and name == error["extra_info"]["input_name"]
            told.add((key, name, file))
    assert told == wanted


def test_the_bundled_model_is_never_missing(server):
    for title in BUNDLED:
        assert server.submit(GRAPHS[title])  # ComfyUI found nothing wrong; test_workflows.py runs it
    server.interrupt()


def test_models_of_other_names_are_offered_and_run(tmp_path):
    """The refusal lists the files that are there; chosen on the box, they run."""
    for model, make in MADE.items():
        tiny_models.save(make(), tmp_path / "models" / model.directory / OTHERS[model.name])
    graph = {key: {**node, "inputs": {**node["inputs"], **({"steps": 1} if "steps" in node["inputs"] else {})}}
             for key, node in GRAPHS["ACE Edit"].items()}
    with ComfyServer(tmp_path) as server:
        at_fault = refusal(server, graph)["node_errors"].values()
        told = "\n".join(error["details"] for node in at_fault for error in node["errors"])
        assert all(f"'{name}' not in" in told and f"'{other}'" in told for name, other in OTHERS.items()), told
        chosen = {key: {**node, "inputs": {name: OTHERS.get(value, value) if isinstance(value, str) else value
                                           for name, value in node["inputs"].items()}} for key, node in graph.items()}
        assert any("images" in output for output in server.run(chosen).values())
