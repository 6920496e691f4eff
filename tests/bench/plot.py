"""The figures as one picture. Matplotlib belongs to the benchmark's environment only.

Batches above 1 and guided steps are in the tables: they would fill the picture with lines of the same shape.
"""

from pathlib import Path

from tools.files import replace_file

from .report import growth, median, memory, ratio, remarks, share, weights_of
from .stages import STAGES

CONTENDERS = {"baseline": ("baseline", "x--"), "own": ("ACE Editor", "o-"), "products": ("bare products", ".:")}


def draw(results: dict, path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(2, 2, figsize=(13, 9), layout="constrained")
    groups = [(f"{settings['pixels']} px, {weights_of(rows[0])}", rows) for settings, rows in growth(results)
              if settings["batch"] == 1 and not settings["guided"]]
    seconds_by_context(axes[0][0], groups)
    ratios(axes[0][1], groups)
    memory_by_context(axes[1][0], groups)
    stages(axes[1][1], results["edits"])
    machine = results["machine"]
    title = [f"ACE-0.6B on {machine.get('card') or machine['processor']}, {machine['cores']} cores", *remarks(results)]
    figure.suptitle("\n".join(title), fontsize=9)

    def save(temporary: Path) -> None:
        figure.savefig(temporary, dpi=110, format="png")
    replace_file(path, save)
    pyplot.close(figure)


def contexts(rows: list[dict]) -> list[int]:
    return [row["case"]["context"] for row in rows]


def seconds_by_context(axis, groups) -> None:
    axis.set(title="Seconds per pass, by context images", xlabel="context images", ylabel="s", yscale="log")
    for color, (label, rows) in enumerate(groups):
        for contender, (words, style) in CONTENDERS.items():
            found = [(row["case"]["context"], median(row, contender)) for row in rows if contender in row["seconds"]]
            if found:
                axis.plot(*zip(*found, strict=True), style, color=f"C{color % 10}", label=f"{label}: {words}")
    legend(axis)


def ratios(axis, groups) -> None:
    axis.set(title="Time / bare products; share of a large product's speed", xlabel="context images")
    axis.axhline(1, color="gray", linewidth=0.8)
    for color, (label, rows) in enumerate(groups):
        axis.plot(contexts(rows), [ratio(row, "own", "products") for row in rows], "o-", color=f"C{color % 10}",
                  label=f"{label}: time / products")
        axis.plot(contexts(rows), [share(row) for row in rows], ".:", color=f"C{color % 10}", label=f"{label}: share")
    axis.set_ylim(bottom=0)
    legend(axis)


def memory_by_context(axis, groups) -> None:
    axis.set(title="Memory of a pass, weights included", xlabel="context images", ylabel="GiB")
    for color, (label, rows) in enumerate(groups):
        for contender in ("baseline", "own"):
            words, style = CONTENDERS[contender]
            found = [memory(row, contender) / 1024 for row in rows]
            axis.plot(contexts(rows), found, style, color=f"C{color % 10}", label=f"{label}: {words}")
    axis.set_ylim(bottom=0)
    legend(axis)


def stages(axis, edits: dict) -> None:
    axis.set(title="A whole guided edit, by stage", xlabel="s")
    bars = [(f"{row['case']['pixels']} px, {row['case']['context']} context,\n{row['case']['steps']} steps, "
             f"{weights_of(row)}: {which}", row[which])
            for row in edits.values() if "first" in row for which in ("second", "first")]
    left = [0.0] * len(bars)
    for stage in STAGES:
        widths = [found[stage] for _, found in bars]
        axis.barh([label for label, _ in bars], widths, left=left, label=stage)
        left = [a + b for a, b in zip(left, widths, strict=True)]
    legend(axis)


def legend(axis) -> None:
    """None where nothing was drawn."""
    if axis.get_legend_handles_labels()[0]:
        axis.legend(fontsize=7, handlelength=4)
