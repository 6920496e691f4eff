"""The authors' numbers: forward pass, samples through core's samplers, preprocessing."""

import pytest
import torch

from ace_model.checkpoint import read
from ace_model.diffusion import ddim, guide, sigmas, trailing_timesteps
from ace_model.dit import DiT
from ace_model.images import preprocess
from ace_model.masks import latent_mask

CASES = ["text_to_image", "edit_one", "edit_masked", "two_references", "three_turn_history"]
VAE_SCALE = 0.18215
FORWARD, SAMPLES = 1e-5, 1e-4  # limits, with room for other processors: on the one they were set on it is 5e-7 and 1e-6


@pytest.fixture(scope="module")
def tensors(golden):
    return golden.load("ace_tiny_cases")[0]


@pytest.fixture(scope="module")
def network(golden):
    sd, config = read(golden.model)
    network = DiT(config).eval()
    network.load_state_dict(sd)
    return network


class Case:
    """One golden request: x, target_mask, images, masks, and the texts of both branches, target first."""

    def __init__(self, tensors, name):
        self.get = lambda key: tensors[f"{name}.{key}"]
        self.count = sum(key.startswith(f"{name}.image.") for key in tensors)
        self.x, self.target_mask, self.indicators = self.get("x"), self.get("target_mask")[None], tensors["indicators"][None]
        self.images = [self.get(f"image.{i}") for i in range(self.count)]
        self.masks = [self.get(f"mask.{i}")[None] for i in range(self.count)]
        texts = [self.get(f"text.{i}")[None] for i in range(max(self.count, 1))]
        negative = self.get("negative_text")[None]
        self.positive = [texts[-1], *texts[:self.count]]
        self.negative = [negative, *texts[:self.count - 1], *([negative] if self.count else [])]

    def eps(self, network, texts, x, t):
        return network(x, t, self.target_mask, self.images, self.masks, *network.project_text(texts, self.indicators))

    def conditioning(self, key, texts):
        """As ACE Image Indicator makes it."""
        frames = {"target_mask": self.target_mask, "indicators": self.indicators}
        for i in range(self.count):
            frames |= {f"image.{i}": self.images[i] / VAE_SCALE, f"mask.{i}": self.masks[i], f"text.{i}": texts[i + 1]}
        return [[texts[0], {key: frames}]]


@pytest.mark.parametrize("name", CASES)
@torch.inference_mode()
def test_forward(name, tensors, network, golden):
    case, t = Case(tensors, name), torch.tensor([617])
    golden.close("forward pass", case.eps(network, case.positive, case.x, t), case.get("eps_t617"), FORWARD)
    golden.close("forward pass", case.eps(network, case.negative, case.x, t), case.get("eps_negative_t617"), FORWARD)


@pytest.mark.parametrize("steps", [4, 20, 50])
def test_schedule(steps, tensors):
    timesteps = trailing_timesteps(steps)
    assert torch.equal(timesteps.float(), tensors[f"schedule.timesteps.{steps}"])
    assert torch.allclose(sigmas()[timesteps], tensors[f"schedule.sigmas_k.{steps}"], rtol=1e-6)


@pytest.mark.parametrize("steps", [4, 20])
@pytest.mark.parametrize("name", CASES)
@torch.inference_mode()
def test_own_ddim(name, steps, tensors, network, golden):
    case = Case(tensors, name)
    given = ddim(lambda x, t: guide(case.eps(network, case.positive, x, t), case.eps(network, case.negative, x, t)),
                 case.x, steps)
    golden.close("samples, own DDIM", given, case.get(f"sample_ddim{steps}_cfg4.5_rescale0.5"), SAMPLES)


@pytest.mark.parametrize("loader", ["Load ACE Model", "Load Diffusion Model"])
@pytest.mark.parametrize("sampler", ["SamplerCustomAdvanced", "KSampler"])
@pytest.mark.parametrize("steps", [4, 20])
@pytest.mark.parametrize("name", CASES)
@torch.inference_mode()
def test_samples_inside_comfyui(name, steps, sampler, loader, tensors, comfy, pack, golden):
    """The functions behind core's nodes, from the golden's start noise."""
    import comfy.sample
    import comfy.samplers
    load = pack.loader.load_model if loader == "Load ACE Model" else comfy.sd.load_diffusion_model
    case = Case(tensors, name)
    model = pack.sampling.with_guidance(load(str(golden.model)), rescale=0.5)
    positive = case.conditioning(pack.model.FRAMES, case.positive)
    negative = case.conditioning(pack.model.FRAMES, case.negative)
    schedule, latent = pack.sampling.sigmas(model, steps), torch.zeros_like(case.x)
    if sampler == "KSampler":
        given = comfy.sample.sample(model, case.x, steps, 4.5, "euler", "normal", positive, negative, latent,
                                    sigmas=schedule, disable_pbar=True)
    else:
        guider = comfy.samplers.CFGGuider(model)
        guider.set_conds(positive, negative)
        guider.set_cfg(4.5)
        given = guider.sample(case.x, latent, comfy.samplers.sampler_object("euler"), schedule, disable_pbar=True)
    golden.close("samples in ComfyUI", given * VAE_SCALE, case.get(f"sample_ddim{steps}_cfg4.5_rescale0.5"), SAMPLES)


def test_preprocessing(golden):
    tensors, cases = golden.load("ace_preprocess")
    assert len(cases) == 8
    for name, case in cases.items():
        mask = tensors.get(f"{name}.mask_u8")
        image, mask = preprocess(tensors[f"{name}.image_u8"] / 255, None if mask is None else mask / 255,
                                 case["max_tokens"], blank=case["task"] == "inpainting")
        expected = (tensors[f"{name}.expected_image"].permute(1, 2, 0) + 1) / 2  # theirs is (3, h, w) in [-1, 1]
        assert image.shape == expected.shape, name
        assert (image - expected).abs().max() * 255 <= 2, name
        assert torch.equal(mask[None], tensors[f"{name}.expected_mask"]), name
        assert torch.equal(latent_mask(mask), tensors[f"{name}.expected_latent_mask"]), name
