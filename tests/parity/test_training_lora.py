"""What the trainer makes, in a real ComfyUI: LoRA files in core's loader, samples as the nodes make them, a whole run of the
demo model, and two processes."""

import json
import os
import re
import subprocess
import sys

import pytest
import torch
from PIL import Image, ImageOps
from safetensors.torch import load_file

pytest.importorskip("peft", reason="python dev.py test brings it")

from ace_model.checkpoint import read  # noqa: E402
from ace_model.record import Settings, Turn  # noqa: E402
from tests.parity.test_golden import CASES, VAE_SCALE, Case  # noqa: E402
from tools.house import ROOT  # noqa: E402
from training import lora, network, requests  # noqa: E402


@pytest.fixture(scope="module")
def tensors(golden):
    return golden.load("ace_tiny_cases")[0]


@pytest.fixture(scope="module")
def taught(golden, tensors, tmp_path_factory):
    """(the trainer's network with a LoRA that changes a lot, the LoRA's file)."""
    sd, config = read(golden.model)
    names = dict(zip(network.IDENTIFIERS, tensors["indicators"][:, None], strict=True))
    net = network.Network(network.frozen(sd, config, "float32"), names.__getitem__)
    live = lora.add(net.dit, rank=4, alpha=6)
    with torch.no_grad():
        for i, (name, tensor) in enumerate(live.items()):
            if "lora_B" in name:
                tensor.normal_(0, 0.05, generator=torch.Generator().manual_seed(i))
    return net, lora.save_file(tmp_path_factory.mktemp("lora") / "lora.safetensors", live, 6, {})


@pytest.fixture(scope="module")
def loaded(pack, comfy, golden, taught):
    """(the model, with core's LoRA loader's patches)."""
    import comfy.sd
    plain = pack.loader.load_model(str(golden.model))
    return plain, comfy.sd.load_lora_for_models(plain, None, load_file(taught[1]), 1.0, 1.0)[0]


@pytest.mark.parametrize("name", CASES)
@torch.inference_mode()
def test_core_s_loader_computes_what_the_trainer_did(name, tensors, golden, pack, comfy, taught, loaded):
    """One step from the golden's noise: x - σ·eps of the trainer's own forward pass."""
    import comfy.sample
    import comfy.samplers
    case, net = Case(tensors, name), taught[0]
    sigma = torch.tensor([float(pack.sampling.sigmas(loaded[0], 20)[5]), 0.0])
    timestep = torch.tensor([749])
    samples = network.Batch([case.x, *case.images], [case.target_mask, *case.masks], [])
    noisy = case.x * sigma[0]
    eps = net.eps(noisy / (sigma[0] ** 2 + 1).sqrt(), timestep, samples, net.project([[text[0]] for text in case.positive]))
    expected = (noisy - sigma[0] * eps) / VAE_SCALE
    out = {}
    for which, model in zip(("plain", "taught"), loaded, strict=True):
        positive = case.conditioning(pack.model.FRAMES, case.positive)
        out[which] = comfy.sample.sample_custom(model, case.x, 1.0, comfy.samplers.sampler_object("euler"), sigma, positive,
                                                positive, torch.zeros_like(case.x), disable_pbar=True)
    assert golden.relative(out["taught"], expected) < 1e-4 < 1e-2 < golden.relative(out["plain"], expected)


@pytest.mark.parametrize("guidance", [1.0, 4.5])
@torch.inference_mode()
def test_samples_while_training_are_the_nodes(guidance, tensors, golden, pack, taught, loaded):
    case = Case(tensors, "three_turn_history")
    frames = {"target_mask": case.target_mask}
    for i in range(case.count):
        frames |= {f"image.{i}": case.images[i] / VAE_SCALE, f"mask.{i}": case.masks[i], f"text.{i}": case.positive[i + 1]}
    size = tuple(8 * cells for cells in case.x.shape[-2:])
    tokens = pack.conditioning.ConditionTokens(size, case.positive[0], case.negative[0], case.indicators, frames, True)
    positive, negative = pack.conditioning.conditioning(tokens)
    empty = pack.conditioning.empty_latent(size)
    expected = pack.sampling.sample(loaded[1], positive, negative, empty, 7, 4, guidance, 0.5, 1.0)
    given = requests.sample(taught[0], tokens, Turn("t1", seed=7, settings=Settings(guidance=guidance)), 4)
    golden.close("samples while training", given / VAE_SCALE, expected["samples"].float().cpu(), 1e-3)


