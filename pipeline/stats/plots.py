"""The plots of the statistics. Words themselves are in the tables: fonts that lack a script would draw boxes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

Rows = Sequence[Mapping[str, Any]]

BLUE, ORANGE, GREY = "#2f6db3", "#e07b39", "#8a8f98"
_PALETTE = (BLUE, ORANGE, "#4c9f70", "#a05195", "#c9a227", "#5bb5c9", "#b8545a")
NUM_BARS = 15


def _axes(title: str, x: str, y: str = "", *, height: float = 4.0) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(6.4, height))
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.set(title=title, xlabel=x, ylabel=y)
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_axisbelow(True)
    axes.grid(alpha=0.25)
    return figure, axes


def _save(figure: Figure, path: Path) -> None:
    figure.savefig(path, dpi=110, bbox_inches="tight", metadata={"Software": None})


def plot_zipf(words: Rows, path: Path) -> None:
    """Frequency over rank, both logarithmic; Zipf's law is the straight line of slope -1."""
    figure, axes = _axes("Word frequencies", "rank of the word", "occurrences")
    ranks = [row["rank"] for row in words]
    axes.set_xscale("log")
    axes.set_yscale("log")
    if words:
        axes.plot(ranks, [row["count"] for row in words], color=BLUE, linewidth=2, label="this corpus")
        ends = [ranks[0], ranks[-1]]
        axes.plot(ends, [words[0]["count"] / rank for rank in ends], color=GREY, ls="--", label="Zipf, slope −1")
        axes.legend(frameon=False)
    _save(figure, path)


def plot_lengths(lengths: Rows, path: Path) -> None:
    """Documents by length in characters, a step a quarter of a doubling, stacked by source."""
    figure, axes = _axes("Document lengths", "characters", "documents")
    by_source: dict[str, dict[int, int]] = defaultdict(lambda: defaultdict(int))
    for row in lengths:
        by_source[row["source"]][row["bin"]] += row["documents"]
    largest = sorted(by_source, key=lambda source: (-sum(by_source[source].values()), source))
    shown = [(source, by_source[source]) for source in largest[: len(_PALETTE)]]
    if others := largest[len(_PALETTE) :]:
        rest: dict[int, int] = defaultdict(int)
        for source in others:
            for step, count in by_source[source].items():
                rest[step] += count
        shown.append((f"{len(others)} other sources", rest))
    below: dict[int, int] = defaultdict(int)
    for (source, counts), color in zip(shown, (*_PALETTE, GREY), strict=False):
        steps = sorted(counts)
        starts = [2 ** (step / 4) for step in steps]
        widths = [start * (2**0.25 - 1) for start in starts]
        heights, bottoms = [counts[step] for step in steps], [below[step] for step in steps]
        axes.bar(
            starts, heights, widths, bottoms, align="edge", color=color, edgecolor="white", linewidth=0.4, label=source
        )
        for step in steps:
            below[step] += counts[step]
    axes.set_xscale("log")
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(frameon=False, fontsize="small")
    _save(figure, path)


def plot_rejects(rejects: Rows, path: Path) -> None:
    """Rejected documents by stage and reason."""
    totals: dict[str, float] = defaultdict(float)
    for row in rejects:
        totals[f"{row['stage']}: {row['reason']}"] += row["documents"]
    _bars(totals, path, title="Rejected documents" if totals else "No document was rejected", unit="documents")


def plot_languages(languages: Rows, path: Path) -> None:
    """Share of bytes by language."""
    totals: dict[str, float] = defaultdict(float)
    for row in languages:
        totals[row["language"]] += 100 * row["byte_fraction"]
    _bars(totals, path, title="Languages", unit="% of bytes", reads="{:.3g} %", color=BLUE)


def _bars(
    totals: Mapping[str, float], path: Path, *, title: str, unit: str, reads: str = "{:,.0f}", color: str = ORANGE
) -> None:
    """Horizontal bars, the largest on top, each with its value."""
    shown = sorted(totals.items(), key=lambda entry: (entry[1], entry[0]))[-NUM_BARS:]
    figure, axes = _axes(title, unit, height=1.2 + 0.3 * len(shown))
    axes.grid(visible=False, axis="y")
    bars = axes.barh([_plain(name) for name, _ in shown], [value for _, value in shown], color=color)
    axes.bar_label(bars, [reads.format(value) for _, value in shown], padding=3, fontsize="small")
    axes.margins(x=0.12)
    if not shown:
        axes.set_axis_off()
    _save(figure, path)


def _plain(text: str) -> str:
    """Text that matplotlib draws as it is, without reading dollar signs as formulas."""
    return text.replace("$", r"\$")
