"""ACE++'s LoRA on core's own Flux, with tiny random weights: gradients, core's loader, samples, a whole run."""

import math
import os
import re
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

pytest.importorskip("peft", reason="python dev.py test brings it")

from ace_model import plus as canvas  # noqa: E402
from tools import tiny_flux  # noqa: E402
from tools.house import ROOT  # noqa: E402
from tools.tiny_models import tiny_vae  # noqa: E402
from training import lora, network, plus, settings  # noqa: E402
from training.draws import Draws  # noqa: E402
from training.live import LiveBytes  # noqa: E402
from training.plus_run import PlusRun  # noqa: E402

KINDS = {"Fill": tiny_flux.FILL, "full fine-tune": tiny_flux.FFT}


@pytest.fixture(scope="module")
def host(comfy):
    from ace_model.comfyui import flux, plus
    return SimpleNamespace(flux=flux, plus=plus)


@pytest.fixture(scope="module")
def vae(comfy):
    return comfy.sd.VAE(sd=tiny_vae(16))


@pytest.fixture(scope="module")
def words():
    generator = torch.Generator().manual_seed(1)
    return {"text": torch.randn(7, tiny_flux.TEXT_WIDTH, generator=generator),
            "pooled": torch.randn(tiny_flux.POOLED_WIDTH, generator=generator)}


@pytest.fixture(scope="module")
def made():
    """A reference beside a picture with a mask: a canvas of 64×80 pixels."""
    picture = torch.rand(1, 64, 48, 3, generator=torch.Generator().manual_seed(5))
    mask = torch.zeros(1, 64, 48)
    mask[0, 10:30, 5:21] = 1
    return canvas.make_canvas([picture[:, :, :32]], picture, mask)


@pytest.fixture(scope="module")
def taught(host, words, tmp_path_factory):
    """taught(kind, base, again) → (the trainer's network with a LoRA that changes a lot, what is trained, the model's file)."""
    folder = tmp_path_factory.mktemp("flux")

    def taught(kind="Fill", base="float32", again=False):
        path = folder / f"{KINDS[kind]}.safetensors"
        if not path.exists():
            tiny_flux.save(tiny_flux.flux(KINDS[kind], 2), path)
        weights, arguments = host.flux.read(str(path))
        flux = host.flux.build(arguments, again)
        network.holding(weights, flux, host.flux.blocks(flux), base, "cpu")
        live = lora.add(flux, rank=4, alpha=6)
        with torch.no_grad():
            for i, (name, tensor) in enumerate(live.items()):
                if "lora_B" in name:
                    tensor.normal_(0, 0.05, generator=torch.Generator().manual_seed(i))
        return plus.Network(flux, host.flux.velocity, lambda text: words, network.BASES[base], plus.GUIDANCE), live, path
    return taught


@torch.no_grad()
def batch_of(host, vae, made, split):
    latents = [host.flux.LATENTS.process_in(vae.encode(each)) for each in plus.seen(made, split).values()]
    return network.Batch([torch.zeros_like(latents[0]), *latents], [made.mask[None].bool()], [["whatever"]])


@pytest.fixture
def core(host, comfy, vae, made, words):
    """core(path, LoRA's file) → (the model by core's loaders, its conditioning, the empty canvas)."""
    def core(path, file=None):
        model = comfy.sd.load_diffusion_model(str(path), {})
        if file:
            model = comfy.sd.load_lora_for_models(model, None, load_file(file), 1.0, 0)[0]
        text = [[words["text"][None], {"pooled_output": words["pooled"][None], "guidance": plus.GUIDANCE}]]
        return model, *host.plus.conditioning(model, text, text, vae, made.pixels, made.mask)
    return core


