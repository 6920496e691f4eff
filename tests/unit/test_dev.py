"""dev.py's own promises that need no network, and the version that a release must agree on."""

import ast
import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from tools.house import imports

ROOT = Path(__file__).resolve().parents[2]
OWN = ["dev.py", "tools/__init__.py", "tools/disk.py", "tools/extras.py", "tools/processes.py",
       "tools/results.py"]  # what runs before there is an environment
posix = pytest.mark.skipif(os.name == "nt", reason="signals, links and device files are POSIX's")
any_bytes = pytest.mark.skipif(sys.platform != "linux", reason="names that are not UTF-8 are Linux's")
needs_full = pytest.mark.skipif(not os.path.exists("/dev/full"), reason="a full disk is played by /dev/full")


def load(path):
    spec = importlib.util.spec_from_file_location(f"loaded_{path.stem}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


version = load(ROOT / ".github" / "version.py")


@pytest.fixture
def dev(tmp_path):
    """dev.py with a `.dev` of its own."""
    dev = load(ROOT / "dev.py")
    dev.DEV, dev.VENV, dev.COMFYUI = tmp_path, tmp_path / "venv", tmp_path / "ComfyUI"
    dev.STAMP, dev.ORIGIN, dev.LOG = dev.VENV / "stamp", dev.COMFYUI / "origin", tmp_path / "build.log"
    return dev


def comfyui(folder, version="0.30.0", requirements="einops\n"):
    (folder / "comfy").mkdir(parents=True)
    (folder / "main.py").touch()
    (folder / "comfyui_version.py").write_text(f'__version__ = "{version}"\n')
    (folder / "requirements.txt").write_text(requirements)
    return folder


def test_what_runs_first_needs_only_the_standard_library_and_an_old_python_can_read_it():
    for name in OWN:
        ast.parse((ROOT / name).read_text(encoding="utf-8"), feature_version=(3, 8))
        ours = {module for module in imports(name) if module.split(".")[0] not in sys.stdlib_module_names}
        assert ours <= {module for other in OWN for module in imports_as(other)}, name


def imports_as(name):
    """How other files import from a file."""
    module = name.removesuffix(".py").replace("/", ".").removesuffix(".__init__")
    tree = ast.parse((ROOT / name).read_text(encoding="utf-8"))
    return {module, *(f"{module}.{node.name}" for node in tree.body if isinstance(node, ast.FunctionDef))}


@pytest.mark.parametrize("found, accepted", [("0.30", True), ("0.30.0", True), ("0.30.1", True), ("0.100.0", True),
                                             ("1", True), ("1.0", True), ("0.29.9", False), ("0.3.75", False)])
def test_versions_are_compared_as_numbers(dev, tmp_path, found, accepted):
    path = comfyui(tmp_path / "given", found)
    if accepted:
        assert dev.comfyui_version(path) == found
    else:
        with pytest.raises(dev.Stop, match=f"{found}.*too old"):
            dev.comfyui_version(path)


@pytest.mark.parametrize("line, found", [
    ('__version__: str = "0.30"', "0.30"), ("__version__ = 'v0.31.0rc1'", "0.31.0"),
    ('# caf\xe9\n__version__ = "0.30.0"', "0.30.0"), ('version = "0.30.0"', None), (f'__version__ = "{"9" * 20}"', None)])
def test_a_version_is_read_or_said_to_be_unreadable_and_never_taken_for_0(dev, tmp_path, line, found):
    path = comfyui(tmp_path / "given")
    (path / "comfyui_version.py").write_bytes(line.encode("latin-1"))
    if found:
        assert dev.comfyui_version(path) == found
    else:
        with pytest.raises(dev.Stop, match="given cannot be read: .* Update ComfyUI"):
            dev.comfyui_version(path)


def test_a_wrong_path_is_named(dev, tmp_path):
    with pytest.raises(dev.Stop, match="not a ComfyUI folder: it has no main.py"):
        dev.comfyui_version(tmp_path)


def stamp(dev, folder, testing):
    dev.VENV.mkdir(exist_ok=True)
    dev.ORIGIN.write_text(dev.SDIST_SHA256)
    dev.STAMP.write_text("\n".join([dev.INTERPRETER, *dev.requirements(folder, testing)]), encoding="utf-8")


def test_the_environment_is_whole_only_while_its_stamp_covers_everything(dev):
    folder = comfyui(dev.COMFYUI)
    assert not dev.built(folder, False)
    stamp(dev, folder, testing=False)
    assert dev.built(folder, False) and not dev.built(folder, True)
    stamp(dev, folder, testing=True)
    assert dev.built(folder, False) and dev.built(folder, True)
    (folder / "requirements.txt").write_text("einops\nscipy\n")
    assert not dev.built(folder, False) and dev.installed()  # one more package: no new environment
    dev.STAMP.write_text(dev.STAMP.read_text().replace("on ", "on another "))
    assert not dev.installed()  # another Python: a new environment


def test_the_benchmark_s_packages_are_its_own_and_the_tests_and_stay_when_others_build(dev, monkeypatch):
    folder, asked = comfyui(dev.COMFYUI), []
    monkeypatch.setattr(dev, "pip", lambda *args: asked.append(dev.DEV.joinpath("requirements.txt").read_text().splitlines()))
    monkeypatch.setattr(dev.shutil, "disk_usage", lambda path: SimpleNamespace(free=1e12))
    stamp(dev, folder, testing=False)
    assert not dev.built(folder, False, bench=True)
    dev.build(folder, False, bench=True)
    assert dev.built(folder, False, bench=True) and dev.built(folder, False) and not dev.built(folder, True)
    assert any(line.startswith("matplotlib") for line in asked[0]) and not any(line.startswith("pytest") for line in asked[0])
    dev.build(folder, True)
    dev.build(folder, False)
    assert dev.built(folder, True) and dev.built(folder, False, bench=True)


def test_extras_are_what_pyproject_pins_and_lie_in_a_folder_of_their_own(dev, monkeypatch):
    tomllib = pytest.importorskip("tomllib")
    pins = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]["train"]
    assert dev.pinned(ROOT / "pyproject.toml", "train") == pins != []
    stamp(dev, comfyui(dev.COMFYUI), testing=False)
    asked = []

    def pip(*args):
        asked.append(args)
        Path(args[args.index("--target") + 1]).mkdir()
    monkeypatch.setattr(dev, "pip", pip)
    folder = dev.overlay("train")
    assert folder == dev.overlay("train") and folder.is_dir() and len(asked) == 1 and asked[0][-len(pins):] == tuple(pins)
    assert "--no-deps" in asked[0] and dev.installed()
    monkeypatch.setattr(dev, "pinned", lambda *_: ["peft==1"])
    dev.overlay("train")
    assert asked[1][-1] == "peft==1"


