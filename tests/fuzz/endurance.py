"""A server that works for long: `python -m tests.fuzz.endurance memory` and `… interrupts`.

memory: 500 different edits in one server, in each of ComfyUI's cache modes; prints its resident memory every 50. ComfyUI's own
history of what it was asked, which it keeps up to 10,000 prompts, is emptied before each look.
interrupts: 100 runs stopped at random moments, with LoRA changes, unloading and freed memory between; after each the next run
must be bit for bit what it was in a fresh server.
"""

import argparse
import os
import sys
import time
from dataclasses import replace
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

import requests
import torch
from safetensors.torch import load_file

from tools.comfy_server import ComfyServer, PromptError

from .changes import a_lora
from .requests import Request, Turn, graph
from .soak import megabytes, prepare, use_comfyui

MODES = {"default": (), "classic": ("--cache-classic",), "least recently used": ("--cache-lru", "20"),
         "none": ("--cache-none",)}
EDIT = Request((Turn("{image} make it blue", ("a.png",), (0,)), Turn("{image} like {previous.image}", ("large.png",))))


def run(server: ComfyServer, asked: Request) -> torch.Tensor:
    (info,) = server.run(graph(asked), timeout=120)["save"]["latents"]
    file = server.base / "output" / info["subfolder"] / info["filename"]
    latent = load_file(file)["latent_tensor"]
    file.unlink()
    return latent


def memory(base: Path, edits: int) -> int:
    for mode, options in MODES.items():
        with ComfyServer(base, extra_args=list(options)) as server:
            seen = []
            for i in range(edits):
                turns = (*EDIT.turns[:-1], replace(EDIT.last, instruction=f"{{image}} number {i}"))
                run(server, replace(EDIT, seed=i, turns=turns))
                if (i + 1) % 50 == 0:
                    requests.post(f"{server.url}/history", json={"clear": True}, timeout=60)
                    seen.append(megabytes(server.process.pid))
        print(f"{mode:20s} {' '.join(map(str, seen))} MB", flush=True)
    return 0


def interrupts(base: Path, count: int) -> int:
    rng = Random(0)
    asked = [replace(EDIT, seed=i, steps=8) for i in range(6)]
    asked += [a_lora(rng, one) for one in asked[:3]]
    with ComfyServer(base, extra_args=["--cache-none"]) as server:
        expected = [run(server, one) for one in asked]
    stopped = wrong = 0
    with ComfyServer(base, extra_args=["--cache-none"]) as server:
        for _ in range(count):
            id_ = server.submit(graph(replace(rng.choice(asked), steps=200)))
            time.sleep(rng.uniform(0.0, 1.0))
            server.interrupt()
            try:
                server.wait(id_, timeout=120)
            except PromptError:
                stopped += 1
            if rng.random() < 0.3:
                what = {"unload_models": rng.random() < 0.7, "free_memory": True}
                requests.post(f"{server.url}/free", json=what, timeout=60)
            which = rng.randrange(len(asked))
            wrong += not torch.equal(run(server, asked[which]), expected[which])
    print(f"{count} runs interrupted ({stopped} before their end); {count - wrong} of {count} runs after them are "
          "bit-identical")
    return 1 if wrong else 0


def main() -> int:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    p.add_argument("what", choices=["memory", "interrupts"])
    p.add_argument("--count", type=int, help="edits (500), or interrupts (100)")
    args = p.parse_args()
    use_comfyui(Path(os.environ["COMFYUI_PATH"]))
    with TemporaryDirectory() as folder:
        prepare(Path(folder))
        return memory(Path(folder), args.count or 500) if args.what == "memory" else interrupts(Path(folder), args.count or 100)


if __name__ == "__main__":
    sys.exit(main())
