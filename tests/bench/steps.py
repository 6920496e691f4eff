"""One step of sampling: the pack's network in ComfyUI's classes, the baseline, and bare matrix products, in turn.

The bare products are the floating-point operations of a pass, with operands of the same shapes and nothing between them. One
large product tells what the machine can do at best. All are measured in turn, so that a busy machine slows all of them.
"""

import math
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from functools import cache
from itertools import product

import psutil
import torch

from ace_model import diffusion
from ace_model.config import ACEConfig

from .baseline import Baseline
from .clock import MIB, OtherPrograms, peak_memory, seconds
from .host import WEIGHTS, noise

TEXT_TOKENS = 20  # of a usual instruction
EMPTY_TOKENS = 1  # of the empty negative instruction: the end token
CONTEXTS, BATCHES = (0, 1, 3, 8), (1, 4)
LARGE = {"cpu": 3072, "cuda": 8192}  # rows and columns of the large product
SCORES = 2**26  # attention scores of the bare products at once
WARM = 10.0  # seconds: a first round shorter than this only warms up
OVERHEAD = 1.2  # a pass over the time of its operations at the large product's speed, for estimates


@dataclass(frozen=True)
class Case:
    """pixels: width and height of every image · context: condition images · guided: two passes a step and guidance."""

    pixels: int
    context: int
    batch: int = 1
    guided: bool = False
    weights: str = "float32"

    @property
    def key(self) -> str:
        return f"{self.weights} {self.pixels} px, {self.context} images, batch {self.batch}, " + (
            "guided" if self.guided else "unguided")

    @property
    def passes(self) -> int:
        return 1 + self.guided

    @property
    def frame(self) -> int:
        """Tokens of an image."""
        return (self.pixels // 16) ** 2

    @property
    def tokens(self) -> int:
        """Tokens of a sample."""
        return self.frame * (1 + self.context)


def plan(device: str, quick: bool) -> list[Case]:
    """What is measured, cheap cases first for each type of weights. 256 px is there for the CPU's ratios."""
    if quick and device == "cpu":
        return [Case(256, 0), Case(256, 1), Case(256, 1, guided=True), Case(256, 3)]
    if quick:
        cases = [Case(pixels, context, weights="bf16") for pixels, context in product((512, 1024), CONTEXTS)]
        return [*cases, Case(512, 1, guided=True, weights="bf16"), Case(512, 1, batch=4, weights="bf16"),
                Case(512, 1, weights="float32"), Case(512, 1, weights="fp8")]
    sizes = (256, 512, 1024) if device == "cpu" else (512, 1024)
    cases = [Case(*each) for each in product(sizes, CONTEXTS, BATCHES, (False, True), WEIGHTS)
             if each[0] > 256 or (each[2], each[4]) == (1, "float32")]
    return sorted(cases, key=lambda case: (list(WEIGHTS).index(case.weights), operations(case) * case.passes))


def operations(case: Case, config: ACEConfig | None = None) -> float:
    """Floating-point operations of the matrix products of one pass; a multiplication and an addition are two."""
    config = config or ACEConfig()
    d, n, words = config.hidden_size, case.tokens, TEXT_TOKENS * (1 + case.context)
    embed = n * config.in_channels * config.patch_size**2 * d + 256 * d + 7 * d * d  # patches, timestep

    def block(tokens: int, words: int) -> float:
        """One that computes so many tokens; keys and values of self-attention are all frames'."""
        return (4 + 2 * config.mlp_ratio) * tokens * d * d + 2 * (n + words) * d * d + 2 * tokens * (n + TEXT_TOKENS) * d
    last = block(case.frame, TEXT_TOKENS) + case.frame * d * config.out_channels * config.patch_size**2
    return 2 * case.batch * (embed + (config.depth - 1) * block(n, words) + last)


def activations(case: Case, config: ACEConfig, compute: torch.dtype) -> float:
    """MiB that a pass takes beside the weights, at least: the MLP's two widest tensors and some of the usual width."""
    return case.batch * case.tokens * config.hidden_size * (2 * config.mlp_ratio + 6) * compute.itemsize / MIB


def inputs(case: Case, config: ACEConfig, compute: torch.dtype, device: torch.device) -> dict:
    """Of the baseline: texts are T5's features, target first. The positive pass; `negative` shortens texts."""
    def random(*shape):
        return noise(shape).to(device, compute)
    batch, side = case.batch, case.pixels // 8
    ones = torch.ones(batch, 1, side, side, device=device, dtype=compute)
    return {"x": random(batch, 4, side, side), "timestep": torch.full((batch,), 617.0, device=device), "target_mask": ones,
            "images": [random(batch, 4, side, side) for _ in range(case.context)], "masks": [ones] * case.context,
            "texts": [random(batch, TEXT_TOKENS, config.text_width) for _ in range(1 + case.context)],
            "indicators": random(batch, 10, config.text_width)}


def negative(given: dict) -> dict:
    """The empty instruction in place of the last: for the target and the last condition image."""
    texts = list(given["texts"])
    for i in {0, len(texts) - 1}:
        texts[i] = texts[i][:, :EMPTY_TOKENS]
    return {**given, "texts": texts}


def projected(network, given: dict) -> dict:
    """What ComfyUI hands to the network at every step: texts were projected once."""
    texts, names = network.project_text(given["texts"], given["indicators"])
    kept = {key: value for key, value in given.items() if key not in ("texts", "indicators")}
    return {**kept, "context": texts[0], "texts": texts[1:], "names": names, "transformer_options": {}}


def products(network, case: Case, compute: torch.dtype) -> list[tuple[torch.Tensor, torch.Tensor, int]]:
    """(left, right, times) of every matrix product of a pass. Linear layers use the network's weights, which must come from
    memory; long attention is cut into parts of at most SCORES scores."""
    config, batch, device = network.config, case.batch, network.x_embedder.proj.weight.device
    heads, head = config.num_heads * batch, config.hidden_size // config.num_heads
    tokens, words, frames = case.tokens, TEXT_TOKENS * (1 + case.context), 1 + case.context

    @cache  # one for all layers: a network's activations were written just before, too
    def random(*shape):
        return noise(shape).to(device, compute)

    def layer(rows, linear, times=1):
        weight = linear.weight.to(compute).flatten(1)
        return random(batch * rows, weight.shape[1]), weight.T, times

    def scores(rows, columns, times):
        return [(random(heads, rows, head), random(heads, head, columns), times),
                (random(heads, rows, columns), random(heads, columns, head), times)]
    def attention(rows, frames):
        part = max(1, min(rows, SCORES // (heads * tokens)))
        rest = scores(rows % part, tokens, 1) if rows % part else []
        return [*scores(part, tokens, rows // part), *rest, *scores(case.frame, TEXT_TOKENS, frames)]

    out = [layer(case.frame, network.x_embedder.proj, frames)]
    out += [layer(1, linear) for linear in (network.t_embedder.mlp[0], network.t_embedder.mlp[2], network.t_block[1])]
    for i, block in enumerate(network.blocks, 1):
        if i == len(network.blocks):  # nothing reads the condition images after it
            frames, words = 1, TEXT_TOKENS
        own, text, rows = block.attn, block.cross_attn, frames * case.frame
        out += [layer(tokens, own.k), layer(tokens, own.v), layer(words, text.k), layer(words, text.v)]
        out += [layer(rows, linear) for linear in (own.q, own.o, text.q, text.o, block.mlp.fc1, block.mlp.fc2)]
        out += attention(rows, frames)
    return [*out, layer(case.frame, network.final_layer.linear)]


def multiply(pairs) -> None:
    for left, right, times in pairs:
        for _ in range(times):
            torch.matmul(left, right)


def large_product(compute: torch.dtype, device: torch.device) -> tuple[Callable, float]:
    """(a large matrix product, its floating-point operations)."""
    side = LARGE.get(device.type, LARGE["cpu"])
    left, right = (noise((side, side)).to(device, compute) for _ in range(2))
    return lambda: torch.matmul(left, right), 2.0 * side**3


def contenders(case: Case, network, compute: torch.dtype, device: torch.device) -> dict[str, Callable]:
    """What is measured in turn. A guided step is two passes of the same network, so it has no baseline and no products."""
    given, large = inputs(case, network.config, compute, device), large_product(compute, device)[0]
    positive = projected(network, given)
    if case.guided:
        empty = projected(network, negative(given))
        return {"own": lambda: diffusion.guide(network(**positive), network(**empty)), "large": large}
    baseline, pairs = Baseline(network.state_dict(), network.config), products(network, case, compute)
    return {"own": lambda: network(**positive), "baseline": lambda: baseline(**given), "products": lambda: multiply(pairs),
            "large": large}


def timed(function: Callable, device: torch.device) -> tuple[float, float]:
    """(seconds, seconds of this process's processors). The second grows less when other programs take turns with it."""
    before = time.process_time()
    return seconds(function, device), time.process_time() - before


@torch.inference_mode()
def measure(case: Case, network, compute: torch.dtype, device: torch.device, rounds: tuple[int, int], budget: float) -> dict:
    """Repeat all contenders in turn: at least rounds[0] times, at most rounds[1] times while `budget` seconds last."""
    functions = contenders(case, network, compute, device)
    times, memory, others, began = {name: [] for name in functions}, {}, OtherPrograms(), time.perf_counter()
    for name, function in functions.items():
        with peak_memory(device) if name in ("own", "baseline") else nullcontext() as found:
            times[name].append(timed(function, device))
        if found:
            memory[name] = round(found["grown"])
    if sum(wall for found in times.values() for wall, _ in found) < WARM:
        times = {name: [] for name in functions}
    while (done := len(times["own"])) < rounds[0] or done < rounds[1] and time.perf_counter() - began < budget:
        for name, function in functions.items():
            times[name].append(timed(function, device))
    weights = sum(tensor.numel() * tensor.element_size() for tensor in network.state_dict().values()) / MIB
    return {"case": asdict(case), "compute": str(compute).removeprefix("torch."), "tokens": case.tokens,
            "gflop": operations(case, network.config) * case.passes / 1e9,
            "seconds": {name: [wall for wall, _ in found] for name, found in times.items()},
            "processor_seconds": {name: [used for _, used in found] for name, found in times.items()},
            "large_gflop": large_product(compute, device)[1] / 1e9, "weights_mib": round(weights), "grown_mib": memory,
            "other_cores": round(others.cores(), 2)}


@torch.inference_mode()
def speed(compute: torch.dtype, device: torch.device) -> float:
    """Floating-point operations per second of the large product, for estimates: the best of three."""
    function, count = large_product(compute, device)
    return count / min(seconds(function, device) for _ in range(3))


def expected(case: Case, config: ACEConfig, per_second: float) -> float:
    """Seconds of a step, roughly."""
    return OVERHEAD * operations(case, config) * case.passes / per_second


def obstacle(case: Case, config: ACEConfig, compute: torch.dtype, device: torch.device, per_second: float, limit: float
             ) -> str | None:
    """Why a case is left out: too slow for this machine, or too large."""
    step = expected(case, config, per_second)
    if step > limit:
        return f"about {step:.0f} s per step; --limit {math.ceil(step / 60) * 60} measures it"
    if device.type == "cuda":
        torch.cuda.empty_cache()
    need = activations(case, config, compute)
    have = torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else psutil.virtual_memory().available
    if need > 0.9 * have / MIB:
        return f"it needs over {need / 1024:.0f} GiB beside the weights, and {have / 2**30:.0f} are free"
    return None


def rounds_of(device: str, quick: bool, asked: int) -> tuple[int, int]:
    """(fewest, most) rounds."""
    if asked:
        return asked, asked
    return (20, 20) if device == "cuda" else (3, 5) if quick else (3, 9)

