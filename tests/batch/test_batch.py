"""Batches on Ray: nothing lost or made twice, whatever is killed; the same pictures as a real ComfyUI and ace_model alone."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ace_model.comfyui import graph as graphs
from ace_model.record_json import read
from batch import sinks
from tests.bench import batch
from tools.comfy_server import ComfyServer, free_port
from tools.gallery.models import DEMO_DIT, DEMO_T5, DEMO_VAE

DRAWN = (str(Path(__file__).with_name("drawn_batch.py")),)
COUNT = 40


def ran(*args, program=("-m", "batch")) -> str:
    code, text = batch.finished(batch.command(*args, program=program))
    assert code == 0, text
    return text


def refused(*args, program=DRAWN) -> str:
    code, text = batch.finished(batch.command(*args, program=program))
    assert code == 1 and "Traceback" not in text, text
    return text


def rows_of(out: Path) -> dict[int, dict]:
    return {row["row"]: row for row in sinks.read(out)}


# ---- a worker that draws

@pytest.fixture(scope="module")
def listed(tmp_path_factory):
    """A list with one request that ends its worker, one whose picture is missing, and a double."""
    folder = tmp_path_factory.mktemp("listed")
    Image.new("RGB", (32, 32), "red").save(folder / "a.png")
    words = [f"make {{image}} number {i}" for i in range(COUNT)]
    words[7] += ": end the worker"
    lines = [{"version": 1, "at": "t", "turns": [{"id": "t", "instruction": text, "images": [{"file": "a.png"}]}]}
             for text in words]
    lines[11]["turns"][0]["images"][0]["file"] = "gone.png"
    lines.append(lines[3])
    (folder / "list.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return folder / "list.jsonl"


@pytest.fixture(scope="module")
def killed(listed, tmp_path_factory):
    """(folder, what was said) of a run that lost two workers by their own request, two more and its driver."""
    out = tmp_path_factory.mktemp("killed") / "out"
    told = batch.disturbed(out, (2, 8, 16), listed, out, "--demo", "--workers", 2, "--rows", 2, program=DRAWN)
    return out, "\n".join(told)


def test_what_is_killed_loses_nothing_and_makes_nothing_twice(killed):
    out, _ = killed
    found = rows_of(out)
    assert sorted(found) == list(range(1, COUNT + 1)) and len(list(sinks.read(out))) == COUNT
    assert {row for row, each in found.items() if each["error"]} == {8, 12}
    assert all((each["picture"] is None) == bool(each["error"]) for each in found.values())


def test_a_request_that_always_ends_its_worker_is_given_up_and_told(killed):
    out, told = killed
    assert "given up: 3 times" in rows_of(out)[8]["error"] and "gone.png is not there" in rows_of(out)[12]["error"]
    again = [json.loads(line) for line in (out / "errors.jsonl").read_text(encoding="utf-8").splitlines()]
    assert len(again) == 2 and "38 pictures, 2 errors" in told and "1 doubles" in told
    assert "given up" in (out / "ACE batch.html").read_text(encoding="utf-8")


def test_a_run_that_is_over_begins_nothing(killed, listed):
    assert "all of them are done" in ran(listed, killed[0], "--demo", program=DRAWN)


@pytest.mark.parametrize("change", ["requests", "format", "folder", "inside"])
def test_a_folder_of_another_run_is_refused(change, killed, listed, tmp_path):
    out, source, more = killed[0], listed, []
    if change == "requests":
        source = shutil.copy(listed, listed.with_name("other.jsonl"))
        Path(source).write_text(listed.read_text() + "\n", encoding="utf-8")
    if change == "format":
        more = ["--format", "files"]
    if change == "folder":
        out = tmp_path
        (out / "something.txt").touch()
    if change == "inside":
        source, out, more = listed.parent, listed.parent / "out", ["--instruction", "make {image} night"]
    text = refused(source, out, "--demo", *more)
    assert {"folder": "is not empty", "inside": "give a folder beside it"}.get(change, "holds another run") in text


def test_the_same_folder_twice_at_a_time_is_refused(listed, tmp_path):
    first = batch.command(listed, tmp_path / "out", "--demo", program=DRAWN)
    try:
        assert batch.until((tmp_path / "out" / "run.json").is_file, first)
        assert "another run is at work" in refused(listed, tmp_path / "out", "--demo")
    finally:
        first.kill()
        first.wait()


def test_a_plan_that_ray_would_run_without_its_checkpoint_is_not_begun(listed, tmp_path, monkeypatch):
    monkeypatch.setenv("UNSUITED", "yes")
    text = refused(listed, tmp_path / "out", "--demo")
    assert "without a checkpoint" in text
    assert not list((tmp_path / "out").glob("answers/*"))


# ---- a cluster

@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """The address of a Ray that was started by hand, with a token of its own."""
    with pytest.MonkeyPatch.context() as variables:
        for name, value in (("RAY_AUTH_TOKEN", "0" * 64), ("RAY_AUTH_MODE", "token"), ("RAY_USAGE_STATS_ENABLED", "0")):
            variables.setenv(name, value)
        port = free_port()
        command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block", f"--port={port}", "--num-cpus=4",
                   "--include-dashboard=false", "--object-store-memory=200000000",
                   f"--temp-dir={tmp_path_factory.mktemp('ray')}"]
        head = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
        try:
            assert batch.until(lambda: answers("127.0.0.1", port), head)
            yield f"127.0.0.1:{port}"
        finally:
            os.killpg(head.pid, signal.SIGTERM)
            head.wait(60)


def answers(host: str, port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((host, port)) == 0


def test_on_a_cluster_every_machine_is_asked_and_the_answers_are_the_same(killed, listed, cluster, tmp_path):
    ran(listed, tmp_path / "out", "--demo", "--tries", 1, "--address", cluster, program=DRAWN)
    pictures = {row: each["picture"] for row, each in rows_of(tmp_path / "out").items()}
    assert pictures == {row: each["picture"] for row, each in rows_of(killed[0]).items()}
    assert not list((tmp_path / "out").glob(".seen-*"))


def test_a_machine_without_the_weights_is_named(listed, cluster, tmp_path):
    text = refused(listed, tmp_path / "out", "--demo", "--lora", "gone.safetensors", "--address", cluster)
    assert "not every machine is ready" in text and "gone.safetensors" in text
    assert socket.gethostname() in text


def test_a_cluster_with_another_ray_is_refused(listed, cluster, tmp_path, monkeypatch):
    monkeypatch.setenv("OTHER_RAY", "yes")
    text = refused(listed, tmp_path / "out", "--demo", "--address", cluster)
    assert "runs another Ray or Python" in text


# ---- the demo model

@pytest.fixture(scope="module")
def asked(tmp_path_factory):
    return batch.write_requests(tmp_path_factory.mktemp("asked"), 60, steps=2)


@pytest.fixture(scope="module")
def undisturbed(asked, tmp_path_factory):
    out = tmp_path_factory.mktemp("undisturbed") / "out"
    ran(asked, out, "--demo", "--threads", 1, "--format", "files")
    return out


def test_pictures_of_a_run_that_was_killed_are_the_same_bytes(asked, undisturbed, tmp_path):
    """In another format, too."""
    batch.disturbed(tmp_path / "out", (6, 20), asked, tmp_path / "out", "--demo", "--threads", 1, "--workers", 2,
                    "--rows", 3, "--format", "webdataset")
    found, expected = batch.answers(tmp_path / "out"), batch.answers(undisturbed)
    assert found == expected and len(found) == 60 and not any(" " in each for each in found.values()), "none is an error"


def graph_of(record, key: str) -> dict:
    """A record whose last turn takes nobody's answer, as the nodes that a person would connect."""
    graph, history = {}, None
    for turn in record.branch():
        images, masks = [], {}
        for i, picture in enumerate(turn.images):
            graph[f"load {picture.file}"] = graphs.node("LoadImage", image=picture.file)
            images.append([f"load {picture.file}", 0])
            if i < len(turn.masks) and turn.masks[i]:
                mask = turn.masks[i].file
                graph[f"mask {mask}"] = graphs.node("LoadImageMask", image=mask, channel="red")
                masks[i] = [f"mask {mask}", 0]
        name, chosen = f"{key} {turn.id}", turn.settings
        graph |= graphs.turn(name, turn.instruction, images, masks, turn.blank, history, {
            "width": chosen.width, "height": chosen.height, "target_image": chosen.target_image}, {
            "seed": turn.seed, "steps": chosen.steps, "guidance": chosen.guidance, "rescale": chosen.rescale}, True)
        history = [f"{name} lcu", 0]
    result = [f"{name} image", 0]
    if chosen.target_image in masks:
        graph[f"{key} paste"] = graphs.node("ACEEditorKeepUntouched", original=images[chosen.target_image], result=result,
                                            mask=masks[chosen.target_image], grow=chosen.grow, feather=chosen.feather)
        result = [f"{key} paste", 0]
    return graph | {key: graphs.node("PreviewImage", images=result)}


