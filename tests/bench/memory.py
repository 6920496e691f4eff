"""Memory of a step at full size without a graphics card: `python dev.py bench --memory`, or `python -m tests.bench.memory`.

Tensors without contents on a card that need not exist go through the network inside ComfyUI's classes, and every storage is
watched from its making to its end. The planner's answer stands beside it, and then what fits on which card by ComfyUI's own
rules. Kernels' workspaces are not seen: ComfyUI's reserve and the planner's margin are there for them.
"""

import os
import sys
from contextlib import contextmanager
from unittest.mock import patch

import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from ace_model.config import ACEConfig
from ace_model.planner import MARGIN, activation_bytes
from training.live import LiveBytes

Sides = list[tuple[int, int]]  # height and width in pixels of each frame, target first
WORDS = 20  # tokens of a usual instruction
LAYOUTS: dict[str, tuple[Sides, list[int], int]] = {  # name: (sides, tokens of each frame's text, batch)
    "words alone, 512": ([(512, 512)], [WORDS], 1),
    "words alone, 512, guided": ([(512, 512)], [WORDS], 2),
    "words alone, 1024": ([(1024, 1024)], [WORDS], 1),
    "one image, 512": ([(512, 512)] * 2, [WORDS] * 2, 1),
    "one image, 512, guided": ([(512, 512)] * 2, [WORDS] * 2, 2),
    "one image, 1024, guided": ([(1024, 1024)] * 2, [WORDS] * 2, 2),
    "three images, 512": ([(512, 512)] * 4, [WORDS] * 4, 1),
    "three images, 1024": ([(1024, 1024)] * 4, [WORDS] * 4, 1),
    "eight images, 512, guided": ([(512, 512)] * 9, [120] * 9, 2),
    "eight images, 1024": ([(1024, 1024)] * 9, [120] * 9, 1),
    "mixed sizes, guided": ([(768, 512), (384, 672), (1360, 768), (64, 64)], [31, 1, 120, 18], 2),
    "batch of four, guided": ([(512, 640), (512, 512)], [WORDS] * 2, 8),
}
DTYPES = {"bfloat16": torch.bfloat16, "float32": torch.float32}
PARAMETERS = 610_989_728
CARDS, SYSTEM = (4, 6, 8, 12), 0.5 * 2**30  # GiB; what CUDA and a screen hold of it
VAE = {"double_z": True, "z_channels": 4, "resolution": 256, "in_channels": 3, "out_ch": 3, "ch": 128,
       "ch_mult": [1, 2, 4, 4], "num_res_blocks": 2, "attn_resolutions": [], "dropout": 0.0}  # Stable Diffusion 1.x's


def fused_attention(q, k, v, *args, **kwargs):
    """The kernel that PyTorch takes on NVIDIA cards. Without a card it would spell attention out."""
    if q.dtype == torch.float32:
        return torch.ops.aten._scaled_dot_product_efficient_attention(q, k, v, None, False)[0]
    return torch.ops.aten._scaled_dot_product_flash_attention(q, k, v)[0]


@contextmanager
def graphics_card(model, free: int | None = None):
    """Tensors without contents, and the attention that core chooses on a card: PyTorch's, or its own in pieces that suit the
    free bytes. model: the module ace_model.comfyui.model."""
    import comfy.model_management as management
    import comfy.ops
    from comfy.ldm.modules.attention import attention_pytorch, attention_sub_quad
    with (FakeTensorMode(), torch.no_grad(), patch.object(comfy.ops, "scaled_dot_product_attention", fused_attention),
          patch.object(management, "get_free_memory", lambda *_: (free, free)),
          patch.object(management, "pytorch_attention_enabled_vae", lambda: True),
          patch.object(model, "optimized_attention", attention_sub_quad if free else attention_pytorch)):
        yield


def network(model, dtype: torch.dtype, **sizes):
    """ComfyUI's version of the network."""
    import comfy.ops
    return model.ComfyDiT(dtype=dtype, device="cuda", operations=comfy.ops.disable_weight_init, **sizes).requires_grad_(False)


