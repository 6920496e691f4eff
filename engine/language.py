"""A language model that sees: the interface that labelling asks, and core's TextGenerate behind it, in any running ComfyUI.

    language = ComfyLanguage(["http://127.0.0.1:8188"], "qwen3vl_4b.safetensors")
    language.answer("What is in the picture?", [Path("cat.png")], seed=1)

The graph is Load CLIP, Load Image for each picture, Batch Images, Generate Text and Preview as Text. Nothing but the servers
that the caller names is reached: no proxy, no redirection.
"""

import hashlib
import io
import queue
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import requests
from PIL import Image, ImageOps

from ace_model.comfyui.graph import Graph, node
from ace_model.errors import InputError
from training.data import opened

FOLDER = "ACE engine"  # in ComfyUI's temporary folder, which it empties when it starts
WANTED = ("CLIPLoader", "LoadImage", "BatchImagesNode", "TextGenerate", "PreviewAny")
GRAY = (127, 127, 127)
RESTARTS = 3  # of a server during one question
LONGEST_REASON = 500  # characters of ComfyUI's error
SHOWN = 20  # files in an error
FIRST_WAIT, LONGEST_WAIT = 0.02, 1.0  # seconds between looks at a question that runs


class LanguageError(InputError):
    """No more answers can be had: the server is away, or is none, or has no such model."""


class RefusedError(InputError):
    """One question that the model could not answer. Others may go well."""


class LostError(RefusedError):
    """A question that the server knows nothing of any more, because it was started anew."""


class Language(Protocol):
    """name: what its answers depend on beside the question, for the cache."""

    name: str

    def answer(self, prompt: str, pictures: Sequence[Path], seed: int) -> str:
        """What it says. May be called from several threads. Raises LanguageError and RefusedError."""


@dataclass(frozen=True)
class Settings:
    """How text is generated.

    kind: Load CLIP's type · longest: tokens of an answer · temperature, top_k, top_p, min_p, repetition: Generate Text's ·
    size: pixels of a picture's longer side, at most · timeout: seconds for an answer, waiting in the queue included ·
    patience: seconds to wait for a server that does not answer.
    """

    kind: str = "stable_diffusion"  # for models that see, core goes by what is in the file
    longest: int = 512
    temperature: float = 0.7
    top_k: int = 64
    top_p: float = 0.95
    min_p: float = 0.05
    repetition: float = 1.0  # above 1, names in braces and quotes of JSON would come less often
    size: int = 768
    timeout: float = 600.0
    patience: float = 120.0


class ComfyLanguage:
    """Core's TextGenerate. Each server answers one question at a time; several share the work."""

    def __init__(self, servers: Sequence[str], model: str, settings: Settings | None = None):
        self.model, self.settings = model, settings or Settings()
        s = self.settings
        self.name = " ".join(map(str, (model, s.kind, s.longest, s.temperature, s.top_k, s.top_p, s.min_p, s.repetition,
                                       s.size)))
        self.servers = [Server(url, self.settings) for url in dict.fromkeys(servers)]
        self._free: queue.Queue[Server | LanguageError] = queue.Queue()
        self._lock = threading.Lock()
        for server in self.servers:
            self._free.put(server)

    def check(self) -> None:
        """Raises LanguageError unless every server is a ComfyUI that has the model."""
        for server in self.servers:
            known = {name: server.get(f"/object_info/{name}", patience=2) for name in WANTED}
            if lacking := [name for name in WANTED if name not in known[name]]:
                raise LanguageError(f"{server.url} has no node {', '.join(lacking)}: update that ComfyUI.")
            models, kinds = (options(known["CLIPLoader"]["CLIPLoader"], name) for name in ("clip_name", "type"))
            if self.model not in models:
                raise LanguageError(f"--model is {self.model}, but models/text_encoders of {server.url} has "
                                    f"{', '.join(models[:SHOWN]) or 'no file'}: choose a model that sees, or put it there.")
            if self.settings.kind not in kinds:
                raise LanguageError(f"--kind is {self.settings.kind}, but Load CLIP knows {', '.join(kinds)}: choose one.")

    def answer(self, prompt: str, pictures: Sequence[Path], seed: int) -> str:
        seen = views(pictures, self.settings.size)
        while True:
            server = self._free.get()
            if isinstance(server, LanguageError):  # none is left
                self._free.put(server)
                raise server
            try:
                text = server.ask(self.model, prompt, seen, seed)
            except LanguageError as error:
                self._without(server, error)
                continue
            except BaseException:
                self._free.put(server)
                raise
            self._free.put(server)
            return text

    def _without(self, server: "Server", error: LanguageError) -> None:
        """The others go on; the last one leaves its error to all who wait."""
        with self._lock:
            self.servers.remove(server)
            if not self.servers:
                self._free.put(error)


