"""The conversation panel in the real page, with the demo model: what a person does, and what is then in the workflow."""

import json
import re
import shutil

import pytest
from PIL import Image

from demo.page.toys import TOY, asked
from demo.requests import to_tensor
from demo.world.judge import judge
from demo.world.tasks import MULTI_TURN
from starters.pictures import file_of
from tests.browser.panel import fresh, open_panel, record, say, take_in, talk
from tools import tiny_models
from tools.browser import open_page
from tools.comfy_server import ComfyServer

BACK = "{image} with the colors of {previous2.image}"  # tests/server/test_conversation.py: it takes the history to answer this


@pytest.mark.parametrize("nodes_2", [False, True], ids=["classic", "nodes 2.0"])
def test_three_turns_a_branch_another_seed_and_back(frontends, nodes_2):
    page, server = frontends
    page.nodes_2(nodes_2)
    page.errors.clear()  # core's own, at its start
    panel = fresh(page)
    panel.locator("input[type=file]").set_input_files(server.base / "input" / file_of("toy scene"))
    panel.locator(".ace-attachment img").wait_for()
    page.tab.evaluate("() => { document.querySelector('.ace-settings').open = true }")
    for label, value in (("Guidance", "1.5"), ("Rescale", "0")):
        panel.get_by_label(label).fill(value)
    for count, text in enumerate(("make the red star in {image} purple", "show {image} at night", BACK), 1):
        panel.get_by_label("Seed", exact=True).fill("7")  # the same answers each time: they are judged
        say(page, panel, text, count)
    first, second, third = record(page)["turns"]
    assert [turn["parent"] for turn in (first, second, third)] == [None, first["id"], second["id"]]
    assert second["images"] == [{"answer_of": first["id"]}] and third["settings"]["guidance"] == 1.5
    answer = Image.open(server.base / "output" / third["answer"]["file"]).convert("RGB")
    assert judge(asked(MULTI_TURN, BACK, [TOY], TOY.but(light="night")), to_tensor(answer))[0], "the star is red again"

    panel.locator(".ace-turn").first.get_by_label("Go on from here").click()
    say(page, panel, "make the star in {image} blue", 2)
    panel.locator(".ace-turn").last.get_by_label("Another seed").click()
    panel.get_by_text("3 of 3").wait_for()
    page.tab.wait_for_function("() => document.querySelectorAll('.ace-turn.done').length === 2", timeout=120000)
    made = record(page)
    ids = [turn["id"] for turn in made["turns"]]
    assert [turn["parent"] for turn in made["turns"]] == [None, ids[0], ids[1], ids[0], ids[0]] and made["at"] == ids[4]
    assert made["turns"][3]["seed"] != made["turns"][4]["seed"] and len({turn["answer"]["key"] for turn in made["turns"]}) == 5
    for _ in range(2):
        panel.locator(".ace-turn").last.get_by_label("Branch before").click()
        page.tab.wait_for_timeout(100)
        if record(page)["at"] == ids[2]:
            break
        page.settle()
    assert record(page)["at"] == ids[2] and panel.locator(".ace-turn").count() == 3, "the first branch, to its end"

    panel.locator(".ace-turn").last.get_by_label("Compare with the original").click()
    dialog = page.tab.locator("dialog.ace-dialog")
    assert dialog.locator("img").count() == 2
    dialog.get_by_role("slider").fill("80")
    assert "20%" in dialog.locator(".ace-original").get_attribute("style"), "four fifths are the original"
    page.tab.keyboard.press("Escape")
    assert not dialog.count()

    answer = Image.open(server.base / "output" / record(page)["turns"][2]["answer"]["file"])
    page.load(json.loads(answer.info["workflow"]))
    page.tab.wait_for_timeout(700)
    assert panel.locator(".ace-turn.done").count() == 3, "the saved picture opens as the same conversation"
    assert page.errors == []


def test_another_server_makes_the_same_bits_without_a_page(page, server, tmp_path):
    """The workflow as the page submits it, on a server that has the models and the picture, but none of the answers."""
    panel = fresh(page)
    panel.locator("input[type=file]").set_input_files(server.base / "input" / file_of("toy scene"))
    panel.locator(".ace-attachment img").wait_for()
    page.tab.evaluate("() => { document.querySelector('.ace-settings').open = true }")
    for label, value in (("Guidance", "1.5"), ("Rescale", "0"), ("Steps (", "4")):
        panel.get_by_label(label).fill(value)
    for count, text in enumerate(("make the red star in {image} purple", "show {image} at night", BACK), 1):
        say(page, panel, text, count)
    turns = record(page)["turns"]
    tiny_models.write(tmp_path / "models")
    (tmp_path / "input").mkdir()
    for picture in turns[0]["images"]:
        shutil.copy(server.base / picture["in"] / picture["file"], tmp_path / "input" / picture["file"])
    with ComfyServer(tmp_path, extra_args=["--use-pytorch-cross-attention"]) as other:
        outputs = other.run(page.prompt())
    made = {answer["turn"]: answer for output in outputs.values() for answer in output.get("ace_answers", ())}
    for turn in turns:
        here, there = (base / "output" / turn["answer"]["file"] for base in (server.base, tmp_path))
        assert made[turn["id"]]["made"] and made[turn["id"]]["key"] == turn["answer"]["key"]
        assert Image.open(here).tobytes() == Image.open(there).tobytes()