SETTINGS = """
data: {{path: after, controls: [before]{preserve}}}
output: {output}
model:
  diffusion: ace_demo_dit.safetensors
  text_encoder: ace_demo_t5.safetensors
  vae: ace_demo_vae.safetensors
  base: float32
lora: {{rank: {rank}, alpha: 4, save_as: float32}}
optimizer: {{rate: 1e-3}}
train: {{steps: 4, batch: {batch}, every: 1, seed: 3}}
samples: {{every: 4, requests: [{{instruction: "swap {{image}}", images: [before/0.png], steps: 2}}]}}
save: {{every: 2}}
"""


def run(folder, output, *arguments, launcher=(), batch=1, rank=4, preserve=""):
    path = folder / f"{output}.yaml"
    path.write_text(SETTINGS.format(output=output, batch=batch, rank=rank, preserve=preserve))
    done = subprocess.run([sys.executable, *launcher, "-m", "training", str(path), *arguments], cwd=ROOT, capture_output=True,
                          text=True, timeout=600, check=False, env={**os.environ, "OMP_NUM_THREADS": "1"})
    losses = [float(loss) for loss in re.findall(r"/4  loss ([\d.]+)", done.stdout)]
    return done, losses


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    folder = tmp_path_factory.mktemp("teach")
    for name in ("before", "after"):
        (folder / name).mkdir()
    for i in range(4):
        image = Image.new("RGB", (64, 64), (60 * i, 120, 80))
        image.save(folder / "before" / f"{i}.png")
        ImageOps.invert(image).save(folder / "after" / f"{i}.png")
        (folder / "after" / f"{i}.txt").write_text("swap " + "the colors of " * (i % 2) + "{image}")
    return folder


def test_a_run_from_pictures_to_a_lora_and_two_processes_are_one(pictures):
    """Two processes give the losses and the weights of one with twice the batch."""
    done, losses = run(pictures, "one", batch=2)
    assert done.returncode == 0 and len(losses) == 4, done.stdout + done.stderr
    out = pictures / "one"
    assert sorted(path.name for path in out.glob("*.*")) == ["ACE training.html", "one-000002.safetensors",
                                                             "one-000004.safetensors", "one.safetensors"]
    assert len(list((out / "samples").iterdir())) == 2
    assert torch.cuda.is_available() or "There is no GPU. A step takes" in done.stdout
    launcher = ("-m", "torch.distributed.run", "--nproc_per_node", "2", "--master_port", "29611")
    done, shared = run(pictures, "two", launcher=launcher)
    assert done.returncode == 0, done.stdout + done.stderr
    assert shared == pytest.approx(losses, rel=1e-3)
    one, two = load_file(out / "one.safetensors"), load_file(pictures / "two" / "two.safetensors")
    assert one.keys() == two.keys() and all(torch.allclose(one[name], two[name], atol=2e-4) for name in one)


def test_what_is_preserved_holds_the_lora_back(pictures):
    """The first step does not feel it: there the LoRA changes no answer yet."""
    turn = {"id": "t", "instruction": "invert {image}", "images": [{"file": "before/1.png"}], "target": {"file": "after/1.png"}}
    line = {"version": 1, "at": "t", "turns": [turn]}
    (pictures / "known.jsonl").write_text(json.dumps(line) + "\n")
    (free, losses), (held, others) = (run(pictures, name, preserve=preserve) for name, preserve in (
        ("free", ""), ("held", ", preserve: known.jsonl")))
    assert free.returncode == held.returncode == 0 and "4 examples, and 1 to preserve" in held.stdout, held.stdout + held.stderr
    assert others[:2] == losses[:2] and others[2:] != losses[2:]


def test_the_check_says_what_it_takes_and_another_rank_is_refused(pictures):
    done, _ = run(pictures, "checked", "--check")
    assert done.returncode == 0 and re.search(r"together +[\d,.]+ MiB\n.* MiB are free on .*: enough", done.stdout), done.stdout
    assert not (pictures / "checked").exists()
    assert run(pictures, "ranked")[0].returncode == 0
    done, _ = run(pictures, "ranked", rank=2)
    assert done.returncode == 1 and "lora.rank is 2, but" in done.stdout and "was trained with 4" in done.stdout
