"""Signals of words for a batch of texts: Gopher's quality and repetition filters.

In: a batch. Out: one value per text and column (Rae et al. 2021, appendix A). What is asked of a word (has it a letter,
is it a symbol) is asked once per distinct word of the batch. A fraction of nothing is 0.
"""

from __future__ import annotations

import string
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipeline.cleaning.signals_batch import Booleans, Integers, TextBatch, bytes_of, matches
from pipeline.cleaning.signals_repetition import repeated_ngrams
from pipeline.config.fineweb2 import fineweb2

STOP_WORDS = ("the", "be", "to", "of", "and", "that", "have", "with")
"""Gopher's, for English and where no others are known."""
_LETTER = r"\pL"
_NO_SYMBOL = r"[^\pP\pS]"
_IS_LETTER, _IS_NO_SYMBOL, _IS_BEYOND_ASCII = 1, 2, 4
_KINDS = np.full(256, _IS_NO_SYMBOL, dtype=np.uint8)
_KINDS[list(string.ascii_letters.encode())] = _IS_LETTER | _IS_NO_SYMBOL
_KINDS[list(string.punctuation.encode())] = 0
_KINDS[128:] = _IS_BEYOND_ASCII
"""Of each byte of UTF-8."""


def measure_words(batch: TextBatch) -> dict[str, NDArray[Any]]:
    """Columns by name; each has one value per text.

    `num_word_tokens` counts words that are more than punctuation and symbols, `mean_word_length` is over those, in
    characters; the rest is per word of any kind. `stop_words` counts which stop words of its language a text has: FineWeb-2's
    where it has some, else the eight English ones.
    """
    words, documents, lengths = batch.words, batch.word_documents, batch.word_lengths
    has_letter, is_token = (flags[words] for flags in _letters_and_tokens(batch.vocabulary))
    tokens = batch.per_text(documents, is_token)
    any_words = np.maximum(batch.num_tokens, 1)
    return {
        "num_word_tokens": tokens.astype(np.int64),
        "mean_word_length": batch.per_text(documents, lengths * is_token) / np.maximum(tokens, 1),
        "hashes_per_word": np.array([text.count("#") for text in batch.texts]) / any_words,
        "ellipses_per_word": np.array([text.count("...") + text.count("…") for text in batch.texts]) / any_words,
        "alphabetic_word_fraction": batch.per_text(documents, has_letter) / any_words,
        "stop_words": _count_stop_words(batch),
        **repeated_ngrams(words, lengths, documents, batch.num_characters),
    }


def _letters_and_tokens(vocabulary: pa.StringArray) -> tuple[Booleans, Booleans]:
    """[distinct words] whether each has a letter, and whether it is more than punctuation and symbols.

    Expressions look at the words that are not ASCII alone: over many short words they take longer than all else here.
    """
    data, edges = bytes_of(vocabulary)
    kinds = np.bitwise_or.reduceat(_KINDS[data], edges[:-1]) if len(vocabulary) else _KINDS[:0]
    is_beyond = (kinds & _IS_BEYOND_ASCII) > 0
    has_letter = (kinds & _IS_LETTER > 0) | matches(vocabulary, is_beyond, _LETTER)
    is_token = (kinds & _IS_NO_SYMBOL > 0) | matches(vocabulary, is_beyond, _NO_SYMBOL)
    return has_letter, is_token


def _count_stop_words(batch: TextBatch) -> Integers:
    """[texts] how many different ones of its language occur."""
    known = fineweb2()
    words_of: dict[str, tuple[str, ...]] = {}
    for language in batch.languages:
        if language not in words_of:
            words_of[language] = known[language].stop_words if language in known else STOP_WORDS
    wanted = sorted({word for words in words_of.values() for word in words})
    numbers = pc.index_in(batch.vocabulary, pa.array(wanted, pa.string())).fill_null(-1).to_numpy()[batch.words]
    occurs = np.zeros((len(batch.texts), len(wanted)), dtype=bool)
    is_wanted = numbers >= 0
    occurs[batch.word_documents[is_wanted], numbers[is_wanted]] = True
    rows = {language: row for row, language in enumerate(words_of)}
    is_of = np.array([[word in set(words) for word in wanted] for words in words_of.values()], dtype=bool)
    if len(rows) > 1:
        occurs &= is_of[[rows[language] for language in batch.languages]]
    counts: Integers = occurs.sum(axis=1, dtype=np.int64)
    return counts