def test_a_failed_turn_says_why_and_can_be_edited(page):
    panel = fresh(page)
    panel.locator(".ace-instruction").click()
    page.tab.keyboard.type("{image} at night")
    page.tab.keyboard.press("Enter")
    panel.locator(".ace-turn.failed").wait_for(timeout=60000)
    assert "{image}" in panel.locator(".ace-turn.failed .ace-error").inner_text()
    panel.get_by_label("Edit and send again").click()
    assert panel.locator(".ace-composer .ace-chip.missing").count() == 1
    page.errors.clear()


def test_what_failed_or_got_lost_runs_again(page, server):
    """A loader fails, an answer is undone, an answer's file is gone: the card says so, and one click brings the answer."""
    (server.base / "models/vae/broken.safetensors").write_bytes(b"no model")
    panel = fresh(page)
    page.tab.evaluate("""picture => {
        const chat = app.graph._nodes.find(n => n.comfyClass === 'ACEEditorConversation')
        const load = LiteGraph.createNode('LoadImage')
        app.graph.add(load)
        load.widgets.find(w => w.name === 'image').value = picture
        load.connect(0, chat, chat.findInputSlot('image'))
    }""", file_of("toy scene"))
    good = next(node["widgets_values"][0] for node in page.serialized()["nodes"] if node["type"] == "VAELoader")
    page.set_widget("Load VAE", "vae_name", "broken.safetensors")
    panel.locator(".ace-instruction").click()
    page.tab.keyboard.type("{image} at night")
    assert panel.locator(".ace-composer .ace-chip:not(.missing)").count() == 1, "the connected picture"
    page.tab.keyboard.press("Enter")
    panel.locator(".ace-turn.failed").wait_for(timeout=60000)
    first, = record(page)["turns"]
    assert first["images"] == [] and first["settings"]["width"] == 0
    assert panel.locator(".ace-turn .ace-chip.missing").count() == 0
    page.errors.clear()

    def answer():
        panel.locator(".ace-turn.done .ace-picture img").wait_for(timeout=60000)
        return record(page)["turns"][0]["answer"]

    page.set_widget("Load VAE", "vae_name", good)
    panel.get_by_text("Try again").click()
    made = answer()
    picture = Image.open(server.base / "input" / file_of("toy scene"))
    assert Image.open(server.base / "output" / made["file"]).size == picture.size
    for _ in range(2):  # the second time with the very text of the run before
        page.tab.evaluate("""() => {
            const chat = app.graph._nodes.find(n => n.comfyClass === 'ACEEditorConversation')
            const widget = chat.widgets.find(w => w.name === 'record')
            const record = JSON.parse(widget.value)
            delete record.turns[0].answer
            widget.value = JSON.stringify(record)
        }""")
        panel.get_by_text("Run", exact=True).click()
        assert answer() == made
    (server.base / "output" / made["file"]).unlink()
    page.tab.evaluate("() => { const image = document.querySelector('.ace-picture img'); image.src += '&again' }")
    panel.get_by_text("Run", exact=True).click()
    assert answer() == made and (server.base / "output" / made["file"]).exists()
    page.errors.clear()  # the file that was gone


def test_one_conversation_stops_and_another_runs_on(page):
    """Two nodes, one run each: stopping the one that waits leaves the one that runs alone."""
    turns = [{"id": "a", "instruction": "one", "settings": {"width": 256, "height": 256, "steps": 1000}}]
    panel = fresh(page, turns)
    panel.get_by_text("Run", exact=True).click()
    panel.get_by_text(re.compile("step [1-9]")).wait_for(timeout=60000)
    panel.get_by_label("New conversation").click()
    take_in(page, panel, {"version": 1, "at": "a", "turns": [turns[0] | {"seed": 7}]})
    panel.get_by_text("Run", exact=True).click()
    panel.get_by_text("waiting").wait_for()
    page.tab.wait_for_function("async () => (await (await app.api.fetchApi('/queue')).json()).queue_pending.length === 1")
    panel.get_by_text("Stop").click()
    panel.locator(".ace-turn.failed").get_by_text("stopped").wait_for()
    panel.get_by_label("Conversation", exact=True).select_option(index=0)
    panel.locator(".ace-turn.running").wait_for()
    box = panel.get_by_text("Stop").bounding_box()
    page.tab.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.tab.mouse.down()
    page.tab.wait_for_timeout(400)  # some steps go by under the finger
    page.tab.mouse.up()
    panel.locator(".ace-turn.failed").get_by_text("stopped").wait_for(timeout=60000)
    assert page.errors == []