def test_an_install_that_is_cut_short_leaves_no_stamp(dev):
    stamp(dev, comfyui(dev.COMFYUI), testing=False)
    for words, whole in (("Collecting einops", True), ("Installing collected packages: einops", False)):
        dev.run_logged([sys.executable, "-c", f"print({words!r}); raise SystemExit(1)"], [])
        assert bool(dev.installed()) == whole
    stamp(dev, dev.COMFYUI, testing=False)
    dev.run_logged([sys.executable, "-c", "print('Installing collected packages: peft')", "--target", "elsewhere"], [])
    assert dev.installed(), "an overlay changes nothing in the environment"


@pytest.mark.parametrize("output, expected", [
    ("Collecting torch\nERROR: Max retries exceeded", "torch: the package index does not answer."),
    ("Collecting torch\nERROR: [Errno 28] No space left on device", "The disk is full."),
    ("Collecting torch\nInstalling collected packages: numpy, torch", "The installation was stopped from outside. Run"),
    ("ERROR: No matching distribution found for foo==1", "foo==1 cannot be installed")])
def test_pip_s_failures_are_explained(dev, output, expected):
    assert dev.explain(output.splitlines()).startswith(expected)


def test_two_builds_at_once_are_refused(dev):
    dev.COMFYUI.mkdir()
    with dev.lock(dev.DEV / "lock"), pytest.raises(dev.Stop, match="Another dev.py is building"):
        dev.prepare(dev.COMFYUI)


