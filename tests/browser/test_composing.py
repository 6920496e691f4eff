"""The next turn in the conversation panel: its text, its pictures, their masks and the room around them."""

import re
from urllib.parse import parse_qs

from PIL import Image

from starters.phrasings import TASKS
from starters.pictures import file_of
from tests.browser.panel import RECORD, fresh, record


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


DROP = """async ([selector, address]) => {
    const transfer = new DataTransfer()
    if (address) transfer.setData('text/uri-list', new URL(address, location.href).href)
    else {
        const canvas = new OffscreenCanvas(20, 10)
        canvas.getContext('2d').fillRect(0, 0, 20, 10)
        transfer.items.add(new File([await canvas.convertToBlob()], 'dropped.png', {type: 'image/png'}))
    }
    const event = {dataTransfer: transfer, bubbles: true, cancelable: true}
    for (const kind of ['dragover', 'drop']) document.querySelector(selector).dispatchEvent(new DragEvent(kind, event))
}"""


def test_a_picture_dropped_anywhere_on_the_panel_is_attached(page):
    """A file, and an answer that is dragged; ComfyUI's page makes no node of it."""
    panel = fresh(page, [{"id": "dropped", "instruction": "one", "answer": {
        "file": file_of("toy scene"), "in": "input", "key": f"{0:016x}-{0:016x}"}}])
    nodes = page.counts()
    for count, address in ((2, None), (3, panel.locator(".ace-picture img").get_attribute("src"))):
        page.tab.evaluate(DROP, [".ace-turns", address])
        page.tab.wait_for_function("n => document.querySelectorAll('.ace-attachment img').length === n", arg=count)
    assert panel.locator(".ace-attachment figcaption").all_inner_texts() == ["image", "image1", "image2"]
    assert page.counts() == nodes and page.errors == []


def drag(page, box, start, end):
    """Press at a part of a box, (0, 0) its corner and (1, 1) the one opposite, and release at another."""
    (x, y), (u, v) = ((box["x"] + box["width"] * a, box["y"] + box["height"] * b) for a, b in (start, end))
    page.tab.mouse.move(x, y)
    page.tab.mouse.down()
    page.tab.mouse.move((x + u) / 2, (y + v) / 2)
    page.tab.mouse.move(u, v)
    page.tab.mouse.up()


def test_a_mask_is_painted_and_a_border_dragged(page, server):
    """The saved mask is as large as the picture and white where it was painted; room takes its place, and says so."""
    size = Image.open(server.base / "input" / file_of("toy scene")).size
    panel = fresh(page)
    panel.locator("input[type=file]").set_input_files(server.base / "input" / file_of("toy scene"))
    panel.locator(".ace-attachment img").wait_for()
    panel.get_by_label("Paint a mask on {image}").click()
    dialog = page.tab.locator("dialog.ace-dialog")
    canvas = dialog.locator("canvas")
    drag(page, canvas.bounding_box(), (0.2, 0.25), (0.8, 0.25))
    dialog.get_by_text("Done").click()
    source = panel.locator(".ace-composer img.ace-mask").get_attribute("src")
    mask = Image.open(server.base / "input/ace_masks" / re.search(r"filename=([^&]*)", source)[1]).convert("L")
    assert mask.size == size and set(mask.getdata()) == {0, 255}
    left, top, right, bottom = mask.getbbox()
    assert 0.1 < left / size[0] < 0.3 < 0.7 < right / size[0] < 0.9 and 0.15 < top / size[1] < bottom / size[1] < 0.35

    panel.get_by_label("Paint a mask on {image}").click()
    drag(page, canvas.bounding_box(), (0.5, 0.97), (0.5, 1.15))
    assert dialog.get_by_text("The model paints the gray room").is_visible()
    assert dialog.get_by_role("button", name="Brush").is_disabled() and dialog.get_by_role("slider").is_disabled()
    dialog.get_by_text("Done").click()
    panel.get_by_text("image ⤢").wait_for()
    assert not panel.locator(".ace-composer img.ace-mask").count()
    page.tab.route("**/prompt", lambda route: route.fulfill(json={"prompt_id": "x", "number": 0, "node_errors": {}}))
    panel.locator(".ace-instruction").click()
    page.tab.keyboard.type("more of it")
    page.tab.keyboard.press("Enter")
    panel.locator(".ace-turn .ace-room").wait_for()
    page.tab.unroute("**/prompt")
    turn, = record(page)["turns"]
    assert turn["masks"] == [None] and turn["room"][:3] == [0, 0, 0] and 0.1 < turn["room"][3] < 0.3
    assert page.errors == []