def measured(net, sides: Sides, texts: list[int], batch: int) -> int:
    """Peak bytes of one step, under `graphics_card`."""
    dtype, width = net.dtype, net.config.hidden_size

    def empty(*shape):
        return torch.empty(shape, device="cuda", dtype=dtype)
    x, *images = [empty(batch, 4, height // 8, columns // 8) for height, columns in sides]
    mask, *masks = [empty(batch, 1, height // 8, columns // 8) for height, columns in sides]
    features, names = [empty(batch, length, width) for length in texts], empty(batch, len(sides), width)
    timestep = torch.empty(batch, device="cuda")
    with LiveBytes() as live:
        net(x, timestep, features[0], mask, images, masks, features[1:], names, transformer_options={})
    return live.peak


def planned(config: ACEConfig, sides: Sides, texts: list[int], batch: int, dtype: torch.dtype, fused: bool = True) -> int:
    tokens = sum(height * columns // (8 * config.patch_size) ** 2 for height, columns in sides)
    return activation_bytes(config, batch * tokens, batch * sum(texts), dtype.itemsize, fused)


def empty_on_card(build, dtype: torch.dtype):
    """What build() makes, of this type and on the card, under `graphics_card`."""
    torch.set_default_dtype(dtype)
    try:
        with torch.device("cuda"):
            return build().requires_grad_(False)
    finally:
        torch.set_default_dtype(torch.float32)


def decoding(model, pixels: int, dtype: torch.dtype) -> tuple[int, int, int, int]:
    """Bytes of (the VAE's weights, what decoding a picture keeps alive, what core reserves for it, a TAESD preview)."""
    from comfy.ldm.models.autoencoder import AutoencoderKL
    from comfy.taesd.taesd import TAESD
    cells = pixels // 8
    with graphics_card(model):
        vae = empty_on_card(lambda: AutoencoderKL(ddconfig=VAE, embed_dim=4), dtype)
        preview = empty_on_card(lambda: TAESD(latent_channels=4), torch.float32)
        weights = sum(parameter.numel() for parameter in vae.decoder.parameters()) * dtype.itemsize
        peaks = []
        for decoder, kind in ((vae, dtype), (preview, torch.float32)):
            latent = torch.empty(1, 4, cells, cells, device="cuda", dtype=kind)
            with LiveBytes() as live:
                decoder.decode(latent)
            peaks.append(live.peak)
    reserved = 2178 * cells**2 * 64 * dtype.itemsize  # comfy/sd.py, memory_used_decode
    return weights, peaks[0], reserved, peaks[1]


def sampling_on(free: float, weights: float, one: float, both: float) -> str:
    """How ComfyUI takes a guided step with so many bytes free. one, both: what it is told of one branch, and of two at once."""
    import comfy.model_management as management
    kept = max(management.minimum_inference_memory(), one + management.extra_reserved_memory())  # load_models_gpu
    if weights > free - kept:
        return "weights in part"
    return "at once" if both * 1.5 < free - weights else "in turn"  # calc_cond_batch


def decoding_on(free: float, weights: int, alive: int, reserved: int) -> str:
    return "whole" if weights + reserved <= free else "tries whole" if weights + alive <= free else "tiles"


def print_plan(model) -> None:
    print(f"{'layout':28} {'type':9} {'alive MB':>9} {'planned MB':>10} {'error':>7}")
    for name, dtype in DTYPES.items():
        with graphics_card(model):
            net = network(model, dtype)
            for layout, request in LAYOUTS.items():
                alive, plan = measured(net, *request), planned(net.config, *request, dtype)
                print(f"{layout:28} {name:9} {alive / 1e6:9.1f} {plan / 1e6:10.1f} {plan / alive - 1:+7.1%}", flush=True)


def print_cards(model) -> None:
    config = ACEConfig()
    for name, dtype in DTYPES.items():
        weights = PARAMETERS * dtype.itemsize
        print(f"\n{name}: weights {weights / 1e9:.2f} GB; GB alive in a step, decoding, in a TAESD preview; what fits\n"
              "pixels images  branch    both  decode preview  " + "".join(f"{f'{card} GB':30}" for card in CARDS))
        for pixels in (512, 1024):
            vae, decode, reserved, preview = decoding(model, pixels, dtype)
            for images in (0, 1, 3, 8):
                one, both = (planned(config, [(pixels, pixels)] * (images + 1), [WORDS] * (images + 1), batch, dtype)
                             for batch in (1, 2))
                cells = []
                for card in CARDS:
                    free = card * 2**30 - SYSTEM
                    cells.append(f"{sampling_on(free, weights, MARGIN * one, MARGIN * both)}, "
                                 f"{decoding_on(free, vae, decode, reserved)}")
                print(f"{pixels:6} {images:6} {one / 1e9:7.2f} {both / 1e9:7.2f} {decode / 1e9:7.2f} {preview / 1e9:7.2f}  "
                      + "".join(f"{cell:30}" for cell in cells).rstrip(), flush=True)
    print("\nAt once, in turn: both branches of guidance in one pass, or one after the other. Weights in part: the rest is\n"
          "read from main memory at every step. Whole: what core reserves for decoding is free, 2,178 numbers for each pixel.\n"
          "Tries whole: only what decoding keeps alive is free; if kernels need more, core decodes in tiles of 512 pixels.\n"
          "T5-XXL (4.9 or 9.8 GB) leaves the card before a step; where it is too large, core reads it from main memory.")


def main() -> None:
    sys.path.insert(0, os.environ["COMFYUI_PATH"])
    import comfy.options  # noqa: F401 - keeps ComfyUI from reading our arguments
    from comfy.cli_args import args
    args.cpu = not torch.cuda.is_available()
    from ace_model.comfyui import model
    print_plan(model)
    print_cards(model)


if __name__ == "__main__":
    main()
