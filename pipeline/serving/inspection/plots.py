"""Attention maps as one picture: a row a layer, a column a head. PNG bytes that are equal for equal data."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

MAX_PANELS = 12
"""Layers and heads drawn at most, evenly chosen."""


def attention_maps(attention: np.ndarray[Any, Any]) -> bytes:
    """The picture of weights (layers, heads, T, T): dark is where a token (row) looks (column); each map to its own maximum."""
    layers, heads = (_chosen(size) for size in attention.shape[:2])
    figure = Figure(figsize=(1.35 * len(heads) + 0.5, 1.45 * len(layers) + 0.3), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(len(layers), len(heads), squeeze=False)
    for row, layer in zip(panels, layers, strict=True):
        for axes, head in zip(row, heads, strict=True):
            axes.imshow(attention[layer, head], cmap="Blues", vmin=0.0, interpolation="nearest")
            axes.set_xticks([])
            axes.set_yticks([])
            axes.set_title(f"layer {layer + 1}, head {head + 1}", fontsize=6.5)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()


def _chosen(size: int) -> list[int]:
    return sorted({int(place) for place in np.linspace(0, size - 1, min(size, MAX_PANELS)).round()})
