"""The axes that all plots share, and bars."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

Rows = Sequence[Mapping[str, Any]]

BLUE, ORANGE, GREY = "#2f6db3", "#e07b39", "#8a8f98"
PALETTE = (BLUE, ORANGE, "#4c9f70", "#a05195", "#c9a227", "#5bb5c9", "#b8545a")
NUM_BARS = 15


def make_axes(title: str, x: str, y: str = "", *, height: float = 4.0) -> tuple[Figure, Axes]:
    """One pair of axes; the height is in inches."""
    figure = Figure(figsize=(6.4, height))
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.set(title=title, xlabel=x, ylabel=y)
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_axisbelow(True)
    axes.grid(alpha=0.25)
    return figure, axes


def save(figure: Figure, path: Path, *, is_tight: bool = True) -> None:
    """Writes a PNG; equal figures give equal bytes."""
    figure.savefig(path, dpi=110, bbox_inches="tight" if is_tight else None, metadata={"Software": None})


def plot_bars(
    totals: Mapping[str, float], path: Path, *, title: str, unit: str, reads: str = "{:,.0f}", color: str = ORANGE
) -> None:
    """Horizontal bars, the largest on top, each with its value."""
    shown = sorted(totals.items(), key=lambda entry: (entry[1], entry[0]))[-NUM_BARS:]
    figure, axes = make_axes(title, unit, height=1.2 + 0.3 * len(shown))
    axes.grid(visible=False, axis="y")
    bars = axes.barh([plain(name) for name, _ in shown], [value for _, value in shown], color=color)
    axes.bar_label(bars, [reads.format(value) for _, value in shown], padding=3, fontsize="small")
    axes.margins(x=0.12)
    if not shown:
        axes.set_axis_off()
    save(figure, path)


def plain(text: str) -> str:
    """Text that matplotlib draws as it is, without reading dollar signs as formulas."""
    return text.replace("$", r"\$")
