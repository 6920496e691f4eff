"""Do the version in pyproject.toml, the newest heading of CHANGELOG.md and, where given, the tag agree?"""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def versions(root: Path = ROOT) -> tuple[str, str]:
    """(pyproject.toml's version, the newest heading of CHANGELOG.md): "0.1.0", "0.1.0 (unreleased)"."""
    project = re.search(r'^version = "(.+)"$', (root / "pyproject.toml").read_text(encoding="utf-8"), re.MULTILINE)
    heading = re.search(r"^## (.+)$", (root / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    return project.group(1), heading.group(1).strip()


def disagreement(project: str, heading: str, tag: str | None = None) -> str | None:
    """What is wrong, in a sentence. A tag takes a heading that is no longer marked as unreleased."""
    if heading.split(" ")[0] != project:
        return f"pyproject.toml has version {project}, but the newest heading of CHANGELOG.md is {heading!r}."
    if tag and tag != f"v{project}":
        return f"The tag is {tag}, but pyproject.toml has version {project}: tag v{project}, or change the version first."
    if tag and "unreleased" in heading:
        return f"CHANGELOG.md still calls {project} unreleased: put the date there, commit, and tag that commit."
    return None


if __name__ == "__main__":
    sys.exit(disagreement(*versions(), *sys.argv[1:2]))
