"""n-grams of a few tokens, counted in a folder that is gone afterwards: counts lie in files without a name."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from pipeline.models.ngram.counting import OrderCounts, count_ngrams

LIMIT = 100_000_000
"""Bytes for DuckDB."""


def counted(tokens: np.ndarray, *, order: int, vocab_size: int, bos_id: int) -> list[OrderCounts]:
    """Orders 1 to `order`."""
    with TemporaryDirectory() as folder:
        limits = {"folder": Path(folder), "memory_bytes": LIMIT, "where": "trained_model/counts"}
        return list(count_ngrams([tokens], order=order, vocab_size=vocab_size, bos_id=bos_id, **limits))
