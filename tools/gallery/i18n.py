"""Texts in locales/: ComfyUI's page reads braces, @ and | in them as commands, so they are written as literals."""

import re

SPECIAL = re.compile(r"[{}@|]")
LITERAL = re.compile(r"\{'([{}@|])'\}")


def escape(text: str) -> str:
    return SPECIAL.sub(lambda match: f"{{'{match[0]}'}}", text)


def unescape(text: str) -> str:
    return LITERAL.sub(r"\1", text)


def deep(change, content):
    """Apply `change` to every text inside dictionaries."""
    if isinstance(content, dict):
        return {key: deep(change, value) for key, value in content.items()}
    return change(content) if isinstance(content, str) else content
