"""The conversation panel and the nodes of the workflow: whatever happens to them, the panel follows."""


import json
from pathlib import Path

import pytest
from PIL import Image

from starters.pictures import file_of
from tests.browser.panel import NODE, RECORD, fresh, record, say, take_in


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
    panel.get_by_label("Sampler").select_option("lcm")
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
    assert inspector["sampler"] == turn["settings"]["sampler"] == "lcm"
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


def test_export_is_the_conversation_as_it_is_now(page):
    """Not as it was when the panel was opened; and import brings the same back, into a node of its own."""
    first = {"id": "a", "instruction": "one"}
    panel = fresh(page, [first])
    page.tab.route("**/prompt", lambda route: route.fulfill(json={"prompt_id": "x", "number": 0, "node_errors": {}}))
    panel.locator(".ace-instruction").click()
    page.tab.keyboard.type("two")
    page.tab.keyboard.press("Enter")
    page.tab.wait_for_function("() => document.querySelectorAll('.ace-turn').length === 2")
    page.tab.unroute("**/prompt")
    with page.tab.expect_download() as download:
        panel.get_by_label("Export the record").click()
    saved = json.loads(Path(download.value.path()).read_text(encoding="utf-8"))
    assert saved == record(page) and [turn["instruction"] for turn in saved["turns"]] == ["one", "two"]
    take_in(page, panel, saved)
    panel.get_by_label("Conversation", exact=True).wait_for()
    both = page.tab.evaluate(f"""() => app.graph._nodes.filter(n => n.comfyClass === '{NODE}').map(n =>
        JSON.parse(n.widgets.find(w => w.name === 'record').value))""")
    assert both == [saved, saved]
    assert page.errors == []


OVERLAPS = """() => app.graph._nodes.flatMap((a, i) => app.graph._nodes.slice(i + 1).filter(b =>
    a.pos[0] < b.pos[0] + b.size[0] && b.pos[0] < a.pos[0] + a.size[0]
    && a.pos[1] < b.pos[1] + b.size[1] && b.pos[1] < a.pos[1] + a.size[1]).map(b => `${a.title} on ${b.title}`))"""


def test_new_nodes_stand_where_none_is(page):
    """The inspector and its preview, two more conversations, an answer in Load Image: none covers another or the panel's
    place."""
    answer = {"file": file_of("toy scene"), "in": "input", "key": f"{0:016x}-{0:016x}"}
    turn = {"id": "a", "instruction": "one", "answer": answer}
    panel = fresh(page, [turn])
    page.tab.route("**/prompt", lambda route: route.fulfill(json={"prompt_id": "x", "number": 0, "node_errors": {}}))
    view = page.tab.evaluate("() => [...app.canvas.ds.offset]")
    panel.get_by_label("What the model sees").click()
    page.tab.wait_for_function("() => app.graph._nodes.some(n => n.comfyClass === 'PreviewImage')")
    page.tab.wait_for_timeout(800)  # the view glides there
    page.tab.evaluate("([x, y]) => { app.canvas.ds.offset[0] = x; app.canvas.ds.offset[1] = y }", view)
    page.tab.evaluate("() => app.canvas.deselectAll?.()")
    for count in (1, 2):
        panel.get_by_label("Send to Load Image").click()
        page.tab.wait_for_function("n => app.graph._nodes.filter(n => n.comfyClass === 'LoadImage').length === n", arg=count)
    edge = panel.bounding_box()
    lefts = page.tab.evaluate("""() => app.graph._nodes.filter(n => n.comfyClass === 'LoadImage').map(n =>
        (n.pos[0] + app.canvas.ds.offset[0]) * app.canvas.ds.scale + app.canvas.canvas.getBoundingClientRect().left)""")
    assert min(lefts) > edge["x"] + edge["width"]
    for _ in range(2):
        panel.get_by_label("Conversation", exact=True).or_(panel.get_by_label("New conversation")).first.wait_for()
        panel.get_by_label("New conversation").click()
    page.tab.unroute("**/prompt")
    assert page.tab.evaluate(OVERLAPS) == []
    assert page.errors == []


