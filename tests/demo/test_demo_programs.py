"""The programs of `dev.py demo` and `dev.py serve` with a server that does no work: two at once, a full disk, bad arguments."""

import os
import sys
import threading
import time
from types import SimpleNamespace

import pytest
from PIL import Image

from demo import serve
from demo.page import run

any_bytes = pytest.mark.skipif(sys.platform != "linux", reason="names that are not UTF-8 are Linux's")
needs_full = pytest.mark.skipif(not os.path.exists("/dev/full"), reason="a full disk is played by /dev/full")


class Server:
    """Answers at once, with a gray picture."""

    def __init__(self, base, port=None):
        self.base = base

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def run(self, graph):
        return {"own": {"images": [None]}}

    def image(self, output):
        return Image.new("RGB", (8, 8))


@pytest.fixture
def demo(tmp_path, monkeypatch):
    """demo.main(*arguments) → exit code of the demo about a picture of the user's; demo.output, demo.dev: its folders."""
    monkeypatch.setattr(run, "DEV", tmp_path / ".dev")
    monkeypatch.setattr(run, "ComfyServer", Server)

    def demo(*args, picture="photo.png"):
        Image.new("RGB", (40, 40)).save(tmp_path / picture)
        given = ["--image", str(tmp_path / picture), "--instruction", "edges", "--output", str(tmp_path / "out"), *args]
        monkeypatch.setattr(sys, "argv", ["run", *given])
        return run.main()
    return SimpleNamespace(main=demo, output=tmp_path / "out", dev=tmp_path / ".dev")


def test_two_demos_at_once_have_a_folder_each(demo, monkeypatch):
    """The second starts while the first is at work. ComfyUI empties temp/ in the folder that it gets."""
    bases = []

    def enter(server):
        bases.append(server.base)
        if len(bases) == 1:
            assert demo.main() == 0
        return server
    monkeypatch.setattr(Server, "__enter__", enter)
    assert demo.main() == 0 and demo.main() == 0
    assert [base.name for base in bases] == ["demo", "demo-2", "demo"]


def test_two_demos_with_one_output_write_it_one_after_the_other(demo):
    done = []
    waiting = threading.Thread(target=lambda: done.append(demo.main()), daemon=True)
    with run.writing(demo.output):
        waiting.start()
        time.sleep(1)
        assert not done and not list(demo.output.glob("*"))
    waiting.join(60)
    assert done == [0] and (demo.output / "index.html").is_file()


def test_two_servers_at_once_have_a_folder_each_for_what_comfyui_empties(tmp_path, monkeypatch):
    temps = []

    def server(folder, port, extra_args=()):
        temps.append(dict(zip(extra_args[::2], extra_args[1::2], strict=True)).get("--temp-directory"))
        raise SystemExit
    monkeypatch.setattr(serve, "ComfyServer", server)
    monkeypatch.setattr(serve, "require_free", lambda port: None)
    monkeypatch.chdir(tmp_path)
    for port in ("8188", "8189"):
        monkeypatch.setattr(sys, "argv", ["serve", "folder", "--port", port])
        with pytest.raises(SystemExit):
            serve.main()
    assert temps == [str(tmp_path.resolve() / "folder" / f"port-{port}") for port in (8188, 8189)]


@needs_full
@pytest.mark.parametrize("name", ["answer.png", "index.html"])
def test_a_full_disk_under_output_is_named(demo, capsys, name):
    demo.output.mkdir()
    (demo.output / f".{name}.{os.getpid()}.part").symlink_to("/dev/full")
    assert demo.main() == 1
    assert capsys.readouterr().err == (f"demo: {demo.output} cannot be read or written (No space left on device): free some "
                                       "space, or choose another folder with --output.\n")
    assert not (demo.output / name).exists()


def test_a_demo_folder_that_cannot_be_written_is_named(demo, capsys):
    demo.dev.mkdir()
    (demo.dev / "demo").write_text("in the way")
    assert demo.main() == 1
    err = capsys.readouterr().err
    assert err.startswith(f"demo: {demo.dev / 'demo'} cannot be read or written (") and f"make {demo.dev} a folder" in err


@pytest.mark.parametrize("option", ["--image", "--instruction", "--output"])
@pytest.mark.parametrize("value", ["", " "])
def test_the_demo_refuses_an_argument_that_is_empty(demo, capsys, option, value):
    with pytest.raises(SystemExit) as error:
        demo.main(option, value)
    assert error.value.code == 2 and f"error: argument {option}: {value!r} " in capsys.readouterr().err


@any_bytes
def test_the_demo_s_names_that_are_not_utf_8(demo, capsys):
    assert demo.main(picture=os.fsdecode(b"caf\xe9.png")) == 0
    assert "caf\N{REPLACEMENT CHARACTER}.png" in (demo.output / "index.html").read_text(encoding="utf-8")
    with pytest.raises(SystemExit) as error:
        demo.main("--instruction", os.fsdecode(b"caf\xe9"))
    assert error.value.code == 2 and "--instruction: 'caf\N{REPLACEMENT CHARACTER}' is not UTF-8" in capsys.readouterr().err
