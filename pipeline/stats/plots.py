"""The plots of the statistics. Words themselves are in the tables: fonts that lack a script would draw boxes."""

from __future__ import annotations

import math
from collections import defaultdict
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullFormatter

from pipeline.stats.figures import BLUE, GREY, ORANGE, PALETTE, Rows, make_axes, plain, plot_bars, save
from pipeline.stats.heaps import fit_heaps

_SIGNAL_COLUMNS = 4
_ONE_VALUE = 0.03
"""The bar of a signal that all documents have alike, in an axis of 1."""
_MAX_SOURCES = 20


def plot_zipf(words: Rows, path: Path) -> None:
    """Frequency over rank, both logarithmic; Zipf's law is the straight line of slope -1."""
    figure, axes = make_axes("Word frequencies", "rank of the word", "occurrences")
    ranks = [row["rank"] for row in words]
    axes.set_xscale("log")
    axes.set_yscale("log")
    if words:
        axes.plot(ranks, [row["count"] for row in words], color=BLUE, linewidth=2, label="this corpus")
        ends = [ranks[0], ranks[-1]]
        axes.plot(ends, [words[0]["count"] / rank for rank in ends], color=GREY, ls="--", label="Zipf, slope −1")
        axes.legend(frameon=False)
    save(figure, path)


def plot_lengths(lengths: Rows, path: Path) -> None:
    """Documents by length in characters, a step a quarter of a doubling, stacked by source."""
    figure, axes = make_axes("Document lengths", "characters", "documents")
    by_source: dict[str, dict[int, int]] = defaultdict(lambda: defaultdict(int))
    for row in lengths:
        by_source[row["source"]][row["bin"]] += row["documents"]
    largest = sorted(by_source, key=lambda source: (-sum(by_source[source].values()), source))
    shown = [(source, by_source[source]) for source in largest[: len(PALETTE)]]
    if others := largest[len(PALETTE) :]:
        rest: dict[int, int] = defaultdict(int)
        for source in others:
            for step, count in by_source[source].items():
                rest[step] += count
        shown.append((f"{len(others)} other sources", rest))
    below: dict[int, int] = defaultdict(int)
    for (source, counts), color in zip(shown, (*PALETTE, GREY), strict=False):
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
    save(figure, path)


def plot_rejects(rejects: Rows, path: Path) -> None:
    """Rejected documents by stage and reason."""
    totals: dict[str, float] = defaultdict(float)
    for row in rejects:
        totals[f"{row['stage']}: {row['reason']}"] += row["documents"]
    plot_bars(totals, path, title="Rejected documents" if totals else "No document was rejected", unit="documents")


def plot_languages(languages: Rows, path: Path) -> None:
    """Share of bytes by language."""
    totals: dict[str, float] = defaultdict(float)
    for row in languages:
        totals[row["language"]] += 100 * row["byte_fraction"]
    plot_bars(totals, path, title="Languages", unit="% of bytes", reads="{:.3g} %", color=BLUE)


def plot_vocabulary_growth(growth: Rows, path: Path) -> None:
    """Distinct words over words, both logarithmic; Heaps' law is the straight line."""
    figure, axes = make_axes("Vocabulary growth", "words", "distinct words")
    words, distinct = [row["words"] for row in growth], [row["distinct_words"] for row in growth]
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.plot(words, distinct, color=BLUE, linewidth=2, label="this corpus")
    if (heaps := fit_heaps(words, distinct)) is not None:
        fitted = [heaps.k * count**heaps.beta for count in words]
        law = f"Heaps: {heaps.k:.3g} n$^{{{heaps.beta:.3f}}}$"
        axes.plot(words, fitted, color=GREY, linestyle="--", label=law)
        axes.legend(frameon=False)
    save(figure, path)