def test_an_answer_sent_to_load_image_is_there_when_the_workflow_is_opened_again(page, server):
    """Load Image lists the input folder: the answer is copied there, and the page misses nothing."""
    folder = server.base / "output/ACE conversation"
    folder.mkdir(exist_ok=True)
    Image.new("RGB", (32, 48), (10, 200, 30)).save(folder / "green.png")
    panel = fresh(page, [{"id": "a", "instruction": "one", "answer": {
        "file": "ACE conversation/green.png", "in": "output", "key": f"{0:016x}-{0:016x}"}}])
    page.tab.evaluate("() => app.canvas.deselectAll?.()")
    panel.get_by_label("Send to Load Image").click()
    page.tab.wait_for_function("() => app.graph._nodes.some(n => n.comfyClass === 'LoadImage')")
    sent = page.tab.evaluate("() => app.graph._nodes.find(n => n.comfyClass === 'LoadImage').widgets[0].value")
    assert Image.open(server.base / "input" / sent).getpixel((0, 0)) == (10, 200, 30)
    page.load(page.serialized())
    page.tab.wait_for_timeout(1500)
    assert page.complaints(models=False) == [] and page.errors == []
    (folder / "green.png").unlink()
    panel.get_by_label("Send to Load Image").click()
    page.tab.get_by_text("The file is gone.").first.wait_for()
    page.errors.clear()  # the file that is gone


def test_a_long_conversation_opens_at_its_end_and_loads_only_what_is_seen(page):
    """Four hundred turns with nine pictures each. The newest turn is in view, also when the list grows; a person who scrolls up
    stays there."""
    picture = {"file": file_of("toy scene"), "in": "input"}
    turns = [{"id": f"t{i}", "parent": f"t{i - 1}" if i else None, "instruction": f"turn {i} of {{image}} {{previous.image1}}",
              "images": [{"answer_of": f"t{i - 1}"} if i else picture] + [picture] * 8,
              "answer": picture | {"key": f"{i:016x}-{0:016x}"}} for i in range(400)]
    panel = fresh(page, turns)
    end = "() => { const {scrollTop, clientHeight, scrollHeight} = document.querySelector('.ace-body'); " \
          "return scrollTop + clientHeight > scrollHeight - 5 && scrollHeight > 10000 }"
    page.tab.wait_for_function(end)
    assert panel.locator(".ace-turn").count() == 400
    loaded = "() => [...document.querySelectorAll('.ace-body img')].filter(i => i.complete && i.naturalWidth).length"
    page.tab.wait_for_timeout(1000)
    assert 0 < page.tab.evaluate(loaded) < 400, "of more than four thousand"
    panel.locator(".ace-turn").first.scroll_into_view_if_needed()
    page.tab.evaluate(f"() => {{ const widget = app.graph._nodes.find(n => n.comfyClass === '{NODE}').widgets.find(w => "
                      "w.name === 'record'); widget.value = JSON.stringify({...JSON.parse(widget.value), at: 't398'}) }")
    page.tab.wait_for_function("() => document.querySelectorAll('.ace-turn').length === 399")
    page.tab.wait_for_timeout(300)
    assert page.tab.evaluate("() => document.querySelector('.ace-body').scrollTop") < 500
    fresh(page, [turns[0]])
    assert page.errors == []


def test_the_page_speaks_chinese(page, spoken):
    """The button on the node and the sidebar's, too."""
    spoken("zh")
    panel = fresh(page, [{"id": "a", "instruction": "one"}])
    panel.get_by_label("与图片对话").or_(panel.get_by_text("发送", exact=True)).first.wait_for()
    assert page.tab.get_by_label("ACE：与图片对话").count()
    label = f"() => app.graph._nodes.find(n => n.comfyClass === '{NODE}').widgets.find(w => w.name === 'open').label"
    page.tab.wait_for_function(f"() => ({label})() === '打开对话'")
