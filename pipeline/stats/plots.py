"""The plots of the statistics. Words themselves are in the tables: fonts that lack a script would draw boxes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

Rows = Sequence[Mapping[str, Any]]

BLUE, ORANGE, GREY = "#2f6db3", "#e07b39", "#8a8f98"
_PALETTE = (BLUE, ORANGE, "#4c9f70", "#a05195", GREY, "#c9a227")


def _save(figure: Figure, path: Path) -> None:
    FigureCanvasAgg(figure)
    figure.savefig(path, dpi=110, bbox_inches="tight", metadata={"Software": None})


def plot_zipf(words: Rows, path: Path) -> None:
    """Frequency over rank, both logarithmic; Zipf's law is the straight line of slope -1."""
    figure = Figure(figsize=(6, 4))
    axes = figure.add_subplot()
    ranks = [row["rank"] for row in words]
    axes.loglog(ranks, [row["count"] for row in words], color=BLUE, linewidth=2, label="this corpus")
    if words:
        axes.loglog(
            ranks, [words[0]["count"] / rank for rank in ranks], color=GREY, linestyle="--", label="Zipf, slope -1"
        )
    axes.set(xlabel="rank of the word", ylabel="occurrences", title="Word frequencies")
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    _save(figure, path)


def plot_lengths(lengths: Rows, path: Path) -> None:
    """Documents by length in characters, a step a quarter of a doubling, stacked by source."""
    figure = Figure(figsize=(6, 4))
    axes = figure.add_subplot()
    below: dict[int, int] = defaultdict(int)
    for number, source in enumerate(sorted({row["source"] for row in lengths})):
        rows = [row for row in lengths if row["source"] == source]
        starts = [2 ** (row["bin"] / 4) for row in rows]
        widths = [start * (2**0.25 - 1) for start in starts]
        counts = [row["documents"] for row in rows]
        bottoms = [below[row["bin"]] for row in rows]
        color = _PALETTE[number % len(_PALETTE)]
        axes.bar(starts, counts, widths, bottoms, align="edge", color=color, label=_plain(source))
        for row in rows:
            below[row["bin"]] += row["documents"]
    axes.set_xscale("log")
    axes.set(xlabel="characters", ylabel="documents", title="Document lengths")
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    _save(figure, path)


def plot_rejects(rejects: Rows, path: Path) -> None:
    """Rejected documents by stage and reason."""
    totals: dict[str, int] = defaultdict(int)
    for row in rejects:
        totals[f"{row['stage']}: {row['reason']}"] += row["documents"]
    shown = sorted(totals.items(), key=lambda entry: (entry[1], entry[0]))[-15:]
    figure = Figure(figsize=(6, 1.2 + 0.3 * len(shown)))
    axes = figure.add_subplot()
    axes.barh([_plain(name) for name, _ in shown], [count for _, count in shown], color=ORANGE)
    axes.set(xlabel="documents", title="Rejected, by stage and reason" if shown else "Nothing was rejected")
    axes.grid(alpha=0.3, axis="x")
    _save(figure, path)


def plot_languages(languages: Rows, path: Path) -> None:
    """Share of bytes by language."""
    totals: dict[str, float] = defaultdict(float)
    for row in languages:
        totals[row["language"]] += row["byte_fraction"]
    shown = sorted(totals.items(), key=lambda entry: (entry[1], entry[0]))[-12:]
    figure = Figure(figsize=(6, 1.2 + 0.3 * len(shown)))
    axes = figure.add_subplot()
    axes.barh([_plain(name) for name, _ in shown], [100 * share for _, share in shown], color=BLUE)
    axes.set(xlabel="% of bytes", title="Languages")
    axes.grid(alpha=0.3, axis="x")
    _save(figure, path)


def _plain(text: str) -> str:
    """Text that matplotlib draws as it is, without reading dollar signs as formulas."""
    return text.replace("$", r"\$")
