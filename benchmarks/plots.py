"""Pictures of results, as SVG and PNG: the roofline, and bars of ratios for each group.

Needs matplotlib (`pip install 'te-lang[plots]'`). The colours are Okabe and Ito's, which people with
any common colour blindness tell apart; each peer and each group has a shape of its own besides.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from report import grouped
from results import Json, Row
from verdict import TITLES, geometric_mean

COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#B8A800", "#555555")
MARKERS = "osD^vP*Xhpd"
# What the roofline's points are: groups that belong together share a colour and a shape.
FAMILIES = {
    "products": ("gemm", "gemm-odd", "gemm-forms", "skinny", "gelu"),
    "convolutions": ("conv", "conv-batch", "conv-fast", "depthwise"),
    "attention": ("attention",),
    "softmax, norms": ("softmax", "norms"),
    "elementwise": ("elementwise", "strided"),
    "transposes, sums": ("transpose", "sums"),
    "drawn by a seed": ("drawn",),
}


def draw(results: Json, folder: Path) -> list[Path]:
    """Write all pictures, and give their paths."""
    import matplotlib

    matplotlib.use("Agg")
    matplotlib.rcParams.update(
        {"font.size": 10, "svg.fonttype": "path", "axes.axisbelow": True, "svg.hashsalt": "te"}
    )
    folder.mkdir(parents=True, exist_ok=True)
    return [path for name, figure in figures(results) for path in _save(figure, folder / name)]


def figures(results: Json) -> Iterator[tuple[str, Any]]:
    for threads in sorted({row["threads"] for row in results["rows"]}):
        groups = [some for (_, count), some in grouped(results) if count == threads]
        rows = [row for some in groups for row in some if not row.error and not row.is_cost]
        compared = [row for row in rows if row.peers]
        if not compared:
            continue
        yield f"ratios-{threads}", ratios(compared, threads)
        yield f"summary-{threads}", summary(results, threads)
        if str(threads) in results["limits"]:
            yield f"roofline-{threads}", roofline(rows, results["limits"][str(threads)], threads)


def _save(figure: Any, path: Path) -> list[Path]:
    from matplotlib import pyplot

    paths = [path.with_suffix(".svg"), path.with_suffix(".png")]
    figure.savefig(paths[0], bbox_inches="tight", metadata={"Date": None})
    figure.savefig(paths[1], bbox_inches="tight", dpi=150)
    pyplot.close(figure)
    return paths


# ---------------------------------------------------------------- ratios


def ratios(rows: Sequence[Row], threads: int) -> Any:
    """One line a workload: where each peer stands, its time over te's; te is the line at 1."""
    from matplotlib import pyplot

    rows = list(rows)
    figure, axes = pyplot.subplots(figsize=(9, 1.2 + 0.27 * (len(rows) + len({r.group for r in rows}))))
    places, labels, at = [], [], 0.0
    for n, row in enumerate(rows):
        if n == 0 or row.group != rows[n - 1].group:
            at += 0.9
            axes.text(
                -0.005,
                at,
                row.group,
                fontweight="bold",
                ha="right",
                va="center",
                transform=axes.get_yaxis_transform(),
            )
            at += 1
        places.append(at)
        labels.append(row.name)
        _ratio_line(axes, row, at)
        at += 1
    axes.axvline(1, color="black", linewidth=1.2, zorder=2)
    axes.set_yticks(places, labels)
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(at, 0)
    _ratio_axis(axes)
    used = [name for name in _all_names(rows) if any(name in row.peers for row in rows)]
    handles = [_handle(name) for name in used]
    axes.legend(
        handles=handles,
        columnspacing=1.2,
        loc="lower center",
        bbox_to_anchor=(0.4, 1.0),
        ncols=4,
        frameon=False,
    )
    axes.set_xlabel(
        f"peer's time / te's time, {threads} thread{'s' * (threads > 1)} (right of the line: te is faster)"
    )
    return figure


def _ratio_line(axes: Any, row: Row, at: float) -> None:
    found = {name: times.median / row.times.median for name, times in row.peers.items()}
    fastest = min(found.values())
    axes.plot(
        [1, fastest],
        [at, at],
        color="#0072B2" if fastest >= 1 else "#D55E00",
        linewidth=5,
        alpha=0.35,
        solid_capstyle="butt",
        zorder=1,
    )
    for name, ratio in found.items():
        shown = min(max(ratio, 0.101), 9.9)
        axes.plot(shown, at, linestyle="none", zorder=3, markeredgewidth=0.5, markersize=6, **_look(name))
    floor = row.data["floor"]
    axes.plot(
        [floor, floor], [at - 0.4, at + 0.4], color="black", linewidth=1.2, linestyle=(0, (2, 1)), zorder=2
    )


def _ratio_axis(axes: Any) -> None:
    from matplotlib.ticker import FuncFormatter, NullFormatter

    axes.set_xscale("log")
    axes.set_xlim(0.1, 10)
    axes.set_xticks([0.1, 0.2, 0.5, 1, 2, 5, 10])
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.grid(axis="x", color="#dddddd", linewidth=0.8)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)


