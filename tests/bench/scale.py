"""What one request costs everywhere but in the network, for docs/scale.md: `python -m tests.bench.scale`.

The first pass, the keys that Ray's checkpoint holds in memory, the files that it opens, the ledger's calls. Each with fewer
rows than a real run has; the page multiplies. Then pairing a pile, with features as of 1,000 families of pictures.
"""

import argparse
import json
import os
import tempfile
import time
from pathlib import Path

import numpy as np
import psutil
import pyarrow as pa
from PIL import Image
from pyarrow import parquet

from batch import requests, sinks
from batch.job import Job
from batch.requests import prepare
from engine import clusters, features
from engine.settings import Pairing


def told(what: str, seconds: float, count: int, unit: str = "") -> None:
    print(f"{what}: {1e6 * seconds / count:,.3g} µs each, {count / seconds:,.0f} in a second{unit}", flush=True)


def first_pass(folder: Path, count: int) -> None:
    """Requests with a picture of their own each, 512×512, as PNG of about 400 KB (noise does not shrink)."""
    (folder / "pictures").mkdir(parents=True)
    rng = np.random.default_rng(0)
    base = rng.integers(0, 256, (512, 512, 3), np.uint8)
    base[:, :, 1:] //= 16
    with (folder / "list.jsonl").open("w", encoding="utf-8") as file:
        for i in range(count):
            base[0, 0] = rng.integers(0, 256, 3)
            Image.fromarray(base).save(folder / "pictures" / f"{i}.png", compress_level=1)
            turn = {"id": "t", "instruction": f"make {{image}} as on day {i}", "images": [{"file": f"pictures/{i}.png"}]}
            file.write(json.dumps({"id": f"sku {i}", "record": {"version": 1, "at": "t", "turns": [turn]}}) + "\n")
    size = sum(path.stat().st_size for path in (folder / "pictures").iterdir()) / count
    began = time.perf_counter()
    prepare(folder / "list.jsonl", folder / "out", Job("", folders={"": str(folder), "input": "", "output": ""}))
    told("first pass, a request with a picture of its own", time.perf_counter() - began, count,
         f"; a picture has {size / 1e3:,.0f} KB")
    rows = sum(path.stat().st_size for path in (folder / "out" / "requests").iterdir())
    memory = pa.concat_tables([parquet.read_table(path) for path in (folder / "out" / "requests").iterdir()]).nbytes
    print(f"a request has {rows / count:,.0f} bytes in Parquet and {memory / count:,.0f} in memory", flush=True)


def keys_in_memory(count: int) -> None:
    """What Ray's filter does with the keys of what is done: a sorted array of NumPy's, once for all and once in each filter."""
    process = psutil.Process()
    for what, column in (("keys of 63 bits", pa.array(np.random.default_rng(0).integers(0, 2**63, count))),
                         ("ids of 32 letters", pa.array([f"{i:032x}" for i in range(count)]))):
        before, began = process.memory_info().rss, time.perf_counter()
        held = np.sort(column.to_numpy(zero_copy_only=False))
        print(f"{what}: {(process.memory_info().rss - before) / count:.0f} bytes each as Ray sorts them, "
              f"{1e6 * (time.perf_counter() - began) / count:.2f} µs", flush=True)
        del held, column


def checkpoint_files(folder: Path, count: int, rows: int) -> None:
    place = folder / "checkpoint"
    place.mkdir(parents=True)
    for i in range(count):
        parquet.write_table(pa.table({"key": np.arange(i * rows, (i + 1) * rows)}), place / f"x_{i:09}.parquet")
    size = sum(path.stat().st_size for path in place.iterdir()) / count
    began = time.perf_counter()
    sinks.keys(folder)
    told(f"a checkpoint's file of {rows} keys, {size:,.0f} bytes, opened", time.perf_counter() - began, count)


def through_ray(count: int) -> None:
    """Calls of the ledger."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    import ray

    from batch.ledger import Ledger
    ray.init("local", num_cpus=4, include_dashboard=False, object_store_memory=int(2e8), log_to_driver=False, logging_level=40)
    ledger = ray.remote(num_cpus=0)(Ledger).remote()
    ray.get(ledger.state.remote())
    began = time.perf_counter()
    for i in range(count):
        ray.get(ledger.begin.remote(f"{i:032x}"))
        ledger.end.remote(f"{i:032x}", "block", i, 0)
    told("a request in the ledger, begun and ended", time.perf_counter() - began, count)
    began = time.perf_counter()
    ray.get([ledger.begin.remote(f"{i:032x}") for i in range(4 * count)])
    told("a call that the ledger answers, many waiting", time.perf_counter() - began, 4 * count)
    ray.shutdown()


def pairing(folder: Path, count: int, width: int) -> None:
    """Features of random families, whose pictures are 0.9 alike; files of 512×512."""
    rng, settings = np.random.default_rng(0), Pairing(strict=0.85, loose=0.8)
    families = rng.standard_normal((count // 20, width), np.float32)
    rows = families[np.arange(count) % len(families)] + rng.standard_normal((count, width), np.float32) / 3
    rows = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float16)
    began = time.perf_counter()
    homes = clusters.clustered(rows, settings)
    told(f"K-means of {count:,} pictures with {width} numbers, and the nearest clusters of each", time.perf_counter() - began,
         count)
    began = time.perf_counter()
    near = clusters.links(rows, homes, settings.loose)
    compared = sum(len(each.rows) * (len(each.rows) - 1) / 2 for each in clusters.clusters_of(homes))
    told("comparison of two pictures", time.perf_counter() - began, compared)
    began = time.perf_counter()
    groups = clusters.joined(count, near.one, near.other)
    told(f"link in union-find, {groups.max() + 1:,} groups of {count // 20:,} families", time.perf_counter() - began, len(near))
    names = sorted(path.name for path in folder.iterdir())
    began = time.perf_counter()
    features.seen(folder, folder.parent, features.from_pixels, "pixels", names, lambda done: None)
    told("picture opened, and its features from pixels", time.perf_counter() - began, len(names))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.scale", description=__doc__.split("\n")[0])
    parser.add_argument("--rows", type=int, default=1000)
    parser.add_argument("--keys", type=int, default=10_000_000)
    parser.add_argument("--pictures", type=int, default=20_000, help="to pair (default %(default)s)")
    options = parser.parse_args()
    requests.look.cache_clear()
    with tempfile.TemporaryDirectory() as folder:
        first_pass(Path(folder, "first"), options.rows)
        checkpoint_files(Path(folder, "files"), options.rows, 64)
        pairing(Path(folder, "first", "pictures"), options.pictures, 768)
    keys_in_memory(options.keys)
    through_ray(options.rows)


if __name__ == "__main__":
    main()