def plot_signals(bins: Rows, path: Path) -> None:
    """A histogram for each signal, all sources together; documents on a logarithmic scale."""
    by_signal: dict[str, list[tuple[float, float, int]]] = defaultdict(list)
    for row in bins:
        by_signal[row["signal"]].append((row["from_value"], row["to_value"], row["documents"]))
    num_rows = max(1, math.ceil(len(by_signal) / _SIGNAL_COLUMNS))
    height = 1.8 * num_rows
    figure = Figure(figsize=(11, height))
    FigureCanvasAgg(figure)
    # margins in inches, set by hand: laying out three dozen axes takes longer than drawing them
    figure.subplots_adjust(0.05, 0.3 / height, 0.98, 1 - 0.3 / height, wspace=0.3, hspace=0.65)
    for number, (signal, counts) in enumerate(sorted(by_signal.items())):
        axes = figure.add_subplot(num_rows, _SIGNAL_COLUMNS, number + 1)
        starts, ends, heights = zip(*counts, strict=True)
        if starts[-1] == ends[-1]:  # one value alone has no width, and a wide bar would say that there are others
            axes.bar(starts, heights, _ONE_VALUE, color=BLUE)
            axes.set_xlim(starts[0] - 0.5, starts[0] + 0.5)
        else:
            axes.bar(
                starts,
                heights,
                [end - start for start, end in zip(starts, ends, strict=True)],
                align="edge",
                color=BLUE,
            )
        axes.set_title(signal, fontsize="x-small")
        axes.tick_params(labelsize="xx-small")
        axes.spines[["top", "right"]].set_visible(False)
        axes.set_yscale("log")  # nearly all documents share one bin of most signals, and filters look at the others
        axes.yaxis.set_minor_formatter(NullFormatter())  # within one decade they would reach into the next picture
        axes.xaxis.set_major_locator(MaxNLocator(4))
    save(figure, path, is_tight=False)


def plot_duplicates(duplicates: Rows, path: Path) -> None:
    """Clusters by the number of documents that one of them stands for; sizes from 4 on in classes that double."""
    classes: dict[int, int] = defaultdict(int)
    for row in duplicates:
        if row["cluster_size"] > 1:
            size = row["cluster_size"]
            classes[size if size < 4 else 1 << (size.bit_length() - 1)] += row["clusters"]
    figure, axes = make_axes(
        "Duplicate clusters" if classes else "No document has a duplicate", "documents", "clusters"
    )
    starts = sorted(classes)
    names = [f"{start}" if start < 4 else f"{start}–{2 * start - 1}" for start in starts]
    axes.bar_label(axes.bar(names, [classes[start] for start in starts], color=ORANGE), fontsize="small")
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    if not classes:
        axes.set_axis_off()
    save(figure, path)


def plot_overlap(overlap: Rows, path: Path) -> None:
    """The matrix of shares, in per cent: of the row's 13-grams, how many the column has."""
    sources = sorted({row["source"] for row in overlap} | {row["other"] for row in overlap})[:_MAX_SOURCES]
    title = "13-grams of the row that are in the column, %" if sources else "One source: no overlap to show"
    figure, axes = make_axes(title, "", height=1.6 + 0.4 * max(len(sources), 1))
    axes.grid(visible=False)
    if not sources:
        axes.set_axis_off()
        save(figure, path)
        return
    place = {source: number for number, source in enumerate(sources)}
    matrix = np.full((len(sources), len(sources)), np.nan)
    for row in overlap:
        if row["source"] in place and row["other"] in place:
            matrix[place[row["source"]], place[row["other"]]] = 100 * row["shared_fraction"]
    axes.imshow(matrix, cmap="Blues", vmin=0, vmax=max(1.0, float(np.nanmax(matrix))), aspect="auto")
    for (y, x), value in np.ndenumerate(matrix):
        if not np.isnan(value):
            axes.text(x, y, f"{value:.3g}", ha="center", va="center", fontsize="small")
    names = [plain(source) for source in sources]
    axes.set_xticks(range(len(names)), names, rotation=30, ha="right")
    axes.set_yticks(range(len(names)), names)
    save(figure, path)


def plot_mixture(mixture: Rows, path: Path) -> None:
    """Shares of the bytes that training reads, asked for and obtained."""
    shown = mixture[:_MAX_SOURCES]
    figure, axes = make_axes("Mixture", "% of the bytes read in training", height=1.4 + 0.5 * max(len(shown), 1))
    axes.grid(visible=False, axis="y")
    places = np.arange(len(shown))
    for offset, key, color in ((-0.2, "fraction_asked", GREY), (0.2, "fraction_obtained", BLUE)):
        shares = [100 * row[key] for row in shown]
        bars = axes.barh(places + offset, shares, 0.36, color=color, label=key.removeprefix("fraction_"))
        axes.bar_label(bars, [f"{share:.3g} %" for share in shares], padding=3, fontsize="small")
    axes.set_yticks(places, [plain(row["source"]) for row in shown])
    axes.invert_yaxis()
    axes.margins(x=0.12)
    if shown:  # above the bars, which are as long as the axes where there is one source
        axes.legend(frameon=False, fontsize="small", loc="lower right", bbox_to_anchor=(1, 1), ncols=2)
    else:
        axes.set_axis_off()
    save(figure, path)
