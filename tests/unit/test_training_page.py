"""The page of a run: one file that runs nothing, with a curve that can be read."""

import html
import re
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from training import page, settings

SETTINGS = settings.Settings(settings.Data(Path("set")), settings.Model("a", "b", "c"), Path("run"))


def test_it_is_one_file_that_runs_nothing(tmp_path):
    strange = '<script>alert(1)</script> "&'
    asked = replace(SETTINGS, output=tmp_path / strange.replace("/", "_"))
    page.sample_file(tmp_path, 0, 0).parent.mkdir()
    for step in range(0, 200, 10):
        Image.new("RGB", (700, 300), (step, 0, 0)).save(page.sample_file(tmp_path, step, 0))
    Image.new("L", (40, 20)).save(tmp_path / "source.png")
    curve = [[10, 1.5], [20, float("nan")], [30, 0.5]]
    path = page.make(tmp_path, asked, curve, 30, 61, [strange], [strange], [[tmp_path / "source.png"] * 2])
    text = path.read_text(encoding="utf-8")
    assert "<script" not in text and html.escape(strange) in text and not re.search(r"(src|href)=['\"]?(https?:)?//", text)
    headings = re.findall(r"<b>(step \d+|before training|asked)</b>", text)
    assert headings[:2] == ["asked", "step 190"] and headings[-1] == "before training" and text.count("<img") == page.MOST + 2
    low, high = re.findall(r'<polyline points="([\d.]+),([\d.]+) ([\d.]+),([\d.]+)"', text)[0][1::2]
    assert float(low) < float(high), "a lower loss is lower on the page"
    assert "nan" not in page.chart([[1, float("nan")]]) and "two points" in page.chart([])
    assert "objective: ace" in text and "consistency:" not in text and "fill_strength" not in text


@pytest.mark.parametrize("low, high", [(0.0000961, 0.0002464), (0.5, 1.5), (0.13, 0.13), (0, 0), (999, 12345.6), (1e-9, 3e-9),
                                       (0.0199, 0.0201), (-0.2, 0.1)])
def test_the_axis_has_round_numbers_that_enclose_the_curve(low, high):
    found = page.ticks(low, high)
    values, labels = zip(*found, strict=True)
    assert 3 <= len(found) <= 7 and values[0] <= low + 1e-15 and high - 1e-15 <= values[-1] and sorted(values) == list(values)
    gaps = {round((b - a) / (values[1] - values[0]), 6) for a, b in zip(values, values[1:], strict=False)}
    assert gaps == {1.0} and len(set(labels)) == len(labels)
    assert all(float(label) == pytest.approx(value, abs=1e-12, rel=1e-9) for value, label in found), "what is written is exact"


def test_labels_stand_at_their_lines():
    text = page.chart([[1, 0.0], [2, 4.0], [3, 1.0]])
    places = [float(y) for y in re.findall(r'<line x1="0" y1="([\d.]+)"', text)]
    labels = [(float(y), float(value)) for y, value in re.findall(r"top: ([\d.]+)%\">([-\d.]+)<", text)]
    assert places == [y for y, _ in labels] and (100, 0) in labels
    line = [tuple(map(float, each.split(","))) for each in re.search(r'<polyline points="([^"]+)"', text)[1].split()]
    assert line == [(0, 100), (50, 0), (100, 75)]
