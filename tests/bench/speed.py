"""Seconds per step of the full-size network inside ComfyUI's classes: `python dev.py bench [--quick]`.

The yardstick is the same floating-point operations as bare matrix products of the same shapes, measured in turn with
the network in one run, so that a busy or slow machine slows both.
"""

import argparse
import os
import statistics
import sys
import threading
import time
from contextlib import contextmanager

import psutil
import torch

from ace_model.config import ACEConfig
from tests.bench import memory

TEXT_TOKENS = 20  # of a usual instruction
GUIDED = 2  # passes of a guided step
CONTEXT_IMAGES = (0, 1, 3)


def comfy_network(dtype: torch.dtype, device: torch.device):
    """ComfyUI's version of the network with random weights."""
    sys.path.insert(0, os.environ["COMFYUI_PATH"])
    import comfy.options  # noqa: F401 - keeps ComfyUI from reading our arguments
    from comfy.cli_args import args
    args.cpu = device.type == "cpu"
    import comfy.ops

    from ace_model.comfyui.model import ComfyDiT
    network = ComfyDiT(dtype=dtype, device=device, operations=comfy.ops.disable_weight_init)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.02)
    return network.eval().requires_grad_(False)


def step_inputs(pixels: int, context: int, dtype, device) -> dict:
    """One pass: target and `context` images of pixels × pixels, text already projected as ComfyUI hands it over."""
    width = ACEConfig().hidden_size

    def noise(*shape):
        return torch.randn(shape, device=device, dtype=dtype)

    side = pixels // 8
    return {"x": noise(1, 4, side, side), "timestep": torch.tensor([617.0], device=device),
            "context": noise(1, TEXT_TOKENS, width), "target_mask": torch.ones(1, 1, side, side, device=device, dtype=dtype),
            "images": [noise(1, 4, side, side) for _ in range(context)],
            "masks": [torch.ones(1, 1, side, side, device=device, dtype=dtype)] * context,
            "texts": [noise(1, TEXT_TOKENS, width) for _ in range(context)], "names": noise(1, context + 1, width),
            "transformer_options": {}}


def products(network, pixels: int, context: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Operands of every matrix product of a pass, the network's own weights among them (they must come from memory)."""
    config, frame = network.config, (pixels // 16) ** 2
    frames, heads, head = context + 1, config.num_heads, config.hidden_size // config.num_heads
    tokens, text = frame * frames, TEXT_TOKENS * frames

    def noise(*shape):
        return torch.randn(shape, device=network.t_block[1].weight.device, dtype=network.dtype)

    def layer(rows, linear):
        weight = linear.weight.flatten(1)
        return noise(rows, weight.shape[1]), weight.T

    out = [layer(frame, network.x_embedder.proj)] * frames
    out += [layer(1, linear) for linear in (network.t_embedder.mlp[0], network.t_embedder.mlp[2], network.t_block[1])]
    keys, values, over_all = noise(heads, head, tokens), noise(heads, tokens, head), noise(heads, tokens, tokens)
    over_text = noise(heads, frame, head), noise(heads, head, TEXT_TOKENS), noise(heads, frame, TEXT_TOKENS)
    for block in network.blocks:
        if block is network.blocks[-1]:
            frames, text = 1, TEXT_TOKENS  # nothing reads the condition images after the last block
        wanted = frame * frames
        out += [layer(tokens, linear) for linear in (block.attn.k, block.attn.v)]
        out += [(values[:, :wanted], keys), (over_all[:, :wanted], values)]
        out += [layer(wanted, linear) for linear in (block.attn.q, block.attn.o)]
        out += [layer(wanted, block.cross_attn.q), layer(text, block.cross_attn.k), layer(text, block.cross_attn.v)]
        out += [(over_text[0], over_text[1]), (over_text[2], over_text[1].mT)] * frames
        out += [layer(wanted, linear) for linear in (block.cross_attn.o, block.mlp.fc1, block.mlp.fc2)]
    return [*out, layer(frame, network.final_layer.linear)]


def operations(pairs) -> int:
    return sum(2 * left.numel() * right.shape[-1] for left, right in pairs)


def seconds(function, device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize()
    start = time.perf_counter()
    function()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


@contextmanager
def peak_memory(device):
    """Yields a dict whose `mb` is afterwards the most memory in use, weights included."""
    peak = {"mb": 0.0}
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
        yield peak
        peak["mb"] = torch.cuda.max_memory_allocated() / 2**20
        return
    process, ended = psutil.Process(), threading.Event()

    def watch():
        while not ended.wait(0.005):
            peak["mb"] = max(peak["mb"], process.memory_info().rss / 2**20)
    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield peak
    finally:
        ended.set()
        thread.join()


@torch.inference_mode()
def measure(device: torch.device, dtype: torch.dtype, sizes: list[int], rounds: int) -> None:
    network = comfy_network(dtype, device)
    print(f"\n{device.type}, {str(dtype).removeprefix('torch.')}, {torch.get_num_threads()} threads, text projected, "
          f"{rounds} rounds, medians", flush=True)
    print("pixels  context images  GFLOP/pass  s/pass  s/step (guided)  products s  ratio  peak MB", flush=True)
    for pixels in sizes:
        for context in CONTEXT_IMAGES:
            inputs = step_inputs(pixels, context, dtype, device)
            pairs = products(network, pixels, context)

            def bare(pairs=pairs):
                for left, right in pairs:
                    torch.matmul(left, right)
            own, yardstick = [], []
            with peak_memory(device) as peak:
                network(**inputs)
            bare()
            for _ in range(rounds):  # in turn, so that the machine's mood meets both
                own.append(seconds(lambda inputs=inputs: network(**inputs), device))
                yardstick.append(seconds(bare, device))
            own_s, bare_s = statistics.median(own), statistics.median(yardstick)
            print(f"{pixels:6}  {context:14}  {operations(pairs) / 1e9:10.0f}  {own_s:6.3f}  "
                  f"{own_s * GUIDED:15.3f}  {bare_s:10.3f}  {own_s / bare_s:5.2f}  {peak['mb']:7.0f}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python dev.py bench", description=__doc__.split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="256 px on the CPU, 512 px on a graphics card")
    parser.add_argument("--memory", action="store_true", help="memory of a step and what fits on which card, without a card")
    parser.add_argument("--rounds", type=int, default=0, help="measurements per line (default: 7, quick 5)")
    options = parser.parse_args()
    if options.memory:
        memory.main()
        return
    rounds = options.rounds or (5 if options.quick else 7)
    measure(torch.device("cpu"), torch.float32, [256] if options.quick else [256, 512], rounds)
    if torch.cuda.is_available():
        measure(torch.device("cuda"), torch.bfloat16, [512] if options.quick else [512, 1024], rounds * 4)
    else:
        print("\nNo CUDA device here: the graphics card was not measured.", flush=True)


if __name__ == "__main__":
    main()
