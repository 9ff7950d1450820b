"""Signals of white-space separated words for a batch of texts: Gopher's quality and repetition filters.

In: texts. Out: one value per text and column (Rae et al. 2021, appendix A). What is asked of a word (has it a letter,
is it a symbol) is asked once per distinct word of the batch. A fraction of nothing is 0.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.cleaning.signals_repetition import repeated_ngrams

STOP_WORDS = ("the", "be", "to", "of", "and", "that", "have", "with")


def measure_words(texts: Sequence[str]) -> dict[str, NDArray[Any]]:
    """Columns by name; each has one value per text.

    `num_word_tokens` counts words that are more than punctuation and symbols, `mean_word_length` is over those, in
    characters; the rest is per word of any kind. `stop_words` counts which of eight English words occur, 0 to 8.
    """
    numbers: dict[str, int] = {word: number for number, word in enumerate(STOP_WORDS)}
    rows = [[numbers.setdefault(word, len(numbers)) for word in text.split()] for text in texts]
    counts = np.array([len(row) for row in rows], dtype=np.int64)
    words = np.fromiter((number for row in rows for number in row), dtype=np.int64, count=int(counts.sum()))
    documents = np.repeat(np.arange(len(texts)), counts)
    distinct_lengths = np.array([len(word) for word in numbers], dtype=np.int64)
    lengths = distinct_lengths[words]
    has_letter = np.array([any(map(str.isalpha, word)) for word in numbers])[words]
    is_token = np.array([not all(map(_is_symbol, word)) for word in numbers])[words]

    def per_text(weights: NDArray[Any]) -> NDArray[np.float64]:
        return np.bincount(documents, weights=weights, minlength=len(texts)).astype(np.float64)

    tokens = per_text(is_token)
    any_words = np.maximum(counts, 1)
    stops = np.unique(np.stack([documents, words])[:, words < len(STOP_WORDS)], axis=1)[0]
    return {
        "num_word_tokens": tokens.astype(np.int64),
        "mean_word_length": per_text(lengths * is_token) / np.maximum(tokens, 1),
        "hashes_per_word": np.array([text.count("#") for text in texts]) / any_words,
        "ellipses_per_word": np.array([text.count("...") + text.count("…") for text in texts]) / any_words,
        "alphabetic_word_fraction": per_text(has_letter) / any_words,
        "stop_words": np.bincount(stops.astype(np.int64), minlength=len(texts)),
        **repeated_ngrams(words, lengths, documents, np.array([len(text) for text in texts], dtype=np.int64)),
    }


def _is_symbol(character: str) -> bool:
    return unicodedata.category(character)[0] in "PS"
