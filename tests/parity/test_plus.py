"""ACE++ on core's own Flux: what the transformer is given, which files load how, and what is refused."""

import importlib
from types import SimpleNamespace

import pytest
import torch

from tools import tiny_flux
from tools.tiny_models import tiny_vae

GUIDANCE, STEPS = 50.0, 2


@pytest.fixture(scope="module")
def plus(pack):
    from ace_pack.ace_model import plus as canvas
    from ace_pack.ace_model.comfyui import plus
    return SimpleNamespace(canvas=canvas, host=plus)


@pytest.fixture(scope="module")
def load(pack, comfy, tmp_path_factory):
    """load(inputs) → MODEL by core's own loader from a file of the published layout."""
    folder = tmp_path_factory.mktemp("flux")

    def load(inputs, **options):
        path = folder / f"flux{inputs}.safetensors"
        if not path.exists():
            tiny_flux.save(tiny_flux.flux(inputs), path)
        return comfy.sd.load_diffusion_model(str(path), options)
    return load


@pytest.fixture(scope="module")
def vae(comfy):
    return comfy.sd.VAE(sd=tiny_vae(16))


@pytest.fixture
def text():
    def one(seed):
        generator = torch.Generator().manual_seed(seed)
        return [[torch.randn(1, 7, tiny_flux.TEXT_WIDTH, generator=generator),
                 {"pooled_output": torch.randn(1, tiny_flux.POOLED_WIDTH, generator=generator), "guidance": GUIDANCE}]]
    return SimpleNamespace(positive=one(1), negative=one(2))


@pytest.fixture(scope="module")
def made(plus):
    """Two pictures with a mask each and a reference."""
    pictures = torch.rand(2, 64, 48, 3, generator=torch.Generator().manual_seed(5))
    masks = torch.zeros(2, 64, 48)
    masks[0, 10:30, 5:21], masks[1, 40:, :] = 1, 1
    return plus.canvas.make_canvas([pictures[:1, :, :32]], pictures, masks, fill_strength=0.5)


def sample(comfy, model, positive, negative, latent, seed=3):
    import comfy.sample
    samples = comfy.sample.fix_empty_latent_channels(model, latent["samples"], latent["downscale_ratio_spacial"])
    noise = comfy.sample.prepare_noise(samples, seed)
    out = comfy.sample.sample(model, noise, STEPS, 1.0, "euler", "simple", positive, negative, samples,
                              disable_pbar=True, seed=seed)
    return noise, out


@pytest.mark.parametrize("inputs", [tiny_flux.FILL, tiny_flux.FFT])
@pytest.mark.parametrize("batch_size", [1, 2])
def test_the_transformer_reads_the_published_channels(plus, comfy, load, vae, text, made, inputs, batch_size):
    model, seen = load(inputs), []
    hook = model.model.diffusion_model.img_in.register_forward_pre_hook(lambda _, given: seen.append(given[0].clone()))
    latent = plus.host.conditioning(model, text.positive, text.negative, vae, made.pixels, made.mask,
                                    batch_size=batch_size)
    noise, out = sample(comfy, model, *latent)
    hook.remove()
    assert out.shape == noise.shape == (2 * batch_size, 16, 8, 10) and torch.isfinite(out).all()

    def encoded(pixels):
        return model.model.process_latent_in(vae.encode(pixels)).repeat_interleave(batch_size, dim=0)

    selected = made.mask[..., None]
    blanked = 0.5 + (made.pixels - 0.5) * (1 - selected)
    inside = 0.5 + (made.pixels - 0.5) * selected
    canvas, modify = (made.pixels, None) if inputs == tiny_flux.FILL else (blanked, encoded(inside))
    mask = made.mask.repeat_interleave(batch_size, dim=0)
    expected = plus.canvas.model_input(noise, encoded(canvas), mask, modify)
    assert len(seen) == STEPS and seen[0].shape[-1] == inputs
    assert torch.allclose(seen[0], expected, atol=1e-5)


def test_a_lora_with_kohya_keys_changes_the_result(plus, comfy, load, vae, text, made):
    model = load(tiny_flux.FILL)
    conds = plus.host.conditioning(model, text.positive, text.negative, vae, made.pixels, made.mask)
    _, before = sample(comfy, model, *conds)
    patched, _ = comfy.sd.load_lora_for_models(model, None, tiny_flux.lora(16), 1.0, 0)
    assert len(patched.patches) == 4  # every pair found its weight
    _, after = sample(comfy, patched, *conds)
    assert (before - after).abs().max() > 1e-3


# Which files load how


def test_the_full_fine_tune_is_found_before_core_s_flux(plus, comfy, load):
    import comfy.supported_models as known
    import comfy.supported_models_base
    importlib.reload(plus.host).register()
    plus.host.register()
    ours = [i for i, config in enumerate(known.models) if config.__qualname__ == "ACEPlusConfig"]
    assert len(ours) == 1 and ours[0] == known.models.index(known.Flux) - 1
    model = load(tiny_flux.FFT).model
    assert type(model).__name__ == "ACEPlus" and isinstance(model, comfy.model_base.Flux)
    for inputs, config in ((64, known.Flux), (128, known.Flux), (tiny_flux.FILL, known.FluxInpaint)):
        assert type(load(inputs).model.model_config) is config  # others are core's as before


