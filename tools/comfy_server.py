"""A real, headless ComfyUI with this pack: start it, run graphs in it, read what it made.

    with ComfyServer(Path("work")) as server:
        outputs = server.run(graph)
        picture = server.image(outputs["9"]["images"][0])

"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import io
import json
import os
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import aiohttp
import requests
from PIL import Image

PACK = Path(__file__).resolve().parent.parent
PACK_NAME = "comfyui-ace-editor"
STARTUP_SECONDS = 180
END_EVENTS = ("execution_success", "execution_error", "execution_interrupted")
OFFLINE = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "DO_NOT_TRACK": "1", "PYTHONUTF8": "1"}


class PromptError(RuntimeError):
    """A graph that ComfyUI refused or that failed while running, with the node at fault where known.

    kind: the exception's full name, and trace: the lines of its traceback, if it failed while running.
    """

    def __init__(self, message: str, node_id: str | None = None, node_type: str | None = None, kind: str = "",
                 trace: Sequence[str] = ()):
        super().__init__(f"{node_type or 'prompt'} (node {node_id}): {message}" if node_id else message)
        self.message, self.node_id, self.node_type, self.kind, self.trace = message, node_id, node_type, kind, tuple(trace)


class PromptInterrupted(PromptError):
    """The graph was stopped by `interrupt`."""


def own_environment() -> dict[str, str]:
    """Without the packages that a room of ours adds: the installed pack must do without them."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | OFFLINE


class ComfyServer:
    """A ComfyUI process of one's own, reachable on 127.0.0.1 only, stopped on leaving the `with` block.

    base_directory: gets models/, input/, output/ and custom_nodes/ with a link to the pack.
    comfyui: the folder that holds main.py; default: the variable COMFYUI_PATH.
    port: default: a free one. pack: the custom-node folder to link. extra_args: more arguments for main.py.
    Attributes: `url`; `events`, every websocket message so far as {"type", "data"}, preview pictures as
    {"type": "preview", "data": bytes}; `cached`, the ids of the nodes that the last finished graph took from cache.
    """

    def __init__(self, base_directory: Path, comfyui: Path | None = None, port: int | None = None, pack: Path = PACK,
                 extra_args: Sequence[str] = ()):
        if comfyui is None and not os.environ.get("COMFYUI_PATH"):
            raise ValueError("Where is ComfyUI? Pass comfyui, or set COMFYUI_PATH to the folder that holds main.py.")
        self.comfyui = Path(comfyui or os.environ["COMFYUI_PATH"]).resolve()
        self.base = Path(base_directory).resolve()
        self.pack, self.extra_args = Path(pack).resolve(), list(extra_args)
        self.port = port or free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.client_id = uuid.uuid4().hex
        self.events: list[dict[str, Any]] = []
        self.cached: set[str] = set()
        self.process: subprocess.Popen | None = None
        self._ended = threading.Condition()  # notified when a graph has ended
        self._listening = threading.Event()

    def __enter__(self) -> ComfyServer:
        self.start()
        return self

    def __exit__(self, *_) -> None:
        self.stop()

    def start(self, show_log: bool = False) -> None:
        """Start ComfyUI and wait until it answers. RuntimeError with the end of its log if it does not."""
        import torch

        for name in ("models", "input", "output", "custom_nodes"):
            (self.base / name).mkdir(parents=True, exist_ok=True)
        link_folder(self.base / "custom_nodes" / PACK_NAME, self.pack)
        command = [sys.executable, str(self.comfyui / "main.py"), "--base-directory", str(self.base)]
        command += ["--port", str(self.port), "--disable-auto-launch", "--disable-api-nodes"]
        command += ["--disable-all-custom-nodes", "--whitelist-custom-nodes", PACK_NAME]
        command += ["--database-url", "sqlite:///:memory:", *self.extra_args]
        if not torch.cuda.is_available():
            command.append("--cpu")
        with open(self.base / "comfyui.log", "wb") as log:
            options: dict[str, Any] = {"cwd": self.comfyui, "env": own_environment(), "stdin": subprocess.DEVNULL}
            if not show_log:
                options |= {"stdout": log, "stderr": subprocess.STDOUT}
            self.process = subprocess.Popen(command, **options)
        atexit.register(self.stop)
        try:
            self._wait_until_ready()
        except BaseException:
            self.stop()
            raise

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + STARTUP_SECONDS
        while True:
            self._check_alive()
            with contextlib.suppress(requests.RequestException):
                if requests.get(f"{self.url}/system_stats", timeout=5).ok:
                    break
            if time.monotonic() > deadline:
                raise RuntimeError(f"ComfyUI did not answer within {STARTUP_SECONDS} s. Its log ends:\n{self._tail()}")
            time.sleep(0.2)
        self._check_alive()  # or has another program answered on this port?
        threading.Thread(target=lambda: asyncio.run(self._listen()), daemon=True).start()
        if not self._listening.wait(30):
            raise RuntimeError("ComfyUI answers, but its websocket does not.")

    def stop(self) -> None:
        """End the process. Does nothing when it has ended."""
        atexit.unregister(self.stop)
        if self.process is None or self.process.poll() is not None:
            return
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    @property
    def log(self) -> str:
        """What ComfyUI has printed so far."""
        return (self.base / "comfyui.log").read_text(encoding="utf-8", errors="replace")

    def _tail(self) -> str:
        return "\n".join(self.log.splitlines()[-40:])

    def _check_alive(self) -> None:
        if self.process is None or self.process.poll() is not None:
            code = self.process.returncode if self.process else "none"
            raise RuntimeError(f"ComfyUI is not running (exit code {code}). Its log ends:\n{self._tail()}")

    async def _listen(self) -> None:
        address = f"{self.url}/ws?clientId={self.client_id}"
        with contextlib.suppress(aiohttp.ClientError):  # the server has gone: whoever waits for it finds out
            async with aiohttp.ClientSession() as session, session.ws_connect(address, max_msg_size=0) as stream:
                async for message in stream:
                    self._receive(message)

    def _receive(self, message: aiohttp.WSMessage) -> None:
        if message.type == aiohttp.WSMsgType.TEXT:
            self.events.append(json.loads(message.data))
        elif message.type == aiohttp.WSMsgType.BINARY and message.data[3] in (1, 4):
            # kind (4 bytes), then format (4), or the length of metadata (4) and that; then the picture
            skip = 8 if message.data[3] == 1 else 8 + int.from_bytes(message.data[4:8], "big")
            self.events.append({"type": "preview", "data": message.data[skip:]})
        self._listening.set()
        if self.events and self.events[-1]["type"] in END_EVENTS:
            with self._ended:
                self._ended.notify_all()

    def run(self, graph: dict, timeout: float = 600, **extra_data) -> dict:
        """Run an API-format graph; return {node id: outputs}. Errors as in `submit` and `wait`."""
        return self.wait(self.submit(graph, **extra_data), timeout)

    def submit(self, graph: dict, **extra_data) -> str:
        """Queue an API-format graph and return its id. PromptError if any part of it is not valid."""
        body = {"prompt": graph, "client_id": self.client_id, "extra_data": extra_data}
        answer = requests.post(f"{self.url}/prompt", json=body, timeout=60)
        if answer.status_code not in (200, 400):
            answer.raise_for_status()
        result = answer.json()
        if answer.status_code == 400 or result.get("node_errors"):
            if "prompt_id" in result:  # ComfyUI would run the valid rest
                requests.post(f"{self.url}/queue", json={"delete": [result["prompt_id"]]}, timeout=60)
            raise validation_error(result)
        return result["prompt_id"]

    def wait(self, prompt_id: str, timeout: float = 600) -> dict:
        """Wait for a queued graph; return {node id: outputs}.

        PromptError if a node failed, PromptInterrupted if it was stopped, TimeoutError (and it is interrupted)
        after `timeout` seconds, RuntimeError if ComfyUI died.
        """
        deadline = time.monotonic() + timeout
        while not (entry := self._get(f"/history/{prompt_id}").get(prompt_id)):
            if time.monotonic() > deadline:
                self.interrupt()
                raise TimeoutError(f"The graph did not end within {timeout:.0f} s. ComfyUI's log ends:\n{self._tail()}")
            with self._ended:
                self._ended.wait(0.1)
        messages = dict(entry["status"]["messages"])
        self.cached = set(messages.get("execution_cached", {}).get("nodes", []))
        for kind, error in (("execution_error", PromptError), ("execution_interrupted", PromptInterrupted)):
            if kind in messages:
                data = messages[kind]
                raise error(data.get("exception_message", "interrupted").strip(), data["node_id"], data["node_type"],
                            data.get("exception_type", ""), data.get("traceback", ()))
        return entry["outputs"]

    def interrupt(self) -> None:
        """Stop the graph that is running."""
        requests.post(f"{self.url}/interrupt", json={}, timeout=60).raise_for_status()

    def image(self, output_info: dict) -> Image.Image:
        """The picture that an output {"filename", "subfolder", "type"} names. requests.HTTPError if there is none."""
        answer = requests.get(f"{self.url}/view", params=output_info, timeout=60)
        answer.raise_for_status()
        return Image.open(io.BytesIO(answer.content))

    def object_info(self, name: str) -> dict:
        """How ComfyUI describes a node type. KeyError if it has no such node."""
        return self._get(f"/object_info/{name}")[name]

    def _get(self, path: str) -> dict:
        try:
            answer = requests.get(self.url + path, timeout=60)
        except requests.ConnectionError:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(2)
            self._check_alive()
            raise
        answer.raise_for_status()
        return answer.json()