WAITING = """
import os, sys, time
print("said", flush=True)
while sys.argv[1] and not os.path.exists(sys.argv[1]):
    time.sleep(0.05)
sys.exit(3)
"""


def test_side_by_side(dev, tmp_path):
    """Two at a time, each with its output and exit code: the first runs until the other two are done."""
    commands = {name: [sys.executable, "-c", WAITING, str(tmp_path / "go on") * (name == "a")] for name in "abc"}
    found = []
    for name, code, _, output in dev.side_by_side(commands, ROOT, dict(os.environ), dev.DEV):
        found.append((name, code, output))
        if len(found) == 2:
            (tmp_path / "go on").touch()
    assert found == [(name, 3, "said") for name in "bca"]


def until(true):
    deadline = time.monotonic() + 60
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.05)


STOPPED = """
import pathlib, signal, sys
sys.path.insert(0, sys.argv[1])
from tools.processes import side_by_side
signal.signal(signal.SIGTERM, signal.default_int_handler)
child = [sys.executable, "-c", "import os, time; print(os.getpid(), flush=True); time.sleep(60)"]
list(side_by_side({"a": child, "b": child}, sys.argv[1], None, pathlib.Path(sys.argv[2])))
"""


@posix
def test_a_stopped_run_leaves_no_child(tmp_path):
    process = subprocess.Popen([sys.executable, "-c", STOPPED, str(ROOT), str(tmp_path)], stderr=subprocess.DEVNULL)
    logs = [tmp_path / f"test-{name}.log" for name in "ab"]
    until(lambda: all(log.is_file() and log.read_text().strip() for log in logs))
    process.send_signal(signal.SIGTERM)
    process.wait(60)
    for log in logs:
        with pytest.raises(ProcessLookupError):
            os.kill(int(log.read_text().split()[0]), 0)


@pytest.fixture
def clone(tmp_path):
    """A folder with dev.py, to be run as a user runs it."""
    return copy(tmp_path / "clone")


def copy(folder):
    (folder / "tools").mkdir(parents=True)
    for name in OWN:
        shutil.copy(ROOT / name, folder / name)
    return folder


def whole(clone, program=""):
    """A stand-in for the environment, with `program` as the demo; what --comfyui can name."""
    own, given = load(clone / "dev.py"), comfyui(clone / "given")
    own.PYTHON.parent.mkdir(parents=True)
    own.PYTHON.symlink_to(sys.executable)
    own.STAMP.write_text("\n".join([own.INTERPRETER, *own.requirements(given, False)]), encoding="utf-8")
    (clone / "demo" / "page").mkdir(parents=True)
    (clone / "demo" / "page" / "run.py").write_text(program)
    return given


@pytest.fixture
def start(clone):
    """Starts dev.py in a session of its own, with pip cut off: a test that goes wrong must not build an environment."""
    started = []
    kept = {key: value for key, value in os.environ.items() if key != "COMFYUI_PATH"}

    def start(*args, folder=clone, **changes):
        env = kept | {"PYTHONIOENCODING": "utf-8:strict", "PIP_NO_INDEX": "1"} | changes
        started.append(subprocess.Popen([sys.executable, "dev.py", *args], cwd=folder, env=env, text=True, encoding="utf-8",
                                        stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True))
        return started[-1]
    yield start
    for process in started:
        if process.poll() is None:
            process.terminate()
            process.communicate(timeout=60)


