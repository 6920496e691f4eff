"""The pack as the Comfy Registry ships it: validated and packed by comfy-cli, unpacked into a bare ComfyUI."""

import os
import re
import shutil
import subprocess
import zipfile
from pathlib import Path

import pytest

from tools.comfy_server import ComfyServer

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    """A git checkout of what is here, committed or not, as comfy-cli packs what git tracks."""
    checkout = tmp_path_factory.mktemp("checkout")
    files = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, check=True, capture_output=True,
                           text=True).stdout.splitlines()
    for name in files:
        if (ROOT / name).is_file():
            (checkout / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, checkout / name)
    subprocess.run(["git", "init", "-q"], cwd=checkout, check=True)
    subprocess.run(["git", "add", "-A"], cwd=checkout, check=True)
    return checkout


def comfy_cli(checkout, *arguments):
    cli = os.environ.get("COMFY_CLI")
    assert cli, "COMFY_CLI must name comfy-cli's program; python dev.py test sets it"
    done = subprocess.run([cli, "--skip-prompt", "--no-enable-telemetry", *arguments], cwd=checkout, capture_output=True,
                          text=True, timeout=300, env=os.environ | {"HOME": str(checkout.parent), "DO_NOT_TRACK": "1"})
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_registry_validation_passes(checkout):
    assert "All validation checks passed" in comfy_cli(checkout, "node", "validate")


def test_packed_zip_in_a_bare_comfyui(checkout, tmp_path):
    comfy_cli(checkout, "node", "pack")
    pack = tmp_path / "pack"
    with zipfile.ZipFile(checkout / "node.zip") as archive:
        archive.extractall(pack)
    assert not [name for name in ("tests", "dev.py", ".ci", ".github") if (pack / name).exists()]
    with ComfyServer(tmp_path / "base", pack=pack) as server:
        declared = {node.removesuffix("Node") for path in (pack / "nodes").glob("*.py")
                    for node in re.findall(r'node_id="ACEEditor(\w+)"', path.read_text(encoding="utf-8"))}
        listed = {name for name in server._get("/object_info") if name.startswith("ACEEditor")}
        assert listed == {f"ACEEditor{name}" for name in declared} and len(listed) >= 9
        complaints = [line for line in server.log.splitlines() if re.search(r"(?i)\bwarn|error|traceback|failed", line)
                      and "******" not in line]  # ComfyUI's own notice about where a new installation keeps settings
    assert not complaints