def levels(image) -> np.ndarray:
    return np.asarray(Image.open(image).convert("RGB") if isinstance(image, Path) else image.convert("RGB")).astype(int)


@pytest.fixture(scope="module")
def compared(undisturbed):
    """Twenty of the requests: [(row, record, levels that the batch made)]."""
    rows = sorted(sinks.read(undisturbed), key=lambda row: row["row"])[:20]
    return [(row["id"], read(row["request"]), levels(undisturbed / row["file"])) for row in rows]


def test_a_graph_in_a_real_comfyui_gives_the_same_pixels(compared, asked, tmp_path):
    """Bit for bit: the same functions on the same machine."""
    (tmp_path / "input").mkdir()
    for path in asked.parent.glob("*.png"):
        shutil.copy(path, tmp_path / "input")
    graph = graphs.loaders(DEMO_DIT, DEMO_T5, DEMO_VAE)
    for name, record, _ in compared:
        graph |= graph_of(record, name)
    with ComfyServer(tmp_path) as server:
        outputs = server.run(graph)
        for name, _, expected in compared:
            assert np.array_equal(levels(server.image(outputs[name]["images"][0])), expected)


def test_ace_model_alone_gives_the_same_pictures_to_a_level(compared, asked):
    """Its sums are in another order."""
    alone = batch.Alone()
    for _, record, expected in compared:
        found = (alone(record, asked.parent)[0] * 255).clamp(0, 255).numpy().astype(np.uint8).astype(int)
        assert np.abs(found - expected).max() <= 1