def ended(process):
    out, err = process.communicate(timeout=60)
    assert "Traceback" not in out + err, err
    return process.returncode, out, err


@posix
@pytest.mark.parametrize("target, why", [(None, "File exists"), ("/proc/self", "No such file or directory")])
def test_a_dev_folder_that_cannot_be_written_is_named(clone, start, target, why):
    """A file in its place, or a folder that takes no files, not even from root, whom permissions do not bind."""
    if target and not os.path.isdir(target):
        pytest.skip("no /proc here")
    (clone / ".dev").symlink_to(target) if target else (clone / ".dev").touch()
    code, _, err = ended(start("demo"))
    assert code == 1 and err.startswith(f"dev.py: {clone / '.dev'} cannot be read or written ({why}): make {clone / '.dev'} a")


@posix
def test_a_file_of_dev_that_cannot_be_used_is_named(clone, start):
    (clone / ".dev" / "lock").mkdir(parents=True)
    code, _, err = ended(start("test"))
    assert code == 1 and err.startswith(f"dev.py: {clone / '.dev' / 'lock'} cannot be read or written (Is a directory): ")


@needs_full
def test_a_full_disk_leaves_the_old_stamp(dev, monkeypatch):
    stamp(dev, comfyui(dev.COMFYUI), testing=False)
    before = dev.STAMP.read_text()
    (dev.VENV / "stamp.new").symlink_to("/dev/full")
    monkeypatch.setattr(dev, "pip", lambda *args: None)
    monkeypatch.setattr(dev.shutil, "disk_usage", lambda path: SimpleNamespace(free=1e12))
    with pytest.raises(OSError, match="No space left"):
        dev.build(dev.COMFYUI, True)
    assert dev.STAMP.read_text() == before


@pytest.mark.parametrize("args", [["--comfyui", "", "demo"], ["--comfyui=", "demo"], ["test", "--comfyui", "  "]])
def test_an_empty_comfyui_is_refused_and_not_replaced(clone, start, args):
    code, _, err = ended(start(*args, COMFYUI_PATH=str(comfyui(clone / "given"))))
    assert code == 2 and "error: --comfyui: '" in err and "names no folder. Give the folder that holds main.py" in err
    assert not (clone / ".dev").exists()


@pytest.mark.parametrize("variable, args, name", [("nowhere", [], "COMFYUI_PATH"), ("", ["--comfyui", "nowhere"], "--comfyui"),
                                                  ("", ["--comfyui", "~nobody-of-that-name/x"], "--comfyui")])
def test_a_wrong_comfyui_is_a_bad_argument(clone, start, variable, args, name):
    code, _, err = ended(start("demo", *args, COMFYUI_PATH=variable))
    assert code == 2 and f"dev.py: error: {name}: " in err


def test_no_comfyui_given_means_our_own(dev, monkeypatch):
    for value in (None, ""):
        monkeypatch.delenv("COMFYUI_PATH", raising=False) if value is None else monkeypatch.setenv("COMFYUI_PATH", value)
        assert dev.chosen_comfyui(None) == dev.COMFYUI


@any_bytes
def test_names_that_are_not_utf_8(clone, start, tmp_path):
    code, _, err = ended(start("demo", "--comfyui", b"caf\xe9"))
    assert code == 2 and "caf\\udce9 is not a ComfyUI folder" in err
    odd = os.fsdecode(bytes(tmp_path) + b"/caf\xe9")
    whole(clone, "print('ran')").rename(odd)
    code, out, _ = ended(start("demo", "--comfyui", odd))
    assert code == 0 and "caf\\udce9" in out and out.endswith("ran\n")
    code, _, err = ended(start("demo", folder=copy(Path(odd) / "clone")))
    assert code == 1 and "clone is not UTF-8" in err and "rename it" in err


IMPORTING = "import sys, time\nprint('importing', flush=True)\ntime.sleep(60)\n"


