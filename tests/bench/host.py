"""ComfyUI in this process, and networks and files of the published sizes with random weights.

How fast a network is does not depend on what its weights are, so none are downloaded.
"""

import hashlib
import importlib.util
import math
import os
import platform
import sys
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from types import ModuleType

import psutil
import torch
from safetensors.torch import save_file
from torch import Tensor

from ace_model.config import ACEConfig
from tools.files import replace_file

ROOT = Path(__file__).resolve().parents[2]
PACK = "ace_pack"
WEIGHTS = {"float32": torch.float32, "bf16": torch.bfloat16, "fp8": torch.float8_e4m3fn}
NOISE = 2**20  # random numbers that are drawn; larger tensors repeat them


def start(device: torch.device) -> ModuleType:
    """ComfyUI's packages importable, and set to the device; → the pack, loaded as ComfyUI loads it. Once per process."""
    if PACK in sys.modules:
        return sys.modules[PACK]
    sys.path.insert(0, os.environ["COMFYUI_PATH"])
    import comfy.options  # noqa: F401 - keeps ComfyUI from reading our arguments
    from comfy.cli_args import args
    args.cpu = device.type == "cpu"
    import comfy.sd  # noqa: F401 - whatever is patched or asked later is there
    spec = importlib.util.spec_from_file_location(PACK, ROOT / "__init__.py", submodule_search_locations=[str(ROOT)])
    module = importlib.util.module_from_spec(spec)
    sys.modules[PACK] = module
    spec.loader.exec_module(module)
    importlib.import_module(f"{PACK}.ace_model.comfyui").register()
    return module


def part(name: str) -> ModuleType:
    """A module of the pack as ComfyUI loaded it, for instance `nodes.load`."""
    return importlib.import_module(f"{PACK}.{name}")


def network(weights: str, device: torch.device, config: ACEConfig | None = None):
    """(ComfyUI's version of the network, the type it computes in), both as core chooses them for weights of that type."""
    import comfy.model_management
    import comfy.ops

    model, dtype = part("ace_model.comfyui.model"), WEIGHTS[weights]
    cast = comfy.model_management.unet_manual_cast(dtype, device, model.ACEModelConfig.supported_inference_dtypes)
    operations = comfy.ops.pick_operations(dtype, cast, load_device=device)
    made = model.ComfyDiT(dtype=dtype, device=device, operations=operations, **asdict(config or ACEConfig()))
    for parameter in made.parameters():
        parameter.data.copy_(0.02 * noise(tuple(parameter.shape)))
    return made.eval().requires_grad_(False), cast or dtype


def noise(shape: tuple[int, ...]) -> Tensor:
    """Gaussian numbers on the CPU, quickly: a million of them, repeated."""
    count = math.prod(shape)
    drawn = torch.randn(min(count, NOISE), generator=torch.Generator().manual_seed(count))
    return drawn.repeat(math.ceil(count / NOISE) if count else 1)[:count].view(shape)


def save_random(shapes: Mapping[str, tuple], path: Path, dtype=torch.float32, metadata: dict | None = None) -> Path:
    """A safetensors file of these tensors: matrices of 1/√inputs, norms near 1, small biases. An existing file is kept."""
    def made(key: str, shape: tuple) -> Tensor:
        norm = len(shape) == 1 and "norm" in key and "bias" not in key
        scaled = noise(shape) * (0.1 if len(shape) < 2 else math.prod(shape[1:]) ** -0.5)
        return (1 + scaled if norm else scaled).to(dtype)
    if not path.is_file():
        tensors = {key: made(key, shape) for key, shape in shapes.items()}
        replace_file(path, lambda temporary: save_file(tensors, temporary, metadata))
    return path


def machine(device: torch.device) -> dict:
    """What was measured, without anything that names the user."""
    processor = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.is_file():
        lines = [line.partition(":")[2].strip() for line in info.read_text().splitlines() if line.startswith("model name")]
        processor = lines[0] if lines else processor
    found = {"processor": processor, "cores": os.cpu_count(), "memory_gib": round(psutil.virtual_memory().total / 2**30),
             "system": f"{platform.system()} {platform.machine()}", "device": device.type}
    if device.type == "cuda":
        card = torch.cuda.get_device_properties(device)
        found |= {"card": card.name, "card_gib": round(card.total_memory / 2**30), "cuda": torch.version.cuda}
    return found


def versions(device: torch.device) -> dict:
    """Of whatever can change the figures: `code` stands for the pack's own and the benchmark's."""
    from comfyui_version import __version__

    measured = [ROOT / "tests" / "bench" / f"{name}.py" for name in ("baseline", "clock", "host", "stages", "steps")]
    own = sorted([*(ROOT / "ace_model").rglob("*.py"), *(ROOT / "nodes").glob("*.py"), *measured])
    code = hashlib.sha256(b"".join(path.read_bytes() for path in own)).hexdigest()[:12]
    return {"python": platform.python_version(), "torch": torch.__version__, "comfyui": __version__, "code": code,
            "threads": torch.get_num_threads(), "attention": part("ace_model.comfyui.model").attention_on(device).__name__}
