"""The unigram-frequency baseline: what a model is worth that knows only how often each token occurs.

In: the train split's token counts. Out: bits per token of the vocabulary.
Method: add-one smoothing over the tokens that text can hold (Laplace); BOS, EOS and padding never occur in a text and
take no probability. The baseline uses the model's own tokenizer, so it is a low bar: it takes no credit from context.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq


def unigram_bits_per_token(token_counts: Path, *, vocab_size: int, not_text: tuple[int, ...]) -> np.ndarray[Any, Any]:
    """float64 (V,): minus log2 of each token's smoothed share; infinite for the tokens of `not_text`.

    With counts 2, 1, 0 for the three tokens of a vocabulary the shares are 3/6, 2/6 and 1/6.

    Raises:
        ValueError: a token of the table is outside the vocabulary.
    """
    table = pq.read_table(token_counts, columns=["id", "count"])
    ids = table["id"].to_numpy()
    if len(ids) and (ids.min() < 0 or ids.max() >= vocab_size):
        raise ValueError(f"{token_counts.name} counts token {ids.max()}, outside the vocabulary of {vocab_size}")
    counts = np.ones(vocab_size)
    counts[ids] += table["count"].to_numpy()
    counts[[token for token in not_text if 0 <= token < vocab_size]] = 0.0
    with np.errstate(divide="ignore"):
        bits: np.ndarray[Any, Any] = -np.log2(counts / counts.sum())
    return bits