def validation_error(result: dict) -> PromptError:
    """The first error in ComfyUI's refusal of a graph."""
    for node_id, node in result.get("node_errors", {}).items():
        texts = [": ".join(filter(None, (error["message"], error["details"]))) for error in node["errors"]]
        return PromptError("; ".join(texts), node_id, node["class_type"])
    error = result["error"]
    where = error.get("extra_info", {})
    return PromptError(error["message"], where.get("node_id"), where.get("class_type"))


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def require_free(port: int) -> None:
    """Raise ValueError with the way out unless a server can listen on `port`."""
    if not 0 < port < 65536:
        raise ValueError(f"--port {port} is not a port: choose a number from 1 to 65535, or leave it out.")
    with socket.socket() as probe:
        if probe.connect_ex(("127.0.0.1", port)) == 0:
            raise ValueError(f"port {port} is taken by another program: choose another with --port.")


def link_folder(link: Path, target: Path) -> None:
    """Make `link` lead to the folder `target`; a junction where Windows does not allow symbolic links."""
    if link.exists() and link.resolve() == target:
        return
    if link.is_symlink():
        link.unlink()
    elif link.exists():
        os.rmdir(link)  # a junction; an ordinary folder with files in it is refused
    try:
        link.symlink_to(target, target_is_directory=True)
    except OSError:
        if os.name != "nt":
            raise
        subprocess.run(["cmd", "/c", "mklink", "/J", str(link), str(target)], check=True, stdout=subprocess.DEVNULL)
