"""How tests recognize a clear error (ace_model/errors.py says what one is)."""

import re

LONGEST = 600  # characters
LIMIT = r"must be|at most|at least|between|needs|takes"
WAY_OUT = (r"connect|disconnect|use|set|load|choose|remove|paint|put|raise|lower|name|pick|fill|leave|look at|did you mean|"
           r"download|get|turn|add|start|write|state|correct|update")


def is_clear(text: str) -> bool:
    """Short, and it says the limit or the way out."""
    return len(text) < LONGEST and bool(re.search(rf"\b({LIMIT}|{WAY_OUT})\b", text, re.IGNORECASE))
