"""Steps 0: the model's own number, told by its file's name or metadata, whichever loader read it."""

import shutil

import pytest
from safetensors.torch import load_file, save_file


@pytest.mark.parametrize("loader", ["Load ACE Model", "Load Diffusion Model"])
@pytest.mark.parametrize(("name", "metadata", "steps"), [
    ("ace_0.6b_512px", None, 20), ("ACE_0.6B_1024px", None, 50), ("something else", None, 20), ("ace_demo_dit", None, 10),
    ("my merge", {"ace_defaults": "1024px"}, 50), ("1024 no more", {"ace_defaults": "512px"}, 20),
    ("odd", {"ace_defaults": "7"}, 20)])
def test_steps(loader, name, metadata, steps, tmp_path, comfy, pack, golden):
    path = tmp_path / f"{name}.safetensors"
    if metadata is None:
        shutil.copy(golden.model, path)
    else:
        save_file(load_file(golden.model), path, metadata=metadata)
    load = pack.loader.load_model if loader == "Load ACE Model" else comfy.sd.load_diffusion_model
    model = load(str(path))
    assert len(pack.sampling.sigmas(model, 0)) == len(pack.sampling.sigmas(model.clone(), 0)) == steps + 1
    assert len(pack.sampling.sigmas(model, 7)) == 8, "an explicit value wins"
