"""What a run of pytest came to, from its JUnit report. Standard library only, as dev.py needs it."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from collections import Counter
from pathlib import Path


def summary(name: str, code: int, seconds: float, report: Path) -> tuple[str, Counter]:
    """A line about a run of pytest and its counts, read from its JUnit report."""
    counts = Counter(passed=0, failed=0, skipped=0)
    if report.is_file():
        for case in ElementTree.parse(report).iter("testcase"):  # noqa: S314 - written by pytest just now
            tags = {child.tag for child in case}
            counts["failed" if tags & {"failure", "error"} else "skipped" if "skipped" in tags else "passed"] += 1
    if code not in (0, 1, 5) and not counts["failed"]:
        return f"{name:<8} did not finish (pytest's exit code {code})", counts + Counter(failed=1)
    said = ", ".join(f"{number} {word}" for word, number in counts.items() if number) or "no tests"
    return f"{name:<8} {said} in {seconds:.1f} s", counts
