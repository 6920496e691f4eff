"""Generators of (turns, exact answer) for every task type and subtask.

base (what a sample is) · names (which picture has which name) · words (phrasing) · analysis (text to image, maps,
pictures from maps) · editing (semantic and element edits) · composing (repainting, layers, references) · chains (several
turns) · batch (samples → tensors).
"""

from . import analysis, chains, composing, editing
from .base import MULTI_TURN, TASKS, Region, Sample, Turn, subtasks
from .names import generate

__all__ = ["MULTI_TURN", "TASKS", "Region", "Sample", "Turn", "analysis", "chains", "composing", "editing", "generate",
           "subtasks"]