def options(info: Mapping, name: str) -> list[str]:
    """What a node's list offers, in ComfyUI's older and newer way to say it."""
    found = info["input"]["required"][name]
    return list(found[0] if isinstance(found[0], list) else found[1]["options"])


def graph(model: str, prompt: str, pictures: Sequence[str], seed: int, settings: Settings) -> Graph:
    """The API graph of a question. pictures: as Load Image names them. Node `text` has the answer."""
    out = {"clip": node("CLIPLoader", clip_name=model, type=settings.kind, device="default")}
    out |= {f"picture {i}": node("LoadImage", image=name) for i, name in enumerate(pictures)}
    seen: dict[str, Any] = {}
    if len(pictures) == 1:
        seen = {"image": ["picture 0", 0]}
    elif pictures:
        out["pictures"] = node("BatchImagesNode", **{f"images.image{i}": [f"picture {i}", 0] for i in range(len(pictures))})
        seen = {"image": ["pictures", 0]}
    sampling = {"temperature": settings.temperature, "top_k": settings.top_k, "top_p": settings.top_p, "min_p": settings.min_p,
                "repetition_penalty": settings.repetition, "presence_penalty": 0.0, "seed": seed}
    out["answer"] = node("TextGenerate", clip=["clip", 0], prompt=prompt, **seen, max_length=settings.longest, thinking=False,
                         use_default_template=True, sampling_mode="on",
                         **{f"sampling_mode.{name}": value for name, value in sampling.items()})
    out["text"] = node("PreviewAny", source=["answer", 0])
    return out


def views(pictures: Sequence[Path], size: int) -> list[bytes]:
    """The pictures as PNG, shrunk until neither side is longer than `size`, all of the first one's size: Batch Images would
    crop the others. A picture of another shape is fitted in, with gray beside it. Raises DataError."""
    found: list[Image.Image] = []
    for path in pictures:
        image = Image.fromarray((opened(path) * 255).round().byte().numpy())
        image.thumbnail((size, size), Image.Resampling.LANCZOS)
        found.append(ImageOps.pad(image, found[0].size, Image.Resampling.LANCZOS, GRAY)
                     if found and image.size != found[0].size else image)
    out = []
    for image in found:
        buffer = io.BytesIO()
        image.save(buffer, "PNG", compress_level=1)
        out.append(buffer.getvalue())
    return out


