"""The conversation panel in the real page, with the demo model: what a person does, and what is then in the workflow."""

import json
import re
from uuid import uuid4

import pytest
from PIL import Image

from demo.page.toys import TOY, asked
from demo.requests import to_tensor
from demo.world.judge import judge
from demo.world.tasks import MULTI_TURN
from starters.phrasings import TASKS
from starters.pictures import file_of
from tools import tiny_models
from tools.browser import open_page
from tools.comfy_server import ComfyServer
from tools.gallery.graph import ROOT

TITLE = "ACE Talk to your pictures"
BACK = "{image} with the colors of {previous2.image}"  # tests/server/test_conversation.py: it takes the history to answer this
RECORD = """() => app.graph._nodes.find(n => n.comfyClass === 'ACEEditorConversation')
    .widgets.find(w => w.name === 'record').value"""
SHOW = "() => app.extensionManager.command.execute('Workspace.ToggleSidebarTab.ace-conversation')"


def record(page):
    return json.loads(page.tab.evaluate(RECORD))


def open_panel(page):
    if not page.tab.locator(".ace-panel").is_visible():
        page.tab.evaluate(SHOW)
    page.tab.locator(".ace-panel").wait_for()
    return page.tab.locator(".ace-panel")


def talk(page, turns=()):
    """The template with a conversation of these turns."""
    workflow = page.template(TITLE) | {"id": str(uuid4())}  # another workflow: the panel keeps drafts of those that it knows
    for node in workflow["nodes"]:
        if node["type"] == "ACEEditorConversation":
            at = turns[-1]["id"] if turns else None
            node["widgets_values"] = [json.dumps({"version": 1, "at": at, "turns": list(turns)})]
    return workflow


def fresh(page, turns=()):
    """That in the page, and its panel."""
    page.load(talk(page, turns))
    panel = open_panel(page)
    page.tab.wait_for_timeout(600)  # it looks for changes twice a second
    return panel


def say(page, panel, text, answers):
    """Type and send; wait until so many answers are seen."""
    panel.locator(".ace-instruction").click()
    page.tab.keyboard.type(text)
    page.tab.keyboard.press("Enter")
    page.tab.wait_for_function("""n => document.querySelectorAll('.ace-turn.done .ace-picture img').length === n
        || document.querySelector('.ace-turn.failed')""", arg=answers, timeout=120000)
    assert not panel.locator(".ace-turn.failed").count(), panel.locator(".ace-error").all_inner_texts()


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
    say(page, panel, "make the red star in {image} purple", 1)
    say(page, panel, "show {image} at night", 2)
    say(page, panel, BACK, 3)
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
    assert "80%" in dialog.locator("img").last.get_attribute("style")
    page.tab.keyboard.press("Escape")
    assert not dialog.count()

    answer = Image.open(server.base / "output" / record(page)["turns"][2]["answer"]["file"])
    page.load(json.loads(answer.info["workflow"]))
    page.tab.wait_for_timeout(700)
    assert panel.locator(".ace-turn.done").count() == 3, "the saved picture opens as the same conversation"
    assert page.errors == []


def test_names_are_chips_listed_and_marked(page):
    panel = fresh(page, [{"id": "a", "instruction": "what was", "images": [{"file": "ACE cat.png", "in": "input"}],
                          "answer": {"file": "x.png", "in": "output", "key": f"{0:016x}-{0:016x}"}}])
    page.errors.clear()  # the answer's file is not there
    box, names = panel.locator(".ace-instruction"), panel.locator(".ace-names li")
    box.click()
    page.tab.keyboard.type("look at {")
    assert names.all_inner_texts()[0].startswith("{image}") and names.count() == 2
    page.tab.keyboard.press("ArrowDown")
    page.tab.keyboard.press("Enter")
    assert panel.locator(".ace-composer .ace-chip").all_inner_texts() == ["previous.image"]
    page.tab.keyboard.type(" and @")
    page.tab.keyboard.press("Tab")
    page.tab.keyboard.type(" or {imgae} or {image4}")
    assert panel.locator(".ace-chip.misspelt").all_inner_texts() == ["imgae"]
    assert panel.locator(".ace-chip.missing").all_inner_texts() == ["image4"]
    assert [mark.split(" Use")[0] for mark in panel.locator(".ace-mark").all_inner_texts()] == [
        "{imgae} is misspelt.", "{image4} names no picture."]
    for _ in range(2):
        panel.locator(".ace-mark button").first.click()
    value = "look at {previous.image} and {image} or {image} or {image}"
    assert box.text_content().replace("\u200b", "") == re.sub(r"[{}]", "", value)
    box.click()
    page.tab.keyboard.press("Control+z")
    assert panel.locator(".ace-chip.missing").count() == 1
    page.tab.keyboard.press("Control+Shift+z")
    page.tab.keyboard.press("Shift+Enter")
    page.tab.keyboard.type("a second line")
    assert len(record(page)["turns"]) == 1, "Shift+Enter does not send"


