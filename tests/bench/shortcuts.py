"""Score and speed of the demo model with context reuse, ComfyUI's EasyCache, few steps: `python -m tests.bench.shortcuts`.

The same cases of every task for each setting, so that two rows differ by the setting alone. Seconds are the network's.
EasyCache decides for a batch of cases together here, in a graph for each picture.
"""

import argparse
import time
from functools import partial

import torch

from ace_model.diffusion import sigmas
from demo import score
from demo.trainer.model import WEIGHTS
from demo.world.tasks import TASKS
from tools.gallery.models import DEMO_FAST

from . import host
from .report import table

BOTH = "positive", "negative"
SEED = 20261130


class Timed:
    """The demo model, with the seconds that its passes take."""

    def __init__(self, model):
        self.model, self.seconds = model, 0.0

    def __getattr__(self, name):
        return getattr(self.model, name)

    def eps(self, *args, **kwargs):
        began = time.perf_counter()
        out = self.compute(*args, **kwargs)
        self.seconds += time.perf_counter() - began
        return out

    def compute(self, *args, **kwargs):
        return self.model.eps(*args, **kwargs)


class EasyCached(Timed):
    """With core's wrapper around each pass, as around the network in a graph: it gets x, the noise over the signal, and the
    branch of guidance."""

    def __init__(self, model, threshold: float = 0.2, start: float = 0.15, end: float = 0.95):  # the node's own numbers
        super().__init__(model)
        self.settings = threshold, start, end
        self.sigmas = sigmas()
        self.holder, self.calls = None, 0

    def prepare(self, *args, **kwargs):
        self.holder, self.calls = None, 0
        return self.model.prepare(*args, **kwargs)

    def compute(self, x, timestep, *rest):
        from comfy_extras.nodes_easycache import EasyCacheHolder, easycache_forward_wrapper
        if self.holder is None:
            threshold, start, end = self.settings
            self.holder = EasyCacheHolder(threshold, start, end, subsample_factor=8, offload_cache_diff=False,
                                          output_channels=x.shape[1])
            self.holder.prepare_timesteps(Schedule(self.sigmas))
        branch, self.calls = BOTH[self.calls % 2], self.calls + 1
        if branch == BOTH[0]:
            self.holder.skip_current_step = False
        options = {"easycache": self.holder, "sigmas": self.sigmas[timestep[:1]], "uuids": [branch]}

        def executor(x, options):
            return super(EasyCached, self).compute(x, timestep, *rest)
        return easycache_forward_wrapper(executor, x.clone(), options)  # it adds to x in place


class Schedule:
    """What EasyCache asks of a model's sampling."""

    def __init__(self, sigmas: torch.Tensor):
        self.sigmas = sigmas

    def percent_to_sigma(self, percent: float) -> float:
        from comfy.model_sampling import ModelSamplingDiscrete
        sampling = ModelSamplingDiscrete()
        sampling.set_sigmas(self.sigmas)
        return sampling.percent_to_sigma(percent)


SETTINGS = {"exact": (1, Timed), "context reuse, every 3rd": (3, Timed), "context reuse, every 5th": (5, Timed),
            "context reuse, every 7th": (7, Timed), "EasyCache, threshold 0.2": (1, EasyCached),
            "EasyCache, threshold 0.05": (1, partial(EasyCached, threshold=0.05))}
FEW = {"fast LoRA, 4 steps": 4, "fast LoRA, 2 steps": 2, "fast LoRA, 1 step": 1}  # without guidance
SETTINGS |= dict.fromkeys(FEW, (1, Timed))


def answerer_for(setting: str, steps: int) -> score.Answerer:
    """steps: for settings that have no number of their own."""
    given = ["--steps", str(FEW.get(setting, steps)), "--device", "cpu"]
    if setting in FEW:
        given += ["--sampler", "lcm", "--guidance", "1", "--lora", str(WEIGHTS / "loras" / DEMO_FAST)]
    return score.Answerer(score.parser().parse_args(given))


def measure(setting: str, steps: int, cases: dict[str, list]) -> list:
    """[share of right answers per task …, their mean, seconds per case]."""
    answerer, (every, how) = answerer_for(setting, steps), SETTINGS[setting]
    answerer.args.reuse, answerer.model = every, how(answerer.model)
    right = [score.share(ok for _, ok, _ in score.measure(answerer(samples), samples)) for samples in cases.values()]
    count = sum(map(len, cases.values()))
    return [*right, score.share(right), answerer.model.seconds / count]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.shortcuts", description=__doc__.split("\n")[0])
    parser.add_argument("--cases", type=int, default=200, help="of each task (default 200)")
    parser.add_argument("--tasks", nargs="*", choices=TASKS, default=list(TASKS))
    parser.add_argument("--settings", nargs="*", choices=SETTINGS, default=list(SETTINGS))
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--seed", type=int, default=SEED)
    options = parser.parse_args()
    host.start(torch.device("cpu"))
    rows, exact = [], 0.0
    cases = {task: score.cases(options.seed, task, options.cases) for task in options.tasks}
    measure("exact", options.steps, {task: found[:2] for task, found in cases.items()})  # warms up
    for name in options.settings:
        *right, seconds = measure(name, options.steps, cases)
        exact = exact or seconds
        rows.append([name, *(f"{100 * each:.1f}" for each in right), f"{seconds:.3f}", f"{exact / seconds:.2f}"])
        print(rows[-1], flush=True)
    print(f"\nseed {options.seed}, {options.cases} cases of each task, right answers in %; {options.steps} steps, guided, if "
          "nothing else is said\n")
    print(table([f"{options.steps} steps", *options.tasks, "mean", "s per case", "times as fast"], rows, words=1))


if __name__ == "__main__":
    main()
