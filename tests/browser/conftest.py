"""ComfyUI's own page in Chromium. Without a browser the tests fail with one line that says what to install."""

import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import pytest

from tools import tiny_models
from tools.browser import BrowserError, find_browser, open_browser, open_page
from tools.comfy_server import ComfyServer
from tools.gallery.graph import ROOT

os.environ.setdefault("OMP_NUM_THREADS", "1")  # of the servers: a page that is drawn without a card needs a core, too
NEWER = "1.58.1"  # the frontend that the next ComfyUI brings; the other one is the environment's own


@pytest.fixture(scope="session", autouse=True)
def browser():
    """A browser; on a Debian machine of one's own (root, as in CI) it is installed."""
    try:
        return find_browser()
    except BrowserError as error:
        if not (shutil.which("apt-get") and hasattr(os, "geteuid") and os.geteuid() == 0):
            pytest.fail(str(error), pytrace=False)
        print("\ninstalling Debian's chromium for the browser tests", flush=True)
        for command in (["update", "-qq"], ["install", "-y", "-qq", "chromium"]):
            subprocess.run(["apt-get", *command], check=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        return find_browser()
    except BrowserError as error:
        pytest.fail(str(error), pytrace=False)


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    base = tmp_path_factory.mktemp("comfyui_browser")
    tiny_models.write(base / "models")
    with ComfyServer(base, extra_args=["--use-pytorch-cross-attention"]) as server:
        yield server


@pytest.fixture(scope="session")
def newer_server(tmp_path_factory):
    """The same ComfyUI with a newer frontend."""
    base = tmp_path_factory.mktemp("comfyui_newer_frontend")
    tiny_models.write(base / "models")
    with ComfyServer(base, extra_args=["--use-pytorch-cross-attention", "--front-end-root", str(frontend(NEWER))]) as server:
        yield server


def frontend(version: str) -> Path:
    """The unpacked frontend of a version, fetched once into .dev/."""
    folder = ROOT / ".dev" / f"frontend-{version}"
    if not folder.is_dir():
        folder.parent.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent) as part:
            command = [sys.executable, "-m", "pip", "download", "--no-deps", "--quiet", "--dest", part,
                       f"comfyui-frontend-package=={version}"]
            done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode:
                pytest.fail(f"cannot fetch ComfyUI's frontend {version}: {done.stderr.strip()[-300:]}", pytrace=False)
            with zipfile.ZipFile(next(Path(part).glob("*.whl"))) as wheel:
                wheel.extractall(Path(part) / "unpacked")
            (Path(part) / "unpacked").rename(folder)
    return folder / "comfyui_frontend_package/static"


@pytest.fixture(scope="session")
def chromium(browser):
    with open_browser() as chromium:
        yield chromium


@pytest.fixture(scope="session")
def session(server, chromium):
    """One page for most tests: opening it takes longer than most of them."""
    with open_page(server.url, width=1400, height=900, browser=chromium) as page:
        yield page


@pytest.fixture(scope="module", params=["own", NEWER], ids=["own frontend", f"frontend {NEWER}"])
def frontends(request, chromium):
    """(page as large as a usual window, its server), once per frontend."""
    server = request.getfixturevalue("server" if request.param == "own" else "newer_server")
    with open_page(server.url, width=1600, height=1000, browser=chromium) as page:
        yield page, server
        page.nodes_2(False)  # the server remembers it


@pytest.fixture(scope="module")
def models():
    """Override: whether the models are there."""
    return True


@pytest.fixture(scope="module", autouse=True)
def installed(server, session, models):
    """Puts the models aside for the tests of a file, where it says so."""
    if models:
        yield
        return
    hidden = [(path, server.base / "aside" / str(i)) for i, path in enumerate((server.base / "models").glob("*/*.*"))]
    (server.base / "aside").mkdir()
    for path, aside in hidden:
        path.rename(aside)
    session.reload()
    yield
    for path, aside in hidden:
        aside.rename(path)
    (server.base / "aside").rmdir()
    session.reload()


@pytest.fixture
def page(session):
    session.errors.clear()
    return session


@pytest.fixture
def spoken(page):
    """spoken(language) → the page in that language, until the end of the test."""
    def speak(language):
        page.tab.evaluate("language => app.extensionManager.setting.set('Comfy.Locale', language)", language)
        page.reload()
        return page.tab
    yield speak
    speak("en")