def test_markup_is_text(page):
    evil = "<img src=x onerror=\"window.hacked = 1\"><script>window.hacked = 1</script> {image}"
    panel = fresh(page, [{"id": "a", "instruction": evil, "images": [{"file": "<b>x</b>.png", "in": "input"}]}])
    assert panel.locator(".ace-words").text_content() == re.sub("[{}]", "", evil)
    panel.get_by_label("Edit and send again").click()
    assert not page.tab.evaluate("() => window.hacked")
    assert not panel.locator(".ace-words script, .ace-instruction script").count()
    page.errors.clear()  # there is no such picture


@pytest.mark.parametrize("text, says", [("{", "cannot be shown"), ('{"version": 2, "turns": []}', "version 2"),
                                        ('{"version": 1, "turns": [{}]}', "turns[0]")])
def test_a_record_that_cannot_be_read_stays_as_it_is(page, text, says):
    """Nothing can be sent, and an imported record goes into a node of its own."""
    panel = fresh(page)
    panel.locator(".ace-instruction").click()
    page.tab.keyboard.type("a cat")
    page.tab.evaluate("""text => { const node = app.graph._nodes.find(n => n.comfyClass === 'ACEEditorConversation')
        node.widgets.find(w => w.name === 'record').value = text }""", text)
    panel.get_by_text(says).wait_for()
    assert not panel.locator(".ace-composer").is_visible()
    page.tab.keyboard.press("Enter")
    assert page.tab.evaluate(RECORD) == text
    take_in(page, panel, {"version": 1, "at": "a", "turns": [{"id": "a", "instruction": "one"}]})
    panel.locator(".ace-turn").wait_for()
    assert page.tab.evaluate(RECORD) == text and panel.get_by_label("Conversation", exact=True).locator("option").count() == 2
    assert page.errors == []


def take_in(page, panel, record):
    """Import a record."""
    with page.tab.expect_file_chooser() as chooser:
        panel.get_by_label("Import a record").click()
    chooser.value.set_files({"name": "x.json", "mimeType": "application/json", "buffer": json.dumps(record).encode()})


def test_a_deleted_node_and_a_new_conversation(page):
    panel = fresh(page, [{"id": "a", "instruction": "one"}])
    page.tab.evaluate("""() => app.graph.remove(app.graph._nodes.find(n => n.comfyClass === 'ACEEditorConversation'))""")
    panel.get_by_text("No conversation in this workflow yet.").wait_for()
    panel.get_by_text("Start one").click()
    assert record(page) == {"version": 1, "turns": []}
    page.tab.evaluate("""() => app.graph.remove(app.graph._nodes.find(n => n.comfyClass === 'ACEEditorConversation'))""")
    panel.get_by_text("No conversation in this workflow yet.").wait_for()
    brought = {"at": "b", "version": 1, "turns": [{"id": "b", "instruction": "two"}]}
    take_in(page, panel, brought)
    panel.locator(".ace-turn").wait_for()
    assert record(page) == brought
    assert page.errors == []


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
    turns = [{"id": "a", "instruction": "one", "settings": {"width": 64, "height": 64, "steps": 300}}]
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
    panel.get_by_text("Stop").click()
    panel.locator(".ace-turn.failed").get_by_text("stopped").wait_for(timeout=60000)
    assert page.errors == []