def test_restarted_reloaded_undone_and_in_two_tabs(tmp_path, chromium):
    """The server restarts under the open panel, the page is loaded anew, a turn is undone, a second tab goes its own way."""
    tiny_models.write(tmp_path / "models")
    server = ComfyServer(tmp_path, extra_args=["--use-pytorch-cross-attention"])
    server.start()
    try:
        with open_page(server.url, width=1400, height=900, browser=chromium) as page:
            panel = fresh(page)
            panel.locator("input[type=file]").set_input_files(server.base / "input" / file_of("toy scene"))
            panel.locator(".ace-attachment img").wait_for()
            say(page, panel, "make the red star in {image} purple", 1)
            key = record(page)["turns"][0]["answer"]["key"]
            server.stop()
            server.start()
            page.tab.wait_for_function("() => app.api.socket?.readyState === WebSocket.OPEN", timeout=60000)
            say(page, panel, "show {image} at night", 2)
            assert record(page)["turns"][0]["answer"]["key"] == key

            tracker = "() => app.extensionManager.workflow.activeWorkflow.changeTracker"
            undone = 0
            while len(record(page)["turns"]) > 1:  # the answer, and the turn
                assert undone < 4
                page.tab.evaluate(f"{tracker}.undo()")
                undone += 1
            page.tab.wait_for_function("() => document.querySelectorAll('.ace-turn').length < 2")
            for _ in range(undone):
                page.tab.evaluate(f"{tracker}.redo()")
            page.tab.wait_for_function("() => document.querySelectorAll('.ace-turn.done').length === 2")

            page.tab.wait_for_timeout(2500)  # the page keeps its draft
            before = record(page)
            page.reload()
            panel = open_panel(page)
            page.tab.wait_for_function("() => document.querySelectorAll('.ace-turn.done').length === 2")
            assert record(page) == before

            with open_page(server.url, width=1400, height=900, browser=chromium) as other:
                other.load(page.tab.evaluate("() => app.graph.serialize()"))
                beside = open_panel(other)
                other.tab.wait_for_function("() => document.querySelectorAll('.ace-turn.done').length === 2")
                say(other, beside, "{image} in sepia style", 3)
                assert record(page) == before and panel.locator(".ace-turn").count() == 2
                say(page, panel, "show {image} by day", 3)
                assert [turn["instruction"] for turn in record(other)["turns"]][2] == "{image} in sepia style"
                assert len(record(page)["turns"]) == len(record(other)["turns"]) == 3
                assert record(page)["turns"][2]["answer"]["file"] != record(other)["turns"][2]["answer"]["file"]
            two_workflows_of_one_template(page)
    finally:
        server.stop()


DRAFT = "text => document.querySelector('.ace-instruction').textContent.replace('\u200b', '') === text"


def two_workflows_of_one_template(page):
    """Their nodes have the same ids. An answer reaches its own conversation when one comes back to it; drafts stay, also after
    undo."""
    workflow, box = talk(page), page.tab.locator(".ace-instruction")
    page.load(workflow)
    panel = open_panel(page)
    page.tab.wait_for_timeout(600)
    page.tab.evaluate("() => { document.querySelector('.ace-settings').open = true }")
    for label, value in (("Width", "64"), ("Height", "64"), ("Steps (", "400")):
        panel.get_by_label(label).fill(value)
    box.click()
    page.tab.keyboard.type("a cat")
    page.tab.keyboard.press("Enter")
    panel.locator(".ace-turn.running").wait_for(timeout=60000)
    page.tab.keyboard.type("a draft")
    page.tab.evaluate("async workflow => app.loadGraphData(workflow, true, true, null, {openSource: 'template'})", workflow)
    page.tab.wait_for_function("() => !document.querySelector('.ace-turn')")
    page.tab.wait_for_function(DRAFT, arg="")
    box.click()
    page.tab.keyboard.type("another")
    page.tab.wait_for_function("async () => !(await (await app.api.fetchApi('/queue')).json()).queue_running.length")
    page.tab.wait_for_timeout(1500)
    assert record(page)["turns"] == []
    page.tab.evaluate("() => app.extensionManager.command.execute('Workspace.PreviousOpenedWorkflow')")
    panel.locator(".ace-turn.done .ace-picture img").wait_for()
    page.tab.wait_for_function(DRAFT, arg="a draft")
    assert record(page)["turns"][0]["answer"]
    tracker = "() => app.extensionManager.workflow.activeWorkflow.changeTracker"
    while record(page)["turns"]:
        page.tab.evaluate(f"{tracker}.undo()")
    page.tab.wait_for_function("() => !document.querySelector('.ace-turn')")
    page.tab.wait_for_function(DRAFT, arg="a draft")
    page.tab.evaluate("() => app.extensionManager.command.execute('Workspace.NextOpenedWorkflow')")
    page.tab.wait_for_function("() => document.querySelector('.ace-instruction').textContent.startsWith('another')")