def test_an_answer_with_room_is_compared_where_the_original_lies(page):
    picture = {"file": file_of("toy scene"), "in": "input"}
    panel = fresh(page, [{"id": "a", "instruction": "wider", "images": [picture], "room": [0.5, 0, 0.5, 0],
                          "answer": picture | {"key": f"{0:016x}-{0:016x}"}}])
    panel.get_by_label("Compare with the original").click()
    dialog = page.tab.locator("dialog.ace-dialog")
    whole, old = dialog.locator(".ace-compare > img").bounding_box(), dialog.locator(".ace-original img").bounding_box()
    assert abs(old["x"] - whole["x"] - whole["width"] / 4) < 1 and abs(old["width"] - whole["width"] / 2) < 1
    assert abs(old["height"] - whole["height"]) < 1
    page.tab.mouse.click(5, 5)  # beside it
    assert not dialog.count() and page.errors == []


def test_earlier_pictures_and_answers_have_their_thumbnails(page):
    """In the list, in the text that is typed, and in the turns: {image} shows the answer that it goes on from, {previous.image}
    and {previous2.image1} the pictures of earlier turns."""
    cat, hat, toy = ({"file": file_of(name), "in": "input"} for name in ("cat", "hat", "toy scene"))
    key = {"key": f"{0:016x}-{0:016x}"}
    panel = fresh(page, [
        {"id": "a", "instruction": "{image1} on {image}", "images": [cat, hat], "answer": toy | key},
        {"id": "b", "parent": "a", "instruction": "{image} as {previous.image1}", "images": [{"answer_of": "a"}],
         "answer": hat | key}])
    page.errors.clear()  # the template's own pictures, if they are not there

    def shown(chips):
        return [[chip.inner_text(), parse_qs(chip.locator("img").get_attribute("src"))["/api/view?filename"][0]]
                for chip in chips.all()]

    cat, hat, toy = (picture["file"] for picture in (cat, hat, toy))
    turns = panel.locator(".ace-words")
    assert shown(turns.nth(0).locator(".ace-chip")) == [["image1", hat], ["image", cat]]
    assert shown(turns.nth(1).locator(".ace-chip")) == [["image", toy], ["previous.image1", hat]]
    panel.locator(".ace-instruction").click()
    page.tab.keyboard.type("{")
    listed = panel.locator(".ace-names li")
    assert [item.inner_text().split("\n") for item in listed.all()] == [
        ["{image}", "Answer to: {image} as {previous.image1}"], ["{previous.image}", "before “{image} as {previous.image1}”"],
        ["{previous2.image}", "before “{image1} on {image}”"], ["{previous2.image1}", "before “{image1} on {image}”"]]
    assert [file for _, file in shown(listed)] == [hat, toy, cat, hat]
    page.tab.keyboard.press("Escape")
    page.tab.keyboard.type("image} {previous.image} {previous2.image1} {previous3.image}")
    assert shown(panel.locator(".ace-composer .ace-chip.name")) == [
        ["image", hat], ["previous.image", toy], ["previous2.image1", hat]]
    assert panel.locator(".ace-composer .ace-chip.missing").all_inner_texts() == ["previous3.image"]
    assert page.errors == []