class Server:
    """A ComfyUI over HTTP: what labelling needs of it. One thread at a time."""

    def __init__(self, url: str, settings: Settings):
        if not url.startswith(("http://", "https://")):
            raise LanguageError(f"--server is {url}, but must be the address of a ComfyUI, such as http://127.0.0.1:8188.")
        self.url, self.settings = url.rstrip("/"), settings
        self.session = requests.Session()
        self.session.trust_env = False  # no proxy, no password from elsewhere: only this server

    def get(self, path: str, patience: float | None = None) -> dict:
        return self._data(self._send("GET", path, patience=patience))

    def ask(self, model: str, prompt: str, pictures: Sequence[bytes], seed: int) -> str:
        """The model's answer. Raises RefusedError if it fails, LanguageError if the server has gone."""
        for _ in range(RESTARTS):
            try:
                return self.run(graph(model, prompt, [self.upload(each) for each in pictures], seed, self.settings))
            except LostError as error:
                lost = error
        raise lost

    def upload(self, png: bytes) -> str:
        """Its name for Load Image."""
        name = f"{hashlib.sha256(png).hexdigest()[:32]}.png"
        answer = self._data(self._send("POST", "/upload/image", files={"image": (name, png, "image/png")},
                                       data={"type": "temp", "subfolder": FOLDER, "overwrite": "true"}))
        return f"{answer['subfolder']}/{answer['name']} [temp]"

    def run(self, graph: Graph) -> str:
        """The text that node `text` shows. Raises as `ask`, and LostError."""
        answer = self._send("POST", "/prompt", json={"prompt": graph}, refused=(400,))
        result = self._data(answer)
        name = result.get("prompt_id")
        if not isinstance(name, str) or result.get("node_errors"):
            if name:
                self._cancel(name)  # ComfyUI would run the valid rest
            raise RefusedError(refusal(result))
        try:
            entry = self._wait(name)
        except BaseException:
            self._cancel(name)
            raise
        self._send("POST", "/history", json={"delete": [name]})  # thousands of questions would push out what people ran
        try:
            return shown(entry)
        except (KeyError, TypeError, ValueError) as error:
            if isinstance(error, InputError):
                raise
            raise RefusedError(f"{self.url} has no text where Preview as Text shows it") from None

    def _wait(self, name: str) -> dict:
        deadline, pause = time.monotonic() + self.settings.timeout, FIRST_WAIT
        while not (entry := self.get(f"/history/{name}").get(name)):
            if pause == LONGEST_WAIT and not self._knows(name):
                raise LostError(f"{self.url} forgot the question {RESTARTS} times: look at its log")
            if time.monotonic() > deadline:
                raise RefusedError(f"no answer within {self.settings.timeout:g} s: raise --timeout, or look at {self.url}")
            time.sleep(pause)
            pause = min(pause * 1.5, LONGEST_WAIT)
        return entry

    def _knows(self, name: str) -> bool:
        """Whether a question waits, runs or has ended. A server that was started anew does not."""
        waiting = self.get("/queue")
        listed = [item[1] for part in ("queue_running", "queue_pending") for item in waiting.get(part, ())]
        return name in listed or name in self.get(f"/history/{name}")

    def _cancel(self, name: str) -> None:
        """Take a question back, whether it waits or runs. Without a name ComfyUI would stop whatever runs."""
        for path, body in (("/queue", {"delete": [name]}), ("/interrupt", {"prompt_id": name})):
            try:
                self.session.post(self.url + path, json=body, timeout=10, allow_redirects=False)
            except requests.RequestException:
                return  # it has gone, and the question with it

    def _send(self, method: str, path: str, refused: tuple[int, ...] = (), patience: float | None = None, **body
              ) -> requests.Response:
        deadline = time.monotonic() + (self.settings.patience if patience is None else patience)
        pause = FIRST_WAIT
        while True:
            try:
                answer = self.session.request(method, self.url + path, timeout=60, allow_redirects=False, **body)
            except (requests.ConnectionError, requests.Timeout) as error:
                if time.monotonic() > deadline:
                    raise LanguageError(f"{self.url} does not answer ({type(error).__name__}): start ComfyUI there, and run "
                                        "the same command again to go on.") from None
                time.sleep(pause)
                pause = min(pause * 2, 5.0)
                continue
            except requests.RequestException as error:
                raise LanguageError(f"--server is {self.url}, which cannot be asked ({error}): give ComfyUI's address."
                                    ) from None
            if answer.status_code != 200 and answer.status_code not in refused:
                raise LanguageError(f"{self.url}{path} answers {answer.status_code} {answer.reason}: is that ComfyUI?")
            return answer

    def _data(self, answer: requests.Response) -> dict:
        try:
            found = answer.json()
        except ValueError:
            found = None
        if not isinstance(found, dict):
            raise LanguageError(f"{self.url} answers something else than ComfyUI does: give ComfyUI's address.")
        return found


def shown(entry: Mapping) -> str:
    """The text in ComfyUI's account of a graph that has ended. Raises RefusedError if it failed, LanguageError if it was
    stopped, and KeyError, TypeError or ValueError if there is no text."""
    messages = dict(entry["status"]["messages"])
    if "execution_interrupted" in messages:
        raise LanguageError("somebody stopped the question in ComfyUI: run the same command again to go on.")
    if "execution_error" in messages:
        said = messages["execution_error"]
        raise RefusedError(f"{said['node_type']}: {said['exception_message'].strip()[:LONGEST_REASON]}")
    text, = entry["outputs"]["text"]["text"]
    if not isinstance(text, str):
        raise TypeError
    return text


def refusal(result: Mapping) -> str:
    """The first reason in ComfyUI's refusal of a graph."""
    for found in result.get("node_errors", {}).values():
        for error in found.get("errors", ()):
            return f"{found.get('class_type')}: {error.get('message')} {error.get('details', '')}".strip()
    return str(result.get("error", {}).get("message", "ComfyUI refused the graph"))
