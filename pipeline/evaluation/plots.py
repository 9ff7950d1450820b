"""The report's plots, as PNG bytes that are equal for equal data.

In: the training history and the scores. Out: PNG bytes. Drawn on a Figure of its own, so nothing is global.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

MODEL_COLOUR, OTHER_COLOUR, QUIET = "#1f5fa8", "#d9822b", "#8a8f98"


def learning_curve(history: pa.Table) -> bytes:
    """Training and validation loss over tokens."""
    figure, axes = _figure()
    tokens = history["tokens"].to_numpy() / 1e6
    losses = history["train_loss"].to_numpy()
    axes.plot(tokens, losses, color=MODEL_COLOUR, alpha=0.25, linewidth=0.8)
    axes.plot(tokens, _smoothed(losses), color=MODEL_COLOUR, linewidth=1.6, label="training (smoothed)")
    validation = np.array([np.nan if v is None else v for v in history["validation_loss"].to_pylist()], dtype=float)
    seen = ~np.isnan(validation)
    if seen.any():
        axes.plot(tokens[seen], validation[seen], "o-", color=OTHER_COLOUR, markersize=3.5, label="validation")
    axes.set(xlabel="training tokens (million)", ylabel="loss (nats per token)")
    axes.legend(frameon=False)
    return _png(figure)


def reliability(calibration: np.ndarray[Any, Any]) -> bytes:
    """Accuracy over confidence, bin by bin, from the (15, 3) counts, summed confidences and hits."""
    figure, axes = _figure()
    counts, confidences, hits = calibration.T
    filled = counts > 0
    edges = np.arange(len(counts)) / len(counts)
    accuracy = np.divide(hits, counts, out=np.zeros_like(hits), where=filled)
    axes.bar(edges[filled], accuracy[filled], width=1 / len(counts), align="edge", color=MODEL_COLOUR, alpha=0.75)
    axes.plot([0, 1], [0, 1], color=QUIET, linewidth=1, linestyle="--", label="as sure as right")
    mean = np.divide(confidences, counts, out=np.zeros_like(hits), where=filled)
    axes.plot(mean[filled], accuracy[filled], "o", color=OTHER_COLOUR, markersize=4, label="mean of the bin")
    axes.set(xlabel="confidence in the most likely token", ylabel="how often it is right", xlim=(0, 1), ylim=(0, 1))
    axes.legend(frameon=False, loc="upper left")
    return _png(figure)


def bits_per_source(figures: Mapping[str, Mapping[str, Any]]) -> bytes:
    """Bits per byte of each source, beside the unigram baseline."""
    figure, axes = _figure(height=max(2.4, 0.55 * len(figures) + 1.2))
    names = list(figures)[::-1]
    rows = np.arange(len(names))
    model = [figures[name]["bits_per_byte"] or 0.0 for name in names]
    unigram = [figures[name]["unigram_bits_per_byte"] or 0.0 for name in names]
    axes.barh(rows + 0.2, model, height=0.38, color=MODEL_COLOUR, label="model")
    axes.barh(rows - 0.2, unigram, height=0.38, color=QUIET, alpha=0.6, label="unigram baseline")
    for row, value in zip(rows, model, strict=True):
        axes.text(value, row + 0.2, f" {value:.3f}", va="center", fontsize=8)
    axes.set_yticks(rows, names)
    axes.set(xlabel="bits per byte (lower is better)")
    axes.legend(frameon=False, loc="lower right", bbox_to_anchor=(1, 1), ncols=2)
    axes.set_xlim(0, max([*model, *unigram, 0.1]) * 1.15)
    return _png(figure)


def _smoothed(losses: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """The running mean of about a twentieth of the curve, later points weighing more."""
    smoothed = np.empty(len(losses))
    kept = 1 - 1 / max(1.0, len(losses) / 20)
    average, weight = 0.0, 0.0
    for index, loss in enumerate(losses):
        average, weight = kept * average + (1 - kept) * loss, kept * weight + (1 - kept)
        smoothed[index] = average / weight  # the weights of the past sum to less than one at the start
    return smoothed


def _figure(*, height: float = 3.4) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(6.4, height), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25)
    axes.set_axisbelow(True)
    return figure, axes


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()
