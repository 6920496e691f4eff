"""Figures → tables in Markdown, verdicts, and the remarks that belong to them.

A row's figures are medians over its rounds. Ratios are medians of the ratios within a round, whose parts met the same machine.
"""

import statistics
from collections import defaultdict

from .clock import spread
from .stages import STAGES
from .steps import Case

NOISY = 0.10  # a range of repeats above this share of their median
BUSY = 0.15  # cores that other programs keep busy
TARGETS = ((256, 1), (256, 3))  # (pixels, context images) in float32, unguided, batch 1
MOST_OF_PRODUCTS, LEAST_OF_BASELINE = 1.10, 1.15


def ratio(row: dict, above: str, below: str, kind: str = "seconds") -> float | None:
    """The median ratio of two contenders within a round; None where one was not measured. kind: or "processor_seconds"."""
    times = row[kind]
    if above not in times or below not in times:
        return None
    return statistics.median(a / b for a, b in zip(times[above], times[below], strict=True))


def median(row: dict, name: str) -> float | None:
    return statistics.median(row["seconds"][name]) if name in row["seconds"] else None


def share(row: dict) -> float:
    """Floating-point operations per second as a share of the large product's."""
    return ratio(row, "large", "own") * row["gflop"] / row["large_gflop"]


def memory(row: dict, name: str) -> int | None:
    """MiB of the weights and of what a step takes on top."""
    return row["weights_mib"] + row["grown_mib"][name] if name in row["grown_mib"] else None


def measured(results: dict) -> list[dict]:
    return [row for row in results["steps"].values() if "seconds" in row]


def case_of(row: dict) -> Case:
    return Case(**row["case"])


