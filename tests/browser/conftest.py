"""ComfyUI's own page in Chromium. Without a browser the tests fail with one line that says what to install."""

import os
import shutil
import subprocess

import pytest

from tools import tiny_models
from tools.browser import BrowserError, find_browser, open_page
from tools.comfy_server import ComfyServer


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
def session(server):
    """One page for all tests: opening it takes longer than most of them."""
    with open_page(server.url, width=1400, height=900) as page:
        yield page


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