def test_editing_a_turn_keeps_what_no_field_shows(page):
    """Sampler, token budget, which picture is the target, and the room around it; a mask that is an earlier answer."""
    settings = {"sampler": "heun", "token_budget": 512, "target_image": 1, "steps": 1}
    cat = {"file": "ACE cat.png", "in": "input"}
    key = f"{0:016x}-{0:016x}"
    panel = fresh(page, [
        {"id": "a", "instruction": "one", "answer": cat | {"key": key}},
        {"id": "b", "parent": "a", "instruction": "{image} {image1}", "images": [cat, cat], "settings": settings, "blank": True,
         "masks": [{"answer_of": "a"}, None], "room": [0, 0, 0.5, 0], "answer": cat | {"key": key}}])
    page.tab.route("**/prompt", lambda route: route.fulfill(json={"prompt_id": "x", "number": 0, "node_errors": {}}))
    panel.locator(".ace-turn").last.get_by_label("Edit and send again").click()
    assert panel.locator(".ace-composer img.ace-mask").count() == 1
    panel.locator(".ace-instruction").click()
    for number, text in enumerate(("again", "and on"), 3):
        page.tab.keyboard.type(text)
        page.tab.keyboard.press("Enter")
        page.tab.wait_for_function(f"n => JSON.parse(({RECORD})()).turns.length === n", arg=number)
    page.tab.unroute("**/prompt")
    edited, following = record(page)["turns"][2:]
    assert edited["settings"] | settings == edited["settings"] and edited["room"] == [0, 0, 0.5, 0] and edited["blank"]
    assert edited["masks"] == [{"answer_of": "a"}, None]
    assert following["settings"]["sampler"] == "heun" and following["settings"]["token_budget"] == 512
    assert following["settings"]["target_image"] == 0 and not following["blank"] and "room" not in following
    assert page.errors == []


def test_a_mask_that_cannot_be_saved_is_not_lost(page, server):
    panel = fresh(page)
    page.tab.route("**/upload/image", lambda route: route.fulfill(status=500, body="disk full"))
    panel.locator("input[type=file]").set_input_files(server.base / "input" / file_of("toy scene"))
    wrong = panel.locator(".ace-composer .ace-error")
    wrong.get_by_text("disk full").wait_for()
    page.tab.unroute("**/upload/image")
    panel.locator("input[type=file]").set_input_files(server.base / "input" / file_of("toy scene"))
    panel.locator(".ace-attachment img").wait_for()
    assert not wrong.is_visible()
    page.tab.route("**/upload/image", lambda route: route.fulfill(status=500, body="disk full"))
    panel.get_by_label("Paint a mask on {image}").click()
    dialog = page.tab.locator("dialog.ace-dialog")
    dialog.locator("canvas").click()
    dialog.get_by_text("Done").click()
    dialog.get_by_text("disk full").wait_for()
    page.tab.unroute("**/upload/image")
    dialog.get_by_text("Done").click()
    panel.locator(".ace-composer img.ace-mask").wait_for()
    assert not dialog.count()
    page.errors.clear()  # the full disk


def test_a_ready_made_instruction_comes_with_its_gap_selected(page):
    panel = fresh(page)
    menu = panel.get_by_label("Ready-made instructions")
    assert menu.locator("optgroup").count() == len(TASKS)
    menu.select_option("give the person in {image} [what] hair")
    assert page.tab.evaluate("() => getSelection().toString()") == "[what]"
    page.tab.keyboard.type("white")
    assert panel.locator(".ace-composer .ace-chip").count() == 1
    assert panel.locator(".ace-instruction").text_content().replace("\u200b", "") == "give the person in image white hair"
    assert menu.input_value() == "" and page.errors == []


