"""Statistics of pairs, over the view `documents`: lengths of both sides, their ratio, the languages of each, repeated targets.

Five tables (PAIR_TABLES), empty where the corpus holds no pair, and one plot: how many pairs have which ratio of lengths, and how
long the target is beside the text.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from pipeline.stats.figures import BLUE, ORANGE, Rows, save

NUM_TOP_TARGETS = 100

_QUANTILES = ", ".join(
    f"round(quantile_cont({column}, {share}), 4) AS {name}_{label}"
    for column, name in (
        ("num_characters", "text_characters"),
        ("target_characters", "target_characters"),
        ("length_ratio", "length_ratio"),
    )
    for share, label in ((0.05, "fifth_percentile"), (0.5, "median"), (0.95, "ninety_fifth_percentile"))
)

PAIR_TABLES: dict[str, str] = {
    "pairs": f"""
        SELECT source, split, count(*) AS pairs, sum(num_characters)::BIGINT AS text_characters,
               sum(target_characters)::BIGINT AS target_characters, {_QUANTILES}
        FROM documents WHERE target IS NOT NULL GROUP BY source, split ORDER BY source, split
    """,  # noqa: S608 - names of our own columns
    "pair_lengths": """
        SELECT floor(log2(num_characters) * 4)::INTEGER AS text_bin,
               round(2 ** (floor(log2(num_characters) * 4) / 4), 1) AS from_text_characters,
               floor(log2(target_characters) * 4)::INTEGER AS target_bin,
               round(2 ** (floor(log2(target_characters) * 4) / 4), 1) AS from_target_characters, count(*) AS pairs
        FROM documents WHERE target_characters > 0 AND num_characters > 0
        GROUP BY ALL ORDER BY text_bin, target_bin
    """,
    "pair_ratios": """
        SELECT source, floor(log2(length_ratio::DOUBLE) * 8)::INTEGER AS bin,
               round(2 ** (floor(log2(length_ratio::DOUBLE) * 8) / 8), 4) AS from_ratio, count(*) AS pairs
        FROM documents WHERE length_ratio > 0 GROUP BY source, bin, from_ratio ORDER BY source, bin
    """,
    "pair_languages": """
        SELECT language, target_language, source, count(*) AS pairs
        FROM documents WHERE target IS NOT NULL
        GROUP BY language, target_language, source ORDER BY pairs DESC, language, target_language, source
    """,
    "pair_targets": f"""
        SELECT min(target) AS target, count(*) AS pairs
        FROM documents WHERE target IS NOT NULL
        GROUP BY target_hash HAVING count(*) > 1 ORDER BY pairs DESC, target LIMIT {NUM_TOP_TARGETS}
    """,  # noqa: S608 - a number of our own
}
"""Name -> statement, each with a total order. Lengths are counted in steps of a quarter of a doubling, ratios of an eighth."""


def pair_figures(tables: dict[str, list[dict[str, Any]]]) -> dict[str, int | float]:
    """For the report: nothing where there is no pair."""
    num_pairs = sum(row["pairs"] for row in tables["pairs"])
    if not num_pairs:
        return {}
    return {
        "num_pairs": num_pairs,
        "target_characters_per_text_character": sum(row["target_characters"] for row in tables["pairs"])
        / sum(row["text_characters"] for row in tables["pairs"]),
        "num_language_pairs": len({(row["language"], row["target_language"]) for row in tables["pair_languages"]}),
    }


def plot_pairs(ratios: Rows, lengths: Rows, path: Path) -> None:
    """Left the ratios of lengths, right the target's length over the text's, both logarithmic."""
    figure = Figure(figsize=(10, 4), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    by_bin: dict[int, int] = {}
    for row in ratios:
        by_bin[row["bin"]] = by_bin.get(row["bin"], 0) + row["pairs"]
    starts = [2 ** (step / 8) for step in by_bin]
    left.bar(
        starts, list(by_bin.values()), width=[start * (2**0.125 - 1) for start in starts], align="edge", color=BLUE
    )
    left.axvline(1, color=ORANGE, linestyle="--", linewidth=1)
    left.set(
        xscale="log", xlabel="characters of the target per character of the text", ylabel="pairs", title="Length ratios"
    )
    sizes = np.array([row["pairs"] for row in lengths], dtype=float)
    right.scatter(
        [row["from_text_characters"] for row in lengths],
        [row["from_target_characters"] for row in lengths],
        s=4 + 120 * sizes / sizes.max(initial=1),
        color=BLUE,
        alpha=0.6,
        linewidths=0,
    )
    right.set(
        xscale="log",
        yscale="log",
        xlabel="characters of the text",
        ylabel="of the target",
        title="Lengths of both sides",
    )
    for axes in (left, right):
        axes.grid(alpha=0.3)
        if not ratios:
            axes.set_axis_off()
    save(figure, path)
