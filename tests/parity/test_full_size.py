"""ACE-0.6B at full size in both published file types, through both loaders, in every weight type."""

import gc

import pytest
import torch
from safetensors.torch import save_file

from ace_model.config import ACEConfig
from ace_model.dit import DiT

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "fp8_e4m3fn": torch.float8_e4m3fn}
TOLERANCE = {"float32": 1e-4, "bfloat16": 0.05, "fp8_e4m3fn": 0.25}


@pytest.fixture(scope="module")
def request_inputs():
    """One condition image of 64×48 pixels: x, t, target_mask, images, masks, texts (raw), indicators."""
    generator = torch.Generator().manual_seed(1)
    def noise(*shape):
        return torch.randn(shape, generator=generator)
    return (noise(1, 4, 8, 6), torch.tensor([617.0]), torch.ones(1, 1, 8, 6), [noise(1, 4, 8, 6)], [torch.ones(1, 1, 8, 6)],
            [noise(1, 5, 4096) / 10, noise(1, 5, 4096) / 10], noise(1, 10, 4096) / 10)


@pytest.fixture(scope="module")
def files(tmp_path_factory, request_inputs):
    """Random weights in the published layout as .pth and .safetensors, and the plain network's answer."""
    folder = tmp_path_factory.mktemp("full")
    generator = torch.Generator().manual_seed(0)
    sd = {key: torch.randn(value.shape, generator=generator) / value.shape[-1] ** 0.5
          for key, value in DiT(ACEConfig(), device="meta").state_dict().items()}
    assert len(sd) == 715 and sum(value.numel() for value in sd.values()) == 610_989_728
    torch.save(sd, folder / "ace_0.6b_512px.pth")
    save_file(sd, folder / "ace_0.6b_512px.safetensors")
    network = DiT(ACEConfig(), device="meta")
    network.load_state_dict(sd, assign=True)
    x, t, target_mask, images, masks, texts, indicators = request_inputs
    with torch.inference_mode():
        expected = network(x, t, target_mask, images, masks, *network.project_text(texts, indicators))
    yield folder, expected
    for file in folder.iterdir():
        file.unlink()


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "fp8_e4m3fn"])
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("loader", ["Load ACE Model", "Load Diffusion Model"])
def test_loads_and_runs(loader, suffix, dtype, files, request_inputs, comfy, pack, golden):
    folder, expected = files
    path = str(folder / f"ace_0.6b_512px{suffix}")
    options = {"dtype": DTYPES[dtype]}
    load = pack.loader.load_model if loader == "Load ACE Model" else comfy.sd.load_diffusion_model
    patcher = load(path, model_options=options)
    model = patcher.model
    assert len(model.diffusion_model.state_dict()) == 715
    assert sum(p.numel() for p in model.diffusion_model.parameters()) == 610_989_728
    assert model.diffusion_model.blocks[3].mlp.fc1.weight.dtype == DTYPES[dtype]
    factory, arguments = patcher.cached_patcher_init
    assert factory.__module__ != "builtins" and arguments[0] == path

    import comfy.model_management
    comfy.model_management.load_models_gpu([patcher])
    device, compute = patcher.load_device, model.get_dtype_inference()
    def put(value):
        return [put(v) for v in value] if isinstance(value, list) else value.to(device, compute)
    x, t, target_mask, images, masks, (context, *texts), indicators = (put(value) for value in request_inputs)
    with torch.inference_mode():
        given = model.diffusion_model(x, t.float(), context, target_mask=target_mask, images=images, masks=masks, texts=texts,
                                      indicators=indicators, transformer_options={})
    assert golden.relative(given, expected) <= TOLERANCE[dtype]
    comfy.model_management.unload_all_models()
    del patcher, model
    gc.collect()
