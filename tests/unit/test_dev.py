"""dev.py's own promises that need no network, and the version that a release must agree on."""

import importlib.util
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


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


@pytest.mark.parametrize("found, accepted", [("0.30", True), ("0.30.0", True), ("0.30.1", True), ("0.100.0", True),
                                             ("1.0", True), ("0.29.9", False), ("0.3.75", False)])
def test_versions_are_compared_as_numbers(dev, tmp_path, found, accepted):
    path = comfyui(tmp_path / "given", found)
    if accepted:
        assert dev.comfyui_version(path) == found
    else:
        with pytest.raises(dev.Stop, match=f"{found}.*too old"):
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


def test_an_install_that_is_cut_short_leaves_no_stamp(dev):
    stamp(dev, comfyui(dev.COMFYUI), testing=False)
    for words, whole in (("Collecting einops", True), ("Installing collected packages: einops", False)):
        dev.run_logged([sys.executable, "-c", f"print({words!r}); raise SystemExit(1)"], [])
        assert bool(dev.installed()) == whole


@pytest.mark.parametrize("output, expected", [
    ("Collecting torch\nERROR: Max retries exceeded", "torch: the package index does not answer."),
    ("Collecting torch\nERROR: [Errno 28] No space left on device", "The disk is full."),
    ("ERROR: No matching distribution found for foo==1", "foo==1 cannot be installed")])
def test_pip_s_failures_are_explained(dev, output, expected):
    assert dev.explain(output.splitlines()).startswith(expected)


def test_two_builds_at_once_are_refused(dev):
    with dev.build_lock(), pytest.raises(dev.Stop, match="Another dev.py is building"), dev.build_lock():
        pass


def test_side_by_side(dev):
    """Two at a time, each with its output and exit code; when it is stopped, none goes on."""
    program = [sys.executable, "-c", "import sys, time; print('said', flush=True); time.sleep(float(sys.argv[1])); sys.exit(3)"]
    found = list(dev.side_by_side({"a": [*program, "1"], "b": [*program, "0"], "c": [*program, "0"]}, dict(os.environ)))
    assert sorted((name, code, output) for name, code, _, output in found) == [(name, 3, "said") for name in "abc"]
    assert found[-1][0] == "a"


STOPPED = """
import pathlib, signal, sys
sys.path.insert(0, sys.argv[1])
import dev
dev.DEV = pathlib.Path(sys.argv[2])
signal.signal(signal.SIGTERM, signal.default_int_handler)
child = [sys.executable, "-c", "import os, time; print(os.getpid(), flush=True); time.sleep(60)"]
list(dev.side_by_side({"a": child, "b": child}, None))
"""


@pytest.mark.skipif(os.name == "nt", reason="signals are POSIX's")
def test_a_stopped_run_leaves_no_child(tmp_path):
    process = subprocess.Popen([sys.executable, "-c", STOPPED, str(ROOT), str(tmp_path)], stderr=subprocess.DEVNULL)
    logs = [tmp_path / f"test-{name}.log" for name in "ab"]
    deadline = time.monotonic() + 60
    while not all(log.is_file() and log.read_text().strip() for log in logs) and time.monotonic() < deadline:
        time.sleep(0.1)
    process.send_signal(signal.SIGTERM)
    process.wait(60)
    for log in logs:
        with pytest.raises(ProcessLookupError):
            os.kill(int(log.read_text().split()[0]), 0)


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