def _all_names(rows: Sequence[Row]) -> list[str]:
    others = {name for row in rows for name in row.peers} - set(TITLES)
    return [*TITLES, *sorted(others)]


def _look(name: str) -> dict[str, Any]:
    names = list(TITLES)
    n = names.index(name) if name in names else len(names) + (name == "written")
    return {
        "color": COLOURS[n % len(COLOURS)] if name in names else "#222222",
        "marker": MARKERS[n],
        "markeredgecolor": "white",
    }


def _handle(name: str) -> Any:
    from matplotlib.lines import Line2D

    return Line2D(
        [], [], linestyle="none", markersize=7, label=TITLES.get(name, f"te, {name}"), **_look(name)
    )


# ---------------------------------------------------------------- summary


def summary(results: Json, threads: int) -> Any:
    """Bars: the geometric mean of each group's ratios to the fastest peer."""
    from matplotlib import pyplot

    groups = {
        group: [row.ratio for row in rows if row.ratio is not None and not row.is_cost]
        for (group, count), rows in grouped(results)
        if count == threads
    }
    means = {group: geometric_mean(values) for group, values in groups.items() if values}
    figure, axes = pyplot.subplots(figsize=(8, 0.9 + 0.34 * len(means)))
    for at, (group, mean) in enumerate(means.items()):
        axes.barh(at, mean - 1, left=1, height=0.62, color="#0072B2" if mean >= 1 else "#D55E00")
        low, high = min(groups[group]), max(groups[group])
        spot, side = (min(high, 9) * 1.05, "left") if mean >= 1 else (max(low, 0.14) / 1.05, "right")
        axes.text(spot, at, f"{mean:.2f}", va="center", ha=side, fontsize=9)
        axes.plot([low, high], [at, at], color="black", linewidth=1)
        axes.plot([low, high], [at, at], "|", color="black", markersize=7)
    axes.axvline(1, color="black", linewidth=1.2)
    axes.set_yticks(range(len(means)), list(means))
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(len(means) - 0.4, -0.6)
    _ratio_axis(axes)
    axes.set_xlabel(
        f"fastest peer's time / te's, {threads} thread{'s' * (threads > 1)}: geometric mean; line: from least to most"
    )
    return figure


# ---------------------------------------------------------------- roofline


def roofline(rows: Sequence[Row], limits: dict[str, float], threads: int) -> Any:
    """Operations a second over operations a byte, under the machine's limits."""
    import numpy as np
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(9, 5.5))
    intensities = np.logspace(-1.3, 3.3, 200)
    peak = limits["f32 arithmetic"]
    for level, style in (("memory", "-"), ("L3", "--"), ("L2", ":")):
        axes.plot(
            intensities,
            np.minimum(peak, limits[f"{level} read"] * intensities) / 1e9,
            style,
            color="#555555",
            linewidth=1.2,
        )
        at, height = (0.3, 0.72) if level == "L3" else (0.07, 1.12)  # below its line, where L2's is above
        axes.text(
            at,
            limits[f"{level} read"] * at / 1e9 * height,
            f"{level}, {limits[f'{level} read'] / 1e9:.0f} GB/s",
            rotation=_slope(axes, figure),
            rotation_mode="anchor",
            fontsize=8,
            color="#555555",
        )
    axes.text(
        1900, peak / 1e9 * 1.08, f"f32, {peak / 1e9:.0f} GFLOP/s", ha="right", fontsize=8, color="#555555"
    )
    for n, (family, groups) in enumerate(FAMILIES.items()):
        points = [r for r in rows if r.group in groups and r.data["kind"] == "f32"]
        x = [_operations(r) / r.data["bytes"] for r in points]
        y = [_operations(r) / r.times.median / 1e9 for r in points]
        if points:
            axes.plot(x, y, MARKERS[n], color=COLOURS[n], markeredgecolor="white", markersize=8, label=family)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlim(0.05, 2000)
    axes.set_ylim(limits["memory read"] * 0.05 / 1e9, peak / 1e9 * 2)
    axes.set_xlabel(
        "operations a byte that must be moved (work without products: one an element of the result)"
    )
    axes.set_ylabel("G operations / s")
    axes.grid(color="#eeeeee")
    axes.legend(loc="lower right", frameon=False)
    axes.set_title(f"te under the machine's limits, {threads} thread{'s' * (threads > 1)}", fontsize=11)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    return figure


def _operations(row: Row) -> float:
    return row.data["flops"] or row.data["bytes"] / 8


def _slope(axes: Any, figure: Any) -> float:
    """The angle at which a line of slope one stands in this picture of two logarithmic axes."""
    import math

    width, height = figure.get_size_inches()
    decades_x, decades_y = math.log10(2000 / 0.05), 2.5
    return math.degrees(math.atan((height * 0.77 / decades_y) / (width * 0.775 / decades_x)))