@posix
@pytest.mark.parametrize("who", ["dev.py", "the program"])
def test_ctrl_c_while_modules_are_imported(clone, start, who):
    """The terminal's signal goes to everything in it: neither dev.py nor what it started answers with a traceback."""
    given = whole(clone, IMPORTING)
    if who == "dev.py":
        (clone / "tarfile.py").write_text(IMPORTING)  # dev.py's own folder comes first
    process = start("demo", "--comfyui", str(given))
    until(lambda: "importing" in process.stdout.readline())
    os.killpg(process.pid, signal.SIGINT)
    began = time.monotonic()
    code, out, err = ended(process)
    assert code == 130 and out.endswith("Stopped. Run the same command again to go on.\n") and not err
    assert time.monotonic() - began < 15
    with pytest.raises(ProcessLookupError):
        os.killpg(process.pid, 0)


SLOW_TO_END = """
import pathlib, signal, sys, time
def end(*_):
    time.sleep(2)
    pathlib.Path("cleaned").touch()
    sys.exit(130)
signal.signal(signal.SIGTERM, end)
print("running", flush=True)
time.sleep(60)
"""


@posix
def test_more_ctrl_c_does_not_cut_the_end_short(clone, start):
    process = start("demo", "--comfyui", str(whole(clone, SLOW_TO_END)))
    until(lambda: "running" in process.stdout.readline())
    for _ in range(5):
        os.killpg(process.pid, signal.SIGINT)
        time.sleep(0.2)
    assert ended(process)[0] == 130 and (clone / "cleaned").exists()


@posix
def test_ctrl_c_in_a_young_build_leaves_nothing_that_is_taken_for_whole(clone, start):
    """A `venv` that makes Python's file first and never ends."""
    (clone / "venv.py").write_text("import pathlib, sys, time\nfolder = pathlib.Path(sys.argv[1]) / 'bin'\n"
                                   "folder.mkdir(parents=True)\n(folder / 'python').touch()\ntime.sleep(60)\n")
    (clone / "sitecustomize.py").write_text("import shutil, types\nshutil.disk_usage = lambda p: "
                                            "types.SimpleNamespace(free=1e12)\n")
    process = start("demo", PYTHONPATH=str(clone))
    own = load(clone / "dev.py")
    until(own.PYTHON.exists)
    os.killpg(process.pid, signal.SIGINT)
    code, out, err = ended(process)
    assert code == 130 and out.endswith("again to go on.\n") and not err
    assert not own.installed() and not own.built(own.COMFYUI, False)


CUT_SHORT = """
import os, signal, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
os.kill(os.getppid(), signal.SIGINT)
time.sleep(0.5)
print("Installing collected packages: einops", flush=True)
"""


@posix
def test_an_install_that_nobody_read_of_leaves_no_stamp(dev, monkeypatch):
    """pip begins to install in the moment in which Ctrl-C ends the reading."""
    stamp(dev, comfyui(dev.COMFYUI), testing=False)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            dev.run_logged([sys.executable, "-c", CUT_SHORT], [])
    finally:
        signal.signal(signal.SIGINT, before)
    assert not dev.installed()


def test_version_and_changelog_agree():
    assert not version.disagreement(*version.versions())


@pytest.mark.parametrize("project, heading, tag, expected", [
    ("0.1.0", "0.1.0 (2026-01-31)", "v0.1.0", None),
    ("0.1.0", "0.1.0 (unreleased)", None, None),
    ("0.1.0", "0.1.0 (unreleased)", "v0.1.0", "still calls 0.1.0 unreleased"),
    ("0.1.0", "0.1.0", "v0.1.1", "tag v0.1.0"),
    ("0.2.0", "0.1.0", None, "the newest heading of CHANGELOG.md is '0.1.0'")])
def test_a_release_that_disagrees_is_refused(project, heading, tag, expected):
    said = version.disagreement(project, heading, tag)
    assert (expected in said) if expected else said is None
