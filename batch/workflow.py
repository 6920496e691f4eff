"""Any API workflow, once for each row: what ACE alone does not do. A worker holds a ComfyUI and asks it over its own API."""

import json
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from ace_model.record import Picture

from .job import BatchError, Job, StopRun, Workflow, digest, replaced
from .requests import SEED, path_of
from .server import Server

MODES = ("L", "RGB", "RGBA")


def read(path: Path, values: Sequence[str], take: str) -> Workflow:
    """A file that Export (API) wrote, and what of a row goes where: NODE.INPUT=COLUMN. Raises BatchError."""
    try:
        graph = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BatchError(f"--workflow {path} cannot be read ({error}): give a file saved by Export (API).") from None
    if not isinstance(graph, dict) or not graph or not all(isinstance(node, dict) and isinstance(node.get("inputs"), dict)
                                                           and "class_type" in node for node in graph.values()):
        raise BatchError(f"--workflow {path} is no API workflow: open it in ComfyUI, and save it by Export (API).")
    found = []
    for text in values:
        place, equals, column = text.partition("=")
        node, dot, slot = place.rpartition(".")
        if not (equals and dot and column):
            raise BatchError(f"--set {text}: give NODE.INPUT=COLUMN, such as LoadImage.image=photo.")
        name = node_of(graph, node, f"--set {text}")
        if slot not in graph[name]["inputs"]:
            raise BatchError(f"--set {text}: {node} has no input {slot}. It has {', '.join(graph[name]['inputs'])}.")
        found.append((name, slot, column))
    if not found:
        raise BatchError("--workflow needs --set NODE.INPUT=COLUMN at least once: else every row is the same.")
    return Workflow(graph, tuple(found), take and node_of(graph, take, f"--take {take}"))


def node_of(graph: dict, name: str, where: str) -> str:
    """The id of a node that is called by its id, its title, or its kind if no other is of that kind. Raises BatchError."""
    if name in graph:
        return name
    called = [key for key, node in graph.items() if name in (node.get("_meta", {}).get("title"), node["class_type"])]
    if len(called) == 1:
        return called[0]
    known = ", ".join(f"{key} ({node['class_type']})" for key, node in graph.items())
    raise BatchError(f"{where}: {f'{len(called)} nodes are called' if called else 'no node is called'} {name}. Use one of "
                     f"{known}.")


class Flow:
    """A worker's ComfyUI with the workflow. Raises StopRun for a workflow that it cannot run."""

    def __init__(self, job: Job):
        self.job, self.flow, self.server = job, job.workflow, Server(Path(job.comfyui))
        self.maker = digest(json.dumps(self.flow.graph, sort_keys=True).encode())
        known = self.server.about()
        unknown = sorted({node["class_type"] for node in self.flow.graph.values()} - known.keys())
        if unknown:
            raise StopRun(f"ComfyUI has no {', '.join(unknown)}: install the packs that the workflow needs.")
        shows = [name for name, node in self.flow.graph.items() if known[node["class_type"]]["output_node"]]
        if self.flow.take and self.flow.take not in shows:
            raise StopRun(f"--take {self.flow.take}: that node shows nothing. Use one of {', '.join(shows)}.")
        if len(shows) != 1 and not self.flow.take:
            raise StopRun(f"the workflow has {len(shows)} nodes that show something ({', '.join(shows)}): say by --take NODE "
                          "whose picture to keep.")
        self.take = self.flow.take or shows[0]

    def expect(self, requests: Sequence[str]) -> None:
        """ComfyUI's own cache does it."""

    def __call__(self, text: str, digests: Sequence[str]) -> np.ndarray:
        """Levels (H, W) or (H, W, 3 or 4) of 8 bits. Raises BatchError."""
        graph, copies = self.filled(json.loads(text), list(digests))
        try:
            return self.picture(self.server.run(graph).get(self.take, {}))
        except OSError:
            if not self.server.alive():  # Ray starts another worker, and the ledger counts how often this request ended one
                os._exit(1)
            raise
        finally:
            for path in copies:
                path.unlink(missing_ok=True)

    def filled(self, values: dict, digests: list[str]) -> tuple[dict, list[Path]]:
        """(the graph of one row, the copies of its pictures in ComfyUI's input folder)."""
        graph, copies = json.loads(json.dumps(self.flow.graph)), []
        seed = int(digest(json.dumps([values, digests], sort_keys=True).encode())[:16], 16) >> 11
        for node, slot, column in self.flow.values:
            value = seed if column == SEED else values[column]
            if self.flow.takes_picture(node, slot):
                copies.append(self.copied(str(value), digests.pop(0)))
                value = copies[-1].name
            graph[node]["inputs"][slot] = value
        return graph, copies

    def copied(self, name: str, known: str) -> Path:
        path = path_of(Picture(name), self.job.folders)
        try:
            content = path.read_bytes()
        except OSError as error:
            raise BatchError(f"{path} cannot be read ({error.strerror}): put it back.") from None
        if digest(content) != known:
            raise BatchError(f"{path} has changed since the requests were read: put it back, or start a new run.")
        copy = self.server.folder / "input" / f"{known[:32]}{path.suffix.lower()}"
        replaced(copy, lambda part: part.write_bytes(content))
        return copy

    def picture(self, output: dict) -> np.ndarray:
        """The first picture that a node saved or showed; the file goes."""
        if not output.get("images"):
            raise BatchError(f"node {self.take} showed no picture: choose another by --take.")
        found = [self.server.folder / each["type"] / each.get("subfolder", "") / each["filename"] for each in output["images"]]
        try:
            with Image.open(found[0]) as image:
                return np.array(image if image.mode in MODES else image.convert("RGB"))
        finally:
            for path in found:
                path.unlink(missing_ok=True)

    def recover(self) -> None:
        """ComfyUI does it."""
