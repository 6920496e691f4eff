"""A ComfyUI of a worker's own: started, asked over its API, ended with the worker."""

import json
import os
import socket
import subprocess
import sys
import tempfile
import uuid
from pathlib import Path
from time import monotonic, sleep

import requests

from .job import BatchError, StopRun

PACK = Path(__file__).absolute().parent.parent
KEEPER = Path(__file__).with_name("keeper.py")
START = 300  # seconds: some packs take their time
FOLDERS = ("input", "output", "temp", "user")


class RefusedError(BatchError):
    """A graph that ComfyUI does not take, or that failed. nodes: where."""

    def __init__(self, text: str, nodes: tuple[str, ...] = ()):
        super().__init__(text)
        self.nodes = nodes


class Server:
    """The user's ComfyUI with its models and packs, and folders of its own for everything else. Raises StopRun if it does not
    start."""

    def __init__(self, comfyui: Path):
        self.comfyui, self.scratch = comfyui, tempfile.TemporaryDirectory(prefix="ace-batch-")
        self.folder = Path(self.scratch.name)
        for name in FOLDERS:
            (self.folder / name).mkdir()
        self.url, self.session = f"http://127.0.0.1:{free_port()}", requests.Session()
        self.session.trust_env = False  # no proxy stands before this machine
        self.start()

    def start(self) -> None:
        command = [sys.executable, str(KEEPER), sys.executable, str(self.comfyui / "main.py"), "--listen", "127.0.0.1",
                   "--port", self.url.rpartition(":")[2], "--disable-auto-launch", "--database-url", "sqlite:///:memory:",
                   *(part for name in FOLDERS for part in (f"--{name}-directory", str(self.folder / name)))]
        command += self.pack() + ([] if has_gpu() else ["--cpu"])
        variables = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        with (self.folder / "log").open("wb") as log:
            self.process = subprocess.Popen(command, cwd=self.comfyui, env=variables, stdin=subprocess.PIPE, stdout=log,
                                            stderr=subprocess.STDOUT)
        until = monotonic() + START
        while True:
            try:
                self.session.get(f"{self.url}/system_stats", timeout=5).raise_for_status()
                return
            except requests.RequestException:
                if self.process.poll() is not None or monotonic() > until:
                    log = (self.folder / "log").read_text(encoding="utf-8", errors="replace")
                    raise StopRun("ComfyUI does not start. Its log ends:\n" + "\n".join(log.splitlines()[-20:])) from None
                sleep(0.2)

    def pack(self) -> list[str]:
        """Arguments that add this pack, unless it is installed there."""
        place = self.comfyui / "custom_nodes"
        if any(each.resolve() == PACK.resolve() for each in place.iterdir() if each.is_dir()):
            return []
        link = self.folder / "packs" / "comfyui-ace-editor"
        link.parent.mkdir()
        link.symlink_to(PACK, target_is_directory=True)
        (self.folder / "paths.yaml").write_text(json.dumps({"batch": {"custom_nodes": str(link.parent)}}), encoding="utf-8")
        return ["--extra-model-paths-config", str(self.folder / "paths.yaml")]

    def run(self, graph: dict) -> dict:
        """{node: outputs}. Raises RefusedError."""
        answer = self.session.post(f"{self.url}/prompt", json={"prompt": graph, "client_id": uuid.uuid4().hex}, timeout=60)
        result = answer.json()
        if answer.status_code == 400 or result.get("node_errors"):
            raise refused(result)
        answer.raise_for_status()
        name, pause = result["prompt_id"], 0.01
        while not (entry := self.session.get(f"{self.url}/history/{name}", timeout=60).json().get(name)):
            sleep(pause)
            pause = min(0.2, pause * 1.2)
        self.session.post(f"{self.url}/history", json={"delete": [name]}, timeout=60)  # it would grow for ever
        messages = dict(entry["status"]["messages"])
        if "execution_error" in messages:
            told = messages["execution_error"]
            raise RefusedError(f"{told['node_type']} ({told['node_id']}): {told['exception_message'].strip()}",
                               (told["node_id"],))
        return entry["outputs"]

    def about(self) -> dict:
        """What kinds of nodes there are."""
        return self.session.get(f"{self.url}/object_info", timeout=300).json()

    def alive(self) -> bool:
        return self.process.poll() is None

    def stop(self) -> None:
        self.process.stdin.close()
        self.process.wait()
        self.scratch.cleanup()


def refused(result: dict) -> RefusedError:
    found = result.get("node_errors") or {}
    texts = [f"{node['class_type']} ({name}): " + ": ".join(filter(None, (each["message"], each["details"])))
             for name, node in found.items() for each in node["errors"]]
    return RefusedError("; ".join(texts) or result["error"]["message"], tuple(found))


def has_gpu() -> bool:
    import torch
    return any(each is not None and each.is_available() for each in (torch.cuda, getattr(torch, "xpu", None),
                                                                     getattr(torch, "mps", None)))


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
