"""ComfyUI's own page in Chromium. Without a browser the tests fail with one line that says what to install."""

import os
import shutil
import subprocess

import pytest

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


@pytest.fixture(scope="module")
def models():
    """Override: a function that fills the models folder before ComfyUI starts."""
    return lambda folder: None


@pytest.fixture(scope="module")
def server(tmp_path_factory, models):
    base = tmp_path_factory.mktemp("comfyui_browser")
    (base / "models" / "vae").mkdir(parents=True)
    models(base / "models")
    with ComfyServer(base, extra_args=["--use-pytorch-cross-attention"]) as server:
        yield server


@pytest.fixture(scope="module")
def session(server):
    """One page for all tests of a file."""
    with open_page(server.url, width=1900, height=1000) as page:
        yield page


@pytest.fixture
def page(session):
    session.errors.clear()
    return session
