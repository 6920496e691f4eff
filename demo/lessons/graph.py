"""A lesson in ComfyUI: the template *ACE Teach a subject*, run in a real server with the demo model and a lesson's data set."""

import time
from argparse import Namespace
from dataclasses import replace
from pathlib import Path

from tools.comfy_server import ComfyServer
from tools.files import replace_file

from ..page.toys import TEACHING, Toy, toy_graph
from ..requests import InputFiles, Sampling
from . import dataset
from .lessons import Lesson

RUNTIME = 3600  # seconds at most


def learn(name: str, lesson: Lesson, args: Namespace) -> Path:
    """Core's Train LoRA on the lesson's examples; the LoRA's file. args: folder, steps, rate, rank."""
    with ComfyServer(args.folder / "comfyui") as server:
        dataset.make(name, replace(lesson, ordinary=0), server.base / "input" / name)  # Train LoRA preserves nothing
        graph, _ = teaching(name, lesson, InputFiles(server.base / "input"), args.steps, args.rate, args.rank)
        began = time.monotonic()
        server.run(graph, timeout=RUNTIME)
        print(f"{args.steps} steps in {time.monotonic() - began:.0f} s")
        made = max((server.base / "output").glob("loras/*.safetensors"), key=lambda path: path.stat().st_mtime)
        file = args.folder / f"{name} of the graph.safetensors"
        replace_file(file, lambda path: path.write_bytes(made.read_bytes()))
    return file


def teaching(name: str, lesson: Lesson, files: InputFiles, steps: int, rate: float, rank: int, strength: float = 1.0
             ) -> tuple[dict, list[str]]:
    """The template's graph with the examples in input/<name> and the lesson's first request; the ids of what it saves."""
    request = lesson.requests(1)[0]
    case = Toy(tuple((picture, None) for picture in request.pictures), (request.turns[-1].instruction,), (request,), {
        "ACEEditorTrainingExamples": {"examples": name}, "LoraModelLoader": {"strength_model": strength},
        "TrainLoraNode": {"steps": steps, "learning_rate": rate, "rank": rank}})
    return toy_graph(TEACHING, case, files, Sampling())