def test_a_configuration_of_core_s_own_wins(plus, monkeypatch):
    import comfy.supported_models as known
    core = type("FluxACE", (known.FluxInpaint,), {"unet_config": dict(plus.host.ACEPlusConfig.unet_config)})
    monkeypatch.setattr(known, "models", [core, known.Flux])
    plus.host.register()
    assert known.models == [core, known.Flux]


@pytest.mark.parametrize(("inputs", "expected"), [(64, torch.float16), (tiny_flux.FILL, torch.float32),
                                                  (tiny_flux.FFT, torch.float32)])
def test_float16_is_never_chosen_for_the_full_fine_tune(comfy, load, monkeypatch, inputs, expected):
    """As on a card that has float16 but no bfloat16."""
    import comfy.model_management as mm
    monkeypatch.setattr(mm, "should_use_fp16", lambda *args, **kwargs: True)
    monkeypatch.setattr(mm, "should_use_bf16", lambda *args, **kwargs: False)
    config = load(inputs).model.model_config
    assert mm.unet_dtype(model_params=10**9, supported_dtypes=list(config.supported_inference_dtypes)) == expected


def test_fp8_is_loaded_with_a_warning(load, caplog):
    load(tiny_flux.FFT, dtype=torch.float8_e4m3fn)
    assert "noise and red pictures" in caplog.text


# What is refused


@pytest.mark.parametrize(("inputs", "weights", "says"), [
    (tiny_flux.FFT, "LoRA", r"weights is set to LoRA, .* ACE\+\+'s full fine-tune \(448 inputs\).*set weights to FFT"),
    (tiny_flux.FILL, "FFT", r"weights is set to FFT, but the model is FLUX.1-Fill \(384 inputs\).*set weights to LoRA"),
    (64, "auto", r"model is not FLUX.1-Fill: it has 64 inputs, like FLUX.1 dev"),
    (128, "LoRA", r"model is not FLUX.1-Fill: it has 128 inputs, like FLUX.1 Canny or Depth"),
])
def test_weights_that_the_model_is_not_for(plus, load, vae, text, made, inputs, weights, says):
    with pytest.raises(plus.canvas.PlusError, match=says):
        plus.host.conditioning(load(inputs), text.positive, text.negative, vae, made.pixels, made.mask, weights)


def test_another_architecture(plus, pack, golden, vae, text, made):
    ace = pack.loader.load_model(str(golden.model))
    with pytest.raises(plus.canvas.PlusError, match="not FLUX.1-Fill: it is ACE"):
        plus.host.conditioning(ace, text.positive, text.negative, vae, made.pixels, made.mask)


def test_the_full_fine_tune_refuses_other_conditioning_in_a_sentence(plus, comfy, load, vae, text, made):
    fill, fft = load(tiny_flux.FILL), load(tiny_flux.FFT)
    conds = plus.host.conditioning(fill, text.positive, text.negative, vae, made.pixels, made.mask)
    with pytest.raises(Exception, match=r"has 16 channels instead of 32.*set weights to FFT \(or auto\)"):
        sample(comfy, fft, *conds)
    with pytest.raises(Exception, match="its conditioning has no canvas"):
        sample(comfy, fft, text.positive, text.negative, conds[2])


def test_inputs_of_conditioning_that_do_not_fit(plus, comfy, load, vae, text, made):
    model, other = load(tiny_flux.FILL), comfy.sd.VAE(sd=tiny_vae(4))

    def refused(vae, canvas, mask, says):
        with pytest.raises(ValueError, match=says):
            plus.host.conditioning(model, text.positive, text.negative, vae, canvas, mask)

    refused(other, made.pixels, made.mask, "this VAE has 4 channels")
    refused(vae, made.pixels[:, :60], made.mask[:, :60], "canvas is 80×60 pixels, but its sides must be multiples of 16")
    refused(vae, made.pixels, made.mask[:, :, 32:], "mask is 2 × 64 × 48, but canvas is 2 × 64 × 80")
    refused(vae, made.pixels, made.mask[:1], "mask is 1 × 64 × 80, but canvas is 2 × 64 × 80")


def test_a_lora_that_widens_the_input_counts(plus, load, comfy):
    """FLUX.1 dev with a LoRA that makes it a Fill model."""
    model = load(64)
    widened = {"diffusion_model.img_in.lora_down.weight": torch.zeros(4, tiny_flux.FILL),
               "diffusion_model.img_in.lora_up.weight": torch.zeros(tiny_flux.HIDDEN, 4),
               "diffusion_model.img_in.reshape_weight": torch.tensor([tiny_flux.HIDDEN, tiny_flux.FILL])}
    patched, _ = comfy.sd.load_lora_for_models(model, None, widened, 1.0, 0)
    assert plus.host.input_channels(model) == 16 and plus.host.check_weights(patched, "auto") == "LoRA"
