"""A template opened without models: the page names every file and offers to download it."""

import json

import pytest

from tools.gallery.build import workflows
from tools.gallery.graph import ROOT


@pytest.mark.parametrize("title", list(workflows()))
def test_missing_files_are_listed(page, title):
    content = json.loads((ROOT / "workflows" / f"{title}.json").read_text(encoding="utf-8"))
    wanted = {model["name"] for node in content["nodes"] for model in node["properties"].get("models", [])}
    page.open_template(title)
    if title == "Start here":  # it comes with its models
        assert not wanted and page.complaints() == []
        return
    details = page.tab.get_by_text("View details")
    if details.count():
        details.first.click()
    assert len(wanted) >= 3 and page.missing_models() == wanted
    assert not page.tab.get_by_test_id("error-group-missing-node").count()