def test_what_the_model_sees_is_drawn_at_a_click(frontends):
    """The inspector and a preview stand beside the node, connected; a second click makes no second one."""
    page, server = frontends
    page.errors.clear()  # core's own, at its start
    panel = fresh(page)
    panel.locator("input[type=file]").set_input_files(server.base / "input" / file_of("toy scene"))
    panel.locator(".ace-attachment img").wait_for()
    page.tab.evaluate("() => { document.querySelector('.ace-settings').open = true }")
    for label, value in (("Width", "64"), ("Height", "64"), ("Guidance", "2"), ("Negative instruction", "blur")):
        panel.get_by_label(label).fill(value)
    say(page, panel, "make the red star in {image} purple", 1)
    for _ in range(2):
        panel.get_by_label("What the model sees").click()
        page.tab.wait_for_function("""() => app.graph._nodes.some(n => n.comfyClass === 'PreviewImage' && n.imgs?.length)
            || Object.values(app.nodeOutputs).some(o => o?.images?.some(i => i.type === 'temp'))""", timeout=60000)
    graph = page.tab.evaluate("async () => (await app.graphToPrompt()).output")
    kinds = {kind: [node["inputs"] for node in graph.values() if node["class_type"] == kind]
             for kind in ("ACEEditorInspector", "PreviewImage", "ACEEditorConversation")}
    (inspector,), (conversation,) = kinds["ACEEditorInspector"], kinds["ACEEditorConversation"]
    assert inspector["lcu"][1] == 2 and graph[inspector["lcu"][0]]["class_type"] == "ACEEditorConversation"
    assert [inspector[name] for name in ("clip", "model", "vae")] == [conversation[name] for name in ("clip", "model", "vae")]
    turn, = record(page)["turns"]
    assert [inspector[name] for name in ("width", "height", "guidance", "negative_instruction", "seed")] == [
        64, 64, 2, "blur", turn["seed"]]
    assert [graph[shown["images"][0]]["class_type"] for shown in kinds["PreviewImage"]] == ["ACEEditorInspector"]
    assert page.errors == []


def test_fifty_turns_and_two_hundred_siblings(page):
    """All are there, and the arrows reach the last."""
    turns = [{"id": f"t{i}", "parent": f"t{i - 1}" if i else None, "instruction": f"turn {i}"} for i in range(50)]
    turns += [{"id": f"s{i}", "parent": "t48", "instruction": f"sibling {i}"} for i in range(199)]
    panel = fresh(page, turns)
    assert panel.locator(".ace-turn").count() == 50 and panel.get_by_text("200 of 200").count() == 1
    panel.locator(".ace-turn").last.get_by_label("Branch before").click()
    panel.get_by_text("199 of 200").wait_for()
    assert record(page)["at"] == "s197" and page.errors == []


def test_bypassed_copied_and_in_a_subgraph(page):
    """While the panel is open: it follows, and shows both conversations."""
    panel = fresh(page, [{"id": "a", "instruction": "one"}])
    find = "app.graph._nodes.find(n => n.comfyClass === 'ACEEditorConversation')"
    page.tab.evaluate(f"() => {{ {find}.mode = 4; app.graph.change() }}")
    page.tab.wait_for_timeout(700)
    assert panel.locator(".ace-turn").count() == 1
    page.tab.evaluate(f"() => {{ const node = {find}; node.mode = 0; app.canvas.selectNode(node);"
                      " app.canvas.copyToClipboard([node]);"
                      " app.canvas.pasteFromClipboard() }")
    panel.get_by_label("Conversation", exact=True).wait_for()
    assert panel.get_by_label("Conversation", exact=True).locator("option").count() == 2
    page.tab.evaluate(f"() => {{ const node = {find}; app.canvas.deselectAll?.(); app.canvas.selectNode(node);"
                      " app.graph.convertToSubgraph(new Set([node])) }")
    page.tab.wait_for_timeout(700)
    assert panel.get_by_label("Conversation", exact=True).locator("option").count() == 2
    assert panel.locator(".ace-turn").count() == 1 and page.errors == []


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
    for label, value in (("Width", "64"), ("Height", "64"), ("Steps", "200")):
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


def test_chinese_has_every_text():
    used = set()
    for path in (ROOT / "js/conversation").glob("*.mjs"):
        used |= set(re.findall(r"\bt\('([^']*)'", path.read_text(encoding="utf-8")))
    labels = re.findall(r"\[\d+, [^\]]*'([^']+)'\]", (ROOT / "js/conversation/composer.mjs").read_text(encoding="utf-8"))
    known = json.loads((ROOT / "locales/zh/main.json").read_text(encoding="utf-8"))["aceEditor"]
    assert used | set(labels) == set(known) and all(
        sorted(re.findall(r"\{\w+\}", text)) == sorted(re.findall(r"\{\w+\}", known[text])) for text in known)
