"""The pack as the Comfy Registry ships it: validated and packed by comfy-cli, unpacked into a bare ComfyUI."""

import os
import re
import shutil
import subprocess
import zipfile
from pathlib import Path
from urllib.parse import unquote

import pytest

from tools.comfy_server import ComfyServer

ROOT = Path(__file__).resolve().parents[2]
SHIPPED = ["__init__.py", "ace_model", "nodes", "starters", "js", "workflows", "subgraphs", "locales", "pyproject.toml",
           "LICENSE", "CHANGELOG.md", "README.md", "docs/pictures", "demo/README.md", "demo/weights/diffusion_models",
           "demo/weights/loras", "demo/weights/text_encoders", "demo/weights/vae", "training", "batch",
           "engine"]  # each whole, if it exists
LEFT_OUT = ["dev.py", "tests", "tools", ".ci", ".github", "demo/world", "demo/page", "demo/trainer", "demo/score.py",
            "node.zip"]


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


@pytest.fixture(scope="module")
def pack(checkout, tmp_path_factory):
    """The packed zip, unpacked."""
    comfy_cli(checkout, "node", "pack")
    pack = tmp_path_factory.mktemp("pack")
    with zipfile.ZipFile(checkout / "node.zip") as archive:
        archive.extractall(pack)
    return pack


def files(folder, *names):
    """Relative names of all files in `folder` that are, or lie under, one of `names`."""
    found = (path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    return {path for path in found if any(path == name or path.startswith(f"{name}/") for name in names)}


def test_what_a_user_needs_is_shipped(checkout, pack):
    assert files(checkout, *SHIPPED) == files(pack, *SHIPPED) != set()
    assert {page.name for page in (checkout / "docs").glob("*.md")} == {page.name for page in (pack / "docs").glob("*.md")}


def test_what_only_a_developer_needs_is_left_out(pack):
    assert not files(pack, *LEFT_OUT)
    assert not [path for folder in ("demo", "docs") for path in (pack / folder).rglob("*.py")]


def test_links_of_the_readme_lead_to_what_is_shipped(pack):
    text = (pack / "README.md").read_text(encoding="utf-8")
    links = re.findall(r"\]\(([^)\s]+)|(?:src|href)=\"([^\"]+)", text)
    links = [link.split("#")[0] for pair in links for link in pair if link and not re.match(r"[a-z]+:|#", link)]
    assert links and not [link for link in links if not (pack / unquote(link)).exists()]


def test_packed_zip_in_a_bare_comfyui(pack, tmp_path):
    with ComfyServer(tmp_path / "base", pack=pack) as server:
        declared = {node.removesuffix("Node") for path in (pack / "nodes").glob("*.py")
                    for node in re.findall(r'(?:node_id=|part\()"ACEEditor(\w+)"', path.read_text(encoding="utf-8"))}
        listed = {name for name in server._get("/object_info") if name.startswith("ACEEditor")}
        assert listed == {f"ACEEditor{name}" for name in declared} and len(listed) >= 9
        complaints = [line for line in server.log.splitlines() if re.search(r"(?i)\bwarn|error|traceback|failed", line)
                      and "******" not in line]  # ComfyUI's own notice about where a new installation keeps settings
    assert not complaints
