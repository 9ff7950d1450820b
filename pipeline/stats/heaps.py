"""How the vocabulary grows with the text: V = K n**beta (Herdan 1960, Heaps 1978).

The line through log V over log n by least squares. Trade-off: every point weighs the same, so the fit is that of the whole
curve and not of its end, where it bends below the line for most text.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True, kw_only=True)
class Heaps:
    """Words seen and distinct words: `distinct = k * words ** beta`; beta is about 0.4 to 0.8 for natural language."""

    k: float
    beta: float


def fit_heaps(words: Sequence[int], distinct_words: Sequence[int]) -> Heaps | None:
    """The law that fits growing counts; None where fewer than two points differ.

    `fit_heaps([100, 10_000], [50, 500])` has beta 0.5 and k 5.
    """
    points = [(n, v) for n, v in zip(words, distinct_words, strict=True) if n > 0 and v > 0]
    if len({n for n, _ in points}) < 2:
        return None
    x, y = np.log(np.array(points, dtype=np.float64)).T
    x_mean, y_mean = x.mean(), y.mean()
    beta = float(((x - x_mean) * (y - y_mean)).sum() / ((x - x_mean) ** 2).sum())
    return Heaps(k=float(np.exp(y_mean - beta * x_mean)), beta=beta)
