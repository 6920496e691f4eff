"""ACE Check Model in a real server, and `python -m ace_model.check`: right on the demo model, and on it with one thing wrong.

The demo model stands for the published files. Every mistake leaves names and shapes as they are, as real ones do.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from ace_model.comfyui.graph import loaders, node
from tools.comfy_server import PACK_NAME, ComfyServer, PromptError, link_folder
from tools.gallery.models import DEMO_DIT, DEMO_T5, DEMO_VAE

ROOT = Path(__file__).resolve().parents[2]
HELPER = Path(__file__).with_name("mixed_names_pack")
FOLDERS = {DEMO_DIT: "diffusion_models", DEMO_T5: "text_encoders", DEMO_VAE: "vae"}


def original(name):
    return ROOT / "demo" / "weights" / FOLDERS[name] / name


def spoiled(models, name, change):
    """The file that `change` makes of a demo file's tensors; its metadata stay."""
    sd, path = load_file(original(name)), models / FOLDERS[name] / f"{change.__name__}.safetensors"
    change(sd)
    with safe_open(original(name), framework="pt") as file:
        metadata = file.metadata()
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({key: value.contiguous() for key, value in sd.items()}, path, metadata)
    return path.name


def other_vae(sd):
    """A VAE as good as the demo's, in another latent space: its channels mixed on the way in and unmixed on the way out."""
    mixed = torch.linalg.qr(torch.randn(4, 4, generator=torch.Generator().manual_seed(5)))[0]
    for key in ("taesd_encoder.14.weight", "taesd_encoder.14.bias"):
        sd[key] = torch.einsum("oc,c...->o...", mixed, sd[key].float()).half()
    sd["taesd_decoder.1.weight"] = torch.einsum("ochw,ic->oihw", sd["taesd_decoder.1.weight"].float(), mixed).half()


def other_text(sd):
    """Every word has another's meaning."""
    words = sd["shared.weight"]
    sd["shared.weight"] = words[torch.randperm(len(words), generator=torch.Generator().manual_seed(5))]


def lost_scales(sd):
    """fp8 as a converter stores it, without the scales."""
    for key, value in sd.items():
        if key.startswith("blocks.") and value.ndim == 2 and key.endswith(".weight"):
            sd[key] = (value.float() * (448 / value.float().abs().max())).to(torch.float8_e4m3fn)


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    base = tmp_path_factory.mktemp("comfyui_check")
    for name, change in ((DEMO_VAE, other_vae), (DEMO_T5, other_text), (DEMO_DIT, lost_scales)):
        spoiled(base / "models", name, change)
    shutil.copy(original(DEMO_T5), base / "models/text_encoders/again.safetensors")  # for the pack that mixes names
    shutil.copy(original(DEMO_VAE), base / "models/vae")
    whole = original(DEMO_DIT).read_bytes()
    (base / "models/diffusion_models/cut_short.safetensors").write_bytes(whole[:len(whole) // 2])
    (base / "custom_nodes").mkdir()
    link_folder(base / "custom_nodes" / HELPER.name, HELPER)
    return base


@pytest.fixture(scope="module")
def server(base):
    with ComfyServer(base, extra_args=["--whitelist-custom-nodes", PACK_NAME, HELPER.name]) as server:
        yield server


def checking(model=DEMO_DIT, text=DEMO_T5, vae=DEMO_VAE, clip="clip"):
    return loaders(model, text, vae) | {
        "check": node("ACEEditorCheckModel", model=["model", 0], clip=[clip, 0], vae=["vae", 0], seed=0, steps=1)}


def report(server, **files):
    return server.run(checking(**files))["check"]["text"][0]


def test_right_set_up(server, base):
    outputs = server.run(checking() | {"sheet": node("SaveImage", images=["check", 0], filename_prefix="sheet")})
    words = outputs["check"]["text"][0]
    assert words.startswith("Right: model, text encoder and VAE belong together.") and "\nNO" not in words
    assert f"diffusion model: {DEMO_DIT}" in words and f"VAE: {DEMO_VAE}" in words
    assert server.image(outputs["sheet"]["images"][0]).height > 1500
    page = (base / "output/ACE check/check 00001.html").read_text(encoding="utf-8")
    assert words.splitlines()[0] in page and page.count("data:image/jpeg") > 15


def test_another_vae(server):
    assert report(server, vae="other_vae.safetensors").startswith("Wrong: this VAE is not the one that the model was trained")


def test_another_text_encoder(server):
    words = report(server, text="other_text.safetensors")
    assert words.startswith("Wrong: the model does not understand this text encoder.")


def test_mixed_names(server):
    graph = checking(text="again.safetensors", clip="mixed") | {"mixed": node("MixNames", clip=["clip", 0])}
    assert server.run(graph)["check"]["text"][0].startswith("Wrong: the image names are mixed up.")


def test_truncated_file(server):
    with pytest.raises(PromptError, match="cut_short.safetensors cannot be read: it is incomplete"):
        server.run(checking(model="cut_short.safetensors"))


def command(*arguments):
    done = subprocess.run([sys.executable, ROOT / "ace_model" / "check", *map(str, arguments)], capture_output=True, text=True,
                          env=os.environ | {"PYTHONUTF8": "1"}, timeout=120)
    return done.returncode, done.stdout + done.stderr


def test_command_names_a_truncated_file_and_links_what_is_missing(base, tmp_path):
    folder = tmp_path / "diffusion_models"
    folder.mkdir()
    shutil.copy(base / "models/diffusion_models/cut_short.safetensors", folder)
    code, said = command("--models", tmp_path)
    assert code == 1 and "cut_short.safetensors cannot be read: it is incomplete" in said and "SHA-256" in said
    assert "No text encoder is there" in said and "into text_encoders/" in said and "t5xxl_fp16" in said
    assert "No VAE is there" in said and "https://huggingface.co/stabilityai" in said
    assert "No diffusion model is there" not in said


def test_command_names_fp8_without_its_scales(base, tmp_path):
    """Files are found by what is in them, and chosen by name where there are several."""
    code, said = command("--models", base / "models", "--diffusion-model", "lost_scales.safetensors", "--text-encoder",
                         "again.safetensors", "--vae", DEMO_VAE, "--steps", 1, "--output", tmp_path / "page.html")
    assert code == 1 and "Wrong: the diffusion model was converted badly, probably to fp8." in said, said
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "scales" in page and "SHA-256" in page and "lost_scales.safetensors" in page
