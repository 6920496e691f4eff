"""The questions to the language model, from the files in prompts/: a person may change them without touching code.

`$name` in a file is filled in. A folder of one's own needs only the files that differ.
"""

from pathlib import Path
from string import Template

from ace_model.errors import InputError

FOLDER = Path(__file__).with_name("prompts")
FIELDS = {"caption": set(), "difference": {"source", "target", "tasks"},
          "instruction": {"source", "target", "difference", "count"}, "check": {"instructions", "count"}}


class PromptError(InputError):
    """A file of questions that cannot be used."""


def read(folder: Path | None = None) -> dict[str, Template]:
    """{step: question}. Raises PromptError."""
    if folder is not None and not any((folder / f"{step}.md").is_file() for step in FIELDS):
        raise PromptError(f"{folder} has none of {', '.join(f'{step}.md' for step in FIELDS)}: copy the one that you want to "
                          f"change from {FOLDER.name}/ of the pack.")
    return {step: _read(step, folder) for step in FIELDS}


def _read(step: str, folder: Path | None) -> Template:
    path = (folder or FOLDER) / f"{step}.md"
    if not path.is_file():
        path = FOLDER / f"{step}.md"
    try:
        found = Template(path.read_text(encoding="utf-8-sig"))
    except (OSError, UnicodeDecodeError) as error:
        raise PromptError(f"{path} cannot be read ({getattr(error, 'strerror', None) or 'not UTF-8'}).") from None
    try:
        found.substitute(dict.fromkeys(FIELDS[step], ""))
    except (ValueError, KeyError) as error:
        known = ", ".join(f"${name}" for name in sorted(FIELDS[step])) or "nothing"
        found = f"${error.args[0]}" if isinstance(error, KeyError) else "a single $"
        raise PromptError(f"{path} has {found}, but only {known} is filled in: write $$ for a dollar sign.") from None
    return found
