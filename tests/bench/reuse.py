"""What context images cost over a whole edit at full size, exactly and with context reuse: `python -m tests.bench.reuse`.

All in one run: seconds of a run of steps with 1, 4 and 8 images, over those without an image.
"""

import argparse
import statistics

import torch

from . import host, steps
from .clock import seconds

IMAGES = (0, 1, 4, 8)


@torch.inference_mode()
def measure(pixels: int, number: int, every: tuple[int, ...], rounds: int, device: torch.device, weights: str) -> None:
    host.start(device)
    network, compute = host.network(weights, device)
    key, reuse = host.part("ace_model.comfyui.model").REUSE, host.part("ace_model.reuse").ContextReuse
    print(f"{pixels} px, {device.type}, {weights}, {torch.get_num_threads()} threads, {number} steps, one branch of guidance, "
          f"medians of {rounds}", flush=True)
    print("images  " + "".join(f"{'exact' if n == 1 else f'every {n}':>18}" for n in (1, *every)), flush=True)
    none = None
    for images in IMAGES:
        case = steps.Case(pixels, images, weights=weights)
        given = steps.projected(network, steps.inputs(case, network.config, compute, device))

        def evaluate(state, given=given):
            state.begin(given["x"])
            network(**{**given, "transformer_options": {key: state, "uuids": ("prompt",)}})
        full, between = [], []
        for _ in range(rounds):
            state = reuse(number)
            full.append(seconds(lambda state=state: evaluate(state), device))
            between += [seconds(lambda state=state: evaluate(state), device) for _ in range(2)]
        full, between = statistics.median(full), statistics.median(between)
        wholes = [len(range(0, number, n)) for n in every]  # full steps
        whole = [number * full, *(n * full + (number - n) * between for n in wholes)]
        none = none or whole[0]
        print(f"{images:6}  " + "".join(f"{each:10.1f} s {each / none:5.2f}x" for each in whole)
              + f"   (full step {full:.2f} s, between {between:.2f} s)", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.reuse", description=__doc__.split("\n")[0])
    parser.add_argument("--pixels", type=int, default=256)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    measure(options.pixels, options.steps, (3, 5, 7), options.rounds, device,
            "bf16" if device.type == "cuda" else "float32")


if __name__ == "__main__":
    main()