def table(heads: list[str], rows: list[list], words: int = 0) -> str:
    """A Markdown table whose first `words` columns are words and whose others are numbers; None is a dash."""
    lines = [heads, ["---"] * words + ["---:"] * (len(heads) - words)]
    lines += [["–" if cell is None else str(cell) for cell in row] for row in rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def number(value: float | None, digits: int = 2) -> str | None:
    """Three digits are enough for seconds."""
    if value is None:
        return None
    return f"{value:.{digits}f}" if value < 100 else f"{value:.0f}"


def percent(value: float | None) -> str | None:
    return None if value is None else f"{100 * value:.0f} %"


def weights_of(row: dict) -> str:
    stored, compute = row["case"]["weights"], row["compute"].replace("bfloat16", "bf16")
    return stored if stored == compute else f"{stored} in {compute}"


def steps_table(results: dict) -> str:
    heads = ["weights", "pixels", "context images", "batch", "guided", "GFLOP", "s per step", "range", "baseline s",
             "products s", "step / products", "baseline / step", "of large product", "memory MiB", "baseline MiB"]
    rows = []
    for row in measured(results):
        case, digits = case_of(row), 2 if median(row, "own") > 1 else 4
        rows.append([weights_of(row), case.pixels, case.context, case.batch, "yes" if case.guided else "no",
                     f"{row['gflop']:.0f}", number(median(row, "own"), digits), percent(spread(row["seconds"]["own"])),
                     *(number(median(row, name), digits) for name in ("baseline", "products")),
                     number(ratio(row, "own", "products")), number(ratio(row, "baseline", "own")), percent(share(row)),
                     memory(row, "own"), memory(row, "baseline")])
    return table(heads, rows, words=1)


def growth(results: dict) -> list[tuple[dict, list[dict]]]:
    """[(settings without context, rows from fewest to most context images)], where there are two or more."""
    groups = defaultdict(list)
    for row in measured(results):
        rest = {key: value for key, value in row["case"].items() if key != "context"}
        groups[tuple(rest.items())].append(row)
    return [(dict(key), sorted(rows, key=lambda row: row["case"]["context"])) for key, rows in groups.items() if len(rows) > 1]


def growth_table(results: dict) -> str:
    """Each row against that of the fewest context images."""
    heads = ["weights", "pixels", "batch", "guided", "context images", "tokens", "operations ×", "time ×", "baseline's time ×"]
    rows = []
    for settings, found in growth(results):
        first = found[0]
        for row in found:
            case = case_of(row)
            baseline = median(row, "baseline") and median(first, "baseline") and median(row, "baseline") / median(
                first, "baseline")
            rows.append([weights_of(row), settings["pixels"], settings["batch"], "yes" if settings["guided"] else "no",
                         case.context, row["tokens"], number(row["gflop"] / first["gflop"]),
                         number(median(row, "own") / median(first, "own")), number(baseline)])
    return table(heads, rows, words=1)


def stages_table(results: dict) -> str:
    heads = ["weights", "pixels", "context images", "steps", "edit", *STAGES, "whole", "s per guided step", "memory MiB",
             "text encoder"]
    rows = []
    for row in results["edits"].values():
        for which in ("first", "second") if "first" in row else ():
            case, found = row["case"], row[which]
            rows.append([weights_of(row), case["pixels"], case["context"], case["steps"], which,
                         *(number(found[stage]) for stage in STAGES), number(sum(found.values())),
                         number(found["sample"] / case["steps"]), row["peak_mib"], row["text_encoder"]])
    return table(heads, rows, words=1)


def left_out(results: dict) -> list[str]:
    rows = {**results["steps"], **results["edits"]}
    return [f"Left out: {key}: {row['left_out']}." for key, row in rows.items() if "left_out" in row]


def verdicts(results: dict) -> list[str]:
    """The two ratios that are held to targets, where they were measured."""
    lines = []
    for pixels, context in TARGETS:
        row = results["steps"].get(Case(pixels, context).key, {})
        if "seconds" not in row:
            continue
        products, baseline = against(row, "own")
        met = [{True: "met", False: "missed"}[yes] for yes in (products <= MOST_OF_PRODUCTS, baseline >= LEAST_OF_BASELINE)]
        images = "1 context image" if context == 1 else f"{context} context images"
        lines.append(f"{pixels} px, {images}: {products:.2f} × its bare products (target at most {MOST_OF_PRODUCTS:.2f}: "
                     f"{met[0]}), {baseline:.2f} × the baseline's speed (target at least {LEAST_OF_BASELINE:.2f}: {met[1]}).")
        if row["case"]["weights"] == "float32" and "card" not in results["machine"] and is_noisy(row):
            lines[-1] += " By the processors' time, which suffers less from other programs: {:.2f} × and {:.2f} ×.".format(
                *against(row, "own", "processor_seconds"))
    return lines


def against(row: dict, name: str, kind: str = "seconds") -> tuple[float, float]:
    """(time / bare products, baseline / time) of the network."""
    return ratio(row, name, "products", kind), ratio(row, "baseline", name, kind)


def is_noisy(row: dict) -> bool:
    return spread(row["seconds"]["own"]) > NOISY or row["other_cores"] > BUSY


def remarks(results: dict) -> list[str]:
    """What a reader must know to trust the figures or not."""
    rows, lines = measured(results), []
    noisy = [row for row in rows if spread(row["seconds"]["own"]) > NOISY]
    if noisy:
        worst = max(spread(row["seconds"]["own"]) for row in noisy)
        lines.append(f"These figures are noisy: in {len(noisy)} of {len(rows)} rows the repeats of a step lie more than "
                     f"{100 * NOISY:.0f} % apart, at worst {100 * worst:.0f} %.")
    others = [row["other_cores"] for row in [*rows, *results["edits"].values()] if "other_cores" in row]
    if others and statistics.mean(others) > BUSY:
        lines.append(f"Other programs kept {statistics.mean(others):.1f} of {results['machine']['cores']} cores busy on "
                     "average. Seconds come out too long; ratios suffer less, because their parts were measured in turn.")
    return lines


def heading(results: dict) -> str:
    machine, versions = results["machine"], results["versions"]
    card = f"{machine['card']} with {machine['card_gib']} GiB (CUDA {machine['cuda']}), " if "card" in machine else ""
    return (f"{card}{machine['processor']}, {machine['cores']} cores, {machine['memory_gib']} GiB, {machine['system']}. "
            f"Python {versions['python']}, PyTorch {versions['torch']}, ComfyUI {versions['comfyui']}, {versions['threads']} "
            f"threads, {versions['attention']}, code {versions['code']}. {results['started']}.")


EXPLAINED = ("A step with guidance is two passes. range: of the repeats, as a share of their median. baseline: the equations "
             "written down plainly, everything anew at every step, rotation in complex128. products: the matrix products of a "
             "pass alone. of large product: floating-point operations per second, as a share of those of one large matrix "
             "product. memory: weights, and the most that a step takes on top.")


def text(results: dict) -> str:
    """The whole report."""
    blocks = [f"# Speed of ACE-0.6B, random weights\n\n{heading(results)}"]
    if measured(results):
        blocks.append(f"## One step\n\n{steps_table(results)}\n\n{EXPLAINED}")
    if growth(results):
        blocks.append(f"## Growth with context\n\n{growth_table(results)}")
    if any("first" in row for row in results["edits"].values()):
        blocks.append("## A whole guided edit, seconds by stage\n\n" + stages_table(results) + "\n\nNetwork and VAE at full "
                      "size with random weights, through the pack's nodes. The first edit loads the models, from files that "
                      "the system has in its memory. memory: the most that the process held.")
    said = [*verdicts(results), *left_out(results), *results.get("notes", []), *remarks(results)]
    blocks += ["\n".join(f"- {line}" for line in said)] if said else []
    return "\n\n".join(blocks) + "\n"
