"""Signals of words for a batch of texts: Gopher's quality and repetition filters.

In: a batch. Out: one value per text and column (Rae et al. 2021, appendix A). What is asked of a word (has it a letter,
is it a symbol) is asked once per distinct word of the batch. A fraction of nothing is 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipeline.cleaning.signals_batch import Integers, TextBatch, flags_of
from pipeline.cleaning.signals_repetition import repeated_ngrams

STOP_WORDS = ("the", "be", "to", "of", "and", "that", "have", "with")
"""Gopher's, for English."""
STOP_WORDS_OF = {"zh": tuple("的年在月是和日了於·為有被人中为他與後也而由")}
"""FineWeb-2's, by language; texts of every other language are searched for the English ones."""
_LETTER = r"\pL"
_ALL_SYMBOLS = r"^[\pP\pS]+$"


def measure_words(batch: TextBatch) -> dict[str, NDArray[Any]]:
    """Columns by name; each has one value per text.

    `num_word_tokens` counts words that are more than punctuation and symbols, `mean_word_length` is over those, in
    characters; the rest is per word of any kind. `stop_words` counts which stop words of its language a text has: of eight
    in English (and where no others are known), of 22 in Chinese.
    """
    words, documents, lengths = batch.words, batch.word_documents, batch.word_lengths
    has_letter = flags_of(pc.match_substring_regex(batch.vocabulary, _LETTER))[words]
    is_token = ~flags_of(pc.match_substring_regex(batch.vocabulary, _ALL_SYMBOLS))[words]
    tokens = batch.per_text(documents, is_token)
    any_words = np.maximum(batch.num_words, 1)
    return {
        "num_word_tokens": tokens.astype(np.int64),
        "mean_word_length": batch.per_text(documents, lengths * is_token) / np.maximum(tokens, 1),
        "hashes_per_word": np.array([text.count("#") for text in batch.texts]) / any_words,
        "ellipses_per_word": np.array([text.count("...") + text.count("…") for text in batch.texts]) / any_words,
        "alphabetic_word_fraction": batch.per_text(documents, has_letter) / any_words,
        "stop_words": _count_stop_words(batch),
        **repeated_ngrams(words, lengths, documents, batch.num_characters),
    }


def _count_stop_words(batch: TextBatch) -> Integers:
    """[texts] how many different ones occur."""
    counts = _count_different(batch, STOP_WORDS)
    for language, stop_words in STOP_WORDS_OF.items():
        is_spoken = np.array([spoken == language for spoken in batch.languages], dtype=bool)
        if is_spoken.any():
            counts = np.where(is_spoken, _count_different(batch, stop_words), counts)
    return counts


def _count_different(batch: TextBatch, wanted: Sequence[str]) -> Integers:
    numbers = pc.index_in(batch.vocabulary, pa.array(wanted)).fill_null(-1).to_numpy()[batch.words]
    occurs = np.zeros((len(batch.texts), len(wanted)), dtype=bool)
    is_wanted = numbers >= 0
    occurs[batch.word_documents[is_wanted], numbers[is_wanted]] = True
    counts: Integers = occurs.sum(axis=1, dtype=np.int64)
    return counts
