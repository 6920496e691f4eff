"""What context images cost over a whole edit at full size, exactly and with context reuse: `python -m tests.bench.reuse`.

All in one run: seconds of a run of steps with 1, 4 and 8 images, over those without an image.
"""

import argparse
import statistics

import torch

from ace_model.reuse import ContextReuse

from .speed import comfy_network, seconds, step_inputs

IMAGES = (0, 1, 4, 8)


@torch.inference_mode()
def measure(pixels: int, steps: int, every: tuple[int, ...], rounds: int, device: torch.device, dtype: torch.dtype) -> None:
    network = comfy_network(dtype, device)
    from ace_model.comfyui.model import REUSE  # ComfyUI is on the path by now
    print(f"{pixels} px, {device.type}, {str(dtype).removeprefix('torch.')}, {torch.get_num_threads()} threads, {steps} steps, "
          f"one branch of guidance, medians of {rounds}", flush=True)
    print("images  " + "".join(f"{'exact' if n == 1 else f'every {n}':>18}" for n in (1, *every)), flush=True)
    none = None
    for images in IMAGES:
        inputs = step_inputs(pixels, images, dtype, device)

        def evaluate(state, inputs=inputs):
            state.begin(inputs["x"])
            network(**{**inputs, "transformer_options": {REUSE: state, "uuids": ("prompt",)}})
        full, between = [], []
        for _ in range(rounds):
            state = ContextReuse(steps)
            full.append(seconds(lambda state=state: evaluate(state), device))
            between += [seconds(lambda state=state: evaluate(state), device) for _ in range(2)]
        full, between = statistics.median(full), statistics.median(between)
        whole = [steps * full] + [len(range(0, steps, n)) * full + (steps - len(range(0, steps, n))) * between for n in every]
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
            torch.bfloat16 if device.type == "cuda" else torch.float32)


if __name__ == "__main__":
    main()