def test_larger_batches_give_the_same_pictures_to_a_level(asked, undisturbed, tmp_path):
    ran(asked, tmp_path / "out", "--demo", "--threads", 1, "--batch", 8)
    found, expected = ({row["row"]: row for row in sinks.read(out)} for out in (tmp_path / "out", undisturbed))
    for row, each in found.items():
        (tmp_path / "picture.png").write_bytes(each["picture"])
        assert np.abs(levels(tmp_path / "picture.png") - levels(undisturbed / expected[row]["file"])).max() <= 1


# ---- any workflow

FLOW = Path(__file__).parents[2] / "batch" / "workflows" / "ACE Edit.json"
COLUMNS = {"LoadImage.image": "photo", "ACEEditorConditionUnit.instruction": "words", "ACEEditorSampler.seed": "seed",
           "ACEEditorSampler.steps": "steps", "ACEEditorSampler.guidance": "guidance", "ACEEditorSampler.rescale": "rescale",
           "ACEEditorLoadModel.model_name": "model", "ACEEditorLoadTextEncoder.text_encoder_name": "text_encoder",
           "VAELoader.vae_name": "vae"}


def test_a_shipped_workflow_for_each_row_on_a_comfyui_of_the_workers_own(asked, undisturbed, tmp_path):
    """The pictures are those of ACE in process, bit for bit; a row that ComfyUI refuses is an error."""
    expected, rows = {}, []
    for row in sinks.read(undisturbed):
        record = read(row["request"])
        turn = record[record.at]
        if len(record.turns) == len(turn.images) == 1 and not any(turn.masks):
            rows.append({"photo": turn.images[0].file, "words": turn.instruction, "seed": turn.seed,
                         **{name: getattr(turn.settings, name) for name in ("steps", "guidance", "rescale")},
                         "model": DEMO_DIT, "text_encoder": DEMO_T5, "vae": DEMO_VAE})
            expected[len(rows)] = levels(undisturbed / row["file"])
    rows.append(rows[0] | {"words": "make {image7} night"})
    source = asked.with_name("rows.jsonl")
    source.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    values = [part for place, column in COLUMNS.items() for part in ("--set", f"{place}={column}")]
    ran(source, tmp_path / "out", "--workflow", FLOW, *values, "--format", "files")
    found = rows_of(tmp_path / "out")
    assert len(expected) > 5 and "names {image7}" in found[len(rows)]["error"]
    for row, picture in expected.items():
        assert np.array_equal(levels(tmp_path / "out" / found[row]["file"]), picture)
