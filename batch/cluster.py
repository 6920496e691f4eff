"""Ray: started here or joined, its machines looked at before work begins, and its errors in words for a person."""

import logging
import os
import re
import secrets
import signal
import socket
import sys
import tempfile
from pathlib import Path

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from ace_model.errors import InputError

from .job import BatchError, Job

PACK = Path(__file__).absolute().parent.parent
STORE = 500e6  # bytes of Ray's object store on one machine: requests and answers on their way to the disk
OURS = re.compile(r"^(?:batch|ace_model)\.[\w.]+: (.+)", re.MULTILINE)  # an error of the pack in the text of one of Ray's
NO_SPACE = ("No space left on device", "[Errno 28]", "Disk quota exceeded", "OutOfDiskError")


def start(address: str | None, extras: Path, cpus: int) -> None:
    """Join the cluster at `address`, or start Ray on this machine. Raises BatchError."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # else it warns of every worker that may be started again
    for name in ("ray", "ray.data"):
        logging.getLogger(name).setLevel(logging.ERROR)
    path = os.pathsep.join(dict.fromkeys([str(PACK), str(extras), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]))
    variables = {"PYTHONPATH": path.strip(os.pathsep), "HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}
    common = {"logging_level": logging.ERROR, "log_to_driver": False, "runtime_env": {"env_vars": variables}}
    try:
        if address:
            ray.init(address, **common)
        else:
            os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))  # else Ray puts one into the home folder
            store = int(min(STORE, 0.3 * shared()))
            ray.init("local", num_cpus=cpus, include_dashboard=False, object_store_memory=store, **common)
        signal.signal(signal.SIGTERM, interrupted)  # Ray's own way to end prints a traceback
    except Exception as error:  # noqa: BLE001 - Ray has many
        text = str(error)
        if "ersion mismatch" in text:
            raise BatchError(f"the cluster at {address} runs another Ray or Python ({' '.join(text.split())[:300]}): install "
                             f"ray=={ray.__version__} on all machines, with the same Python.") from None
        raise BatchError(f"Ray {'at ' + address if address else 'on this machine'} cannot be reached "
                         f"({type(error).__name__}: {' '.join(text.split())[:300]}).") from None


def interrupted(*_) -> None:
    raise KeyboardInterrupt


def shared() -> int:
    """Bytes free where Ray keeps its objects."""
    place = "/dev/shm" if os.path.isdir("/dev/shm") else tempfile.gettempdir()  # noqa: S108 - only looked at
    found = os.statvfs(place) if hasattr(os, "statvfs") else None
    return found.f_bavail * found.f_frsize if found else int(STORE)


def look(job: Job, folder: Path, needs: str, local: bool) -> None:
    """Ask every machine that can work whether it has what a worker needs. needs: "GPU" or "CPU". Raises BatchError that names
    the machines. local: there is this one alone, and it has started ComfyUI."""
    if local:
        problems = wrong_with(job, str(folder), True)
        if problems:
            raise BatchError("\n".join(problems))
        return
    token = folder / f".seen-from-{socket.gethostname()}-{os.getpid()}"
    token.write_text("Every machine of the run must see this file.", encoding="utf-8")
    try:
        nodes = [node for node in ray.nodes() if node["Alive"]]
        asked = {node["NodeID"]: inspect.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False))
                 .remote(job, str(token), node["Resources"].get(needs, 0) > 0) for node in nodes}
        problems = []
        for node in nodes:
            try:
                problems += [f"{node['NodeManagerHostname']} ({node['NodeManagerAddress']}): {each}"
                             for each in ray.get(asked[node["NodeID"]], timeout=300)]
            except ray.exceptions.RayError as error:
                problems.append(f"{node['NodeManagerHostname']}: cannot run the pack ({' '.join(str(error).split())[-200:]}): "
                                "it must lie in the same folder on all machines, with its extras.")
        if problems:
            raise BatchError("not every machine is ready:\n" + "\n".join(f"  {each}" for each in problems))
    finally:
        token.unlink(missing_ok=True)


@ray.remote(num_cpus=0, max_retries=0)
def inspect(job: Job, token: str, works: bool) -> list[str]:
    """What is wrong with this machine."""
    return wrong_with(job, token, works)


def wrong_with(job: Job, token: str, works: bool) -> list[str]:
    """works: a worker may run here, so that it needs ComfyUI and the models."""
    problems = []
    if not Path(token).exists():
        problems.append(f"{Path(token).parent} is not the folder that the others see: give an output folder on a disk that all "
                        "machines share.")
    if works and not Path(job.comfyui, "comfy").is_dir():
        return [*problems, f"{job.comfyui} is not ComfyUI: install it in the same folder on all machines."]
    if works and not job.workflow:
        from ace_model.comfyui import headless

        from .ace import resolve
        if "folder_paths" not in sys.modules:
            headless.start(Path(job.comfyui))
        wanted = [(kind, getattr(job.files, kind)) for kind in ("model", "text_encoder", "vae")]
        for kind, name in [*wanted, *(("lora", name) for name, _ in job.files.loras)]:
            try:
                resolve(kind, name)
            except InputError as error:
                problems.append(str(error))
    return problems


def in_words(error: BaseException | None, folder: Path) -> str:
    """What a person can do about an error of Ray's; empty if nobody foresaw it."""
    seen, text = [], ""
    while error is not None and error not in seen:
        seen.append(error)
        text += f"{error}\n"
        inside = getattr(error, "cause", None)  # of Ray's errors, whose own text is a traceback
        if isinstance(error, InputError) and inside is None:
            return str(error)
        error = inside if isinstance(inside, BaseException) else error.__cause__ or error.__context__
    if any(sign in text for sign in NO_SPACE):
        return f"the disk of {folder} is full. Free some space and run the same command again: what is written is kept."
    found = OURS.findall(text)
    return found[-1] if found else ""