@pytest.mark.parametrize("kind", KINDS)
def test_core_s_loader_computes_what_the_trainer_did(kind, host, comfy, vae, made, taught, core, golden, tmp_path):
    """One step from noise at σ = 0.7: x − σ·velocity."""
    import comfy.sample
    import comfy.samplers
    net, live, path = taught(kind)
    file = lora.save_file(tmp_path / "lora.safetensors", live, 6, {})
    noise = torch.randn(1, 16, 8, 10, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        velocity = net.velocity(0.7 * noise, torch.tensor([0.7]), batch_of(host, vae, made, kind != "Fill"))
    expected = host.flux.LATENTS.process_out(0.7 * noise - 0.7 * velocity)
    euler, levels, out = comfy.samplers.sampler_object("euler"), torch.tensor([0.7, 0.0]), []
    for each in (None, file):
        model, positive, negative, latent = core(path, each)
        out.append(comfy.sample.sample_custom(model, noise, 1.0, euler, levels, positive, negative, latent["samples"],
                                              disable_pbar=True))
    golden.close("ACE++'s LoRA in core's loader", out[1], expected, 1e-4)
    assert golden.relative(out[0], expected) > 1e-2


def test_samples_while_training_are_core_s(host, comfy, vae, made, taught, core, golden, tmp_path):
    """KSampler with euler and simple behind ModelSamplingFlux of the canvas's size. Core rounds a step to a ten-thousandth, so
    the steps are 8."""
    import comfy.model_sampling
    import comfy.sample
    net, live, path = taught()
    model, positive, negative, latent = core(path, lora.save_file(tmp_path / "lora.safetensors", live, 6, {}))
    kinds = comfy.model_sampling.ModelSamplingFlux, comfy.model_sampling.CONST
    sampling = type("Sampling", kinds, {})(model.model.model_config)
    sampling.set_parameters(shift=0.5 + (1.15 - 0.5) * (64 * 80 / 256 - 256) / (4096 - 256))
    model = model.clone()
    model.add_object_patch("model_sampling", sampling)
    noise = comfy.sample.prepare_noise(latent["samples"], 11)
    expected = comfy.sample.sample(model, noise, 8, 1.0, "euler", "simple", positive, negative, latent["samples"],
                                   disable_pbar=True, seed=11)
    given = plus.sample(net, batch_of(host, vae, made, False), 8, 11, made.layout.tokens)
    golden.close("samples while training ACE++", host.flux.LATENTS.process_out(given), expected, 1e-4)


def gradient(net, live, batch):
    net.guidance = 1.0  # at 50 FLUX's embedding in bfloat16, which takes a thousandfold of it, is another in core, too
    for parameter in live.values():
        parameter.grad = None
    loss = plus.objective(net, batch, Draws(3, 4, range(1)))
    loss.backward()
    return torch.cat([parameter.grad.flatten() for parameter in live.values()]), loss.item()


@pytest.mark.parametrize("base, near", [("float32", 0), ("bf16", 0.05), ("fp8", 0.2)])
def test_the_gradient_is_right_and_blocks_can_be_computed_again(base, near, host, vae, made, taught):
    """Against a difference of two losses, and other bases against float32."""
    batch = batch_of(host, vae, made, False)
    kept, again = gradient(*taught(base=base)[:2], batch), gradient(*taught(base=base, again=True)[:2], batch)
    assert torch.equal(kept[0], again[0]) and kept[1] == again[1] and kept[0].abs().max() > 0
    net, live, _ = taught()
    exact, _ = gradient(net, live, batch)
    assert (kept[0] - exact).norm() <= near * exact.norm()
    direction = {name: torch.randn(each.shape, generator=torch.Generator().manual_seed(9)) for name, each in live.items()}
    slope = sum((each.grad * direction[name]).sum() for name, each in live.items()).item()
    losses = []
    with torch.no_grad():
        for step in (1e-3, -2e-3):
            for name, each in live.items():
                each += step * direction[name]
            losses.append(plus.objective(net, batch, Draws(3, 4, range(1))).item())
    assert (losses[0] - losses[1]) / 2e-3 == pytest.approx(slope, rel=0.02)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("base, again", [("float32", False), ("bf16", True), ("fp8", True)])
def test_memory_is_predicted_from_tensors_without_contents(kind, base, again, host, taught, words):
    """Held against a real step of the same network, storage by storage."""
    model = settings.Model("a", "b", "c", base, again)
    made = PlusRun.__new__(PlusRun)
    made.settings = settings.Settings(settings.Data("set"), model, "run", settings.LoRA(rank=4, alpha=6),
                                      train=settings.Train(objective="plus", batch=2))
    made.flux, made.device, made.largest, made.split = host.flux, torch.device("cpu"), (64, 80), kind != "Fill"
    net, live, path = taught(kind, base, again)
    made.arguments = host.flux.read(str(path))[1]
    found = made.predict()
    long = {"text": words["text"][:1].expand(512, -1), "pooled": words["pooled"]}
    net.features = lambda text: long
    latents = [torch.zeros(2, 16, 8, 10) for _ in range(2 + made.split)]
    batch = network.Batch(latents, [torch.zeros(2, 1, 64, 80, dtype=torch.bool)], [["a"] * 2])
    with LiveBytes() as real:
        plus.objective(net, batch, Draws(0, 0, range(2))).backward()
    size = sum(each.nbytes for each in live.values())
    held = sum(each.nbytes for each in (*net.dit.parameters(), *net.dit.buffers()))
    assert found.lora == size and found.weights == held - size and found.optimizer == 2 * size
    assert abs(found.step / real.peak - 1) < 0.05


@pytest.mark.parametrize("change, said", [
    (lambda weights: weights.pop("single_blocks.0.linear1.bias"), "does not fit FLUX.1 in 1 tensors, for example single_bl"),
    (lambda weights: weights.update({"img_in.weight": torch.zeros(128, 64)}), "is not FLUX.1-Fill: .* needs flux1-fill-dev"),
    (lambda weights: [weights.pop(key) for key in list(weights) if "guidance" in key], "is not FLUX.1-Fill|does not fit"),
    (lambda weights: weights.update({"img_in.weight": weights["img_in.weight"].to(torch.float8_e4m3fn)}), "is quantized"),
    (lambda weights: (weights.clear(), weights.update(other=torch.zeros(2))), "is not FLUX.1-Fill")],
    ids=["incomplete", "dev", "schnell", "fp8", "something else"])
def test_other_files_are_refused(change, said, host, tmp_path):
    weights = tiny_flux.flux(tiny_flux.FILL, 1)
    change(weights)
    save_file(weights, tmp_path / "it.safetensors")
    with pytest.raises(canvas.PlusError, match=f"it.safetensors ({said})"):
        host.flux.read(str(tmp_path / "it.safetensors"))


def test_swapped_text_encoders_are_named(host, folder):
    with pytest.raises(canvas.PlusError, match="clip.safetensors is not T5 v1.1: ACE.. reads t5xxl_fp16"):
        host.flux.load_text_encoder(str(folder / "clip.safetensors"), str(folder / "t5.safetensors"))
    with pytest.raises(canvas.PlusError, match="t5.safetensors is not CLIP-L"):
        host.flux.load_text_encoder(str(folder / "t5.safetensors"), str(folder / "t5.safetensors"))


# ---- a whole run

SETTINGS = """
data: set
output: {output}
model:
  {{diffusion: flux.safetensors, text_encoder: t5.safetensors, clip_l: clip.safetensors, vae: vae.safetensors, base: float32}}
lora: {{rank: 4, alpha: 4, save_as: float32}}
optimizer: {{rate: 3e-3}}
train: {{objective: plus, steps: {steps}, every: 1, seed: 3, drop_text: 0.2}}
samples:
  every: 100
  requests: [{{instruction: "a {{image}}", images: [set/control/0.png], steps: 2, width: 48, height: 64}}]
save: {{every: 4}}
"""

DRIVER = """
import functools, sys
sys.path.insert(0, sys.argv[1])
from ace_model.comfyui import headless
headless.start(headless.find(None))
import comfy.sd
from tools import tiny_flux
sizes = {"t5xxl_model_config": tiny_flux.T5, "model_config": dict(tiny_flux.CLIP_L)}  # core expects the published ones
comfy.sd.load_clip = functools.partial(comfy.sd.load_clip, model_options=sizes)
from training.__main__ import main
sys.exit(main(sys.argv[2:]))
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("teach")
    tiny_flux.save(tiny_flux.flux(tiny_flux.FILL, 2), folder / "flux.safetensors")
    tiny_flux.save(tiny_flux.flux(tiny_flux.FFT, 1), folder / "fft.safetensors")
    tiny_flux.save(tiny_flux.t5(), folder / "t5.safetensors")
    tiny_flux.save(tiny_flux.clip_l(), folder / "clip.safetensors")
    save_file(tiny_vae(16), folder / "vae.safetensors")
    (folder / "set" / "control").mkdir(parents=True)
    for i in range(3):
        Image.new("RGB", (48, 32 + 16 * i), (80 * i, 120, 80)).save(folder / "set" / "control" / f"{i}.png")
        Image.new("RGB", (32, 48), (200, 80 * i, 10)).save(folder / "set" / f"{i}.png")
        (folder / "set" / f"{i}.txt").write_text("a thing as in {image}")
    return folder


def run(folder, output, *arguments, steps=8, **other):
    text = SETTINGS.format(output=output, steps=steps)
    for old, new in other.items():
        text = text.replace(f"{old}.safetensors", f"{new}.safetensors")
    path = folder / f"{output}.yaml"
    path.write_text(text)
    return subprocess.run([sys.executable, "-c", DRIVER, str(ROOT), str(path), *arguments], cwd=folder, capture_output=True,
                          text=True, timeout=600, check=False, env={**os.environ, "OMP_NUM_THREADS": "1"})


def losses_of(done):
    assert done.returncode == 0, done.stdout + done.stderr
    return [float(loss) for loss in re.findall(r"/\d+  loss ([\d.]+)", done.stdout)]


def test_a_run_from_pictures_to_a_lora(folder, comfy):
    """Interrupted and resumed it is the same; its LoRA finds every layer in core's loader."""
    whole = losses_of(run(folder, "whole"))
    assert len(whole) == 8 and all(map(math.isfinite, whole))
    out = folder / "whole"
    with Image.open(next((out / "samples").glob("000008-*"))) as image:
        assert image.size == (48, 64)
    losses_of(run(folder, "parts", steps=4))
    resumed = run(folder, "parts")
    assert "going on after step 4" in resumed.stdout and losses_of(resumed) == whole[4:]
    one, two = load_file(out / "whole.safetensors"), load_file(folder / "parts" / "parts.safetensors")
    assert one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)
    model = comfy.sd.load_diffusion_model(str(folder / "flux.safetensors"), {})
    patched = comfy.sd.load_lora_for_models(model, None, one, 1.0, 0)[0]
    assert len(patched.patches) == len(one) // 3 == 2 * (2 * 4 + 2), "four of picture and text each, two singles"


def test_the_check_of_the_full_fine_tune(folder):
    done = run(folder, "checked", "--check", flux="fft")
    assert done.returncode == 0 and "1 double and 1 single" in done.stdout
    assert re.search(r"together +[\d,.]+ MiB\n.* MiB are free on .*: enough", done.stdout), done.stdout
    assert not (folder / "checked").exists()
