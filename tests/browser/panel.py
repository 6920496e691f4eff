"""What tests of the conversation panel do in the page."""

import json
from uuid import uuid4

TITLE = "ACE Talk to your pictures"
NODE = "ACEEditorConversation"
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
        if node["type"] == NODE:
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


def take_in(page, panel, record):
    """Import a record."""
    with page.tab.expect_file_chooser() as chooser:
        panel.get_by_label("Import a record").click()
    chooser.value.set_files({"name": "x.json", "mimeType": "application/json", "buffer": json.dumps(record).encode()})
