"""Quality signals of a batch of texts: counts and fractions that filters compare with their thresholds later."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.cleaning.signals_batch import TextBatch
from pipeline.cleaning.signals_lines import measure_lines
from pipeline.cleaning.signals_words import measure_words

_BLOCK, _UNKNOWN = 256, 2
_LETTERS = np.full(0x110000, _UNKNOWN, dtype=np.uint8)
"""Whether each code point is a letter or a mark; a block is filled when one of it is met, since all take a third of a second."""
_ASCII_LETTERS = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


def measure(texts: Sequence[str], languages: Sequence[str]) -> dict[str, NDArray[Any]]:
    """Columns of CLEAN_SCHEMA by name, each with one value per text that `clean_text` made; a fraction of nothing is 0.

    `languages` (ISO 639-1, one a text) choose what words and stop words are.

    "a b\\na b\\n\\n1" -> 10 characters, 5 words, 4 lines, letters 4/10, duplicate lines 1/3
    """
    batch = TextBatch.of(texts, languages)
    letters = np.array([count_letters(text) for text in texts], dtype=np.int64)
    return {
        "num_characters": batch.num_characters,
        "num_words": batch.num_words,
        "num_lines": batch.num_every_line,
        "letter_fraction": letters / np.maximum(batch.num_characters, 1),
        **measure_words(batch),
        **measure_lines(batch),
    }


def count_letters(text: str) -> int:
    """Letters, with the marks that are part of them in many scripts."""
    if text.isascii():
        data = text.encode()
        return len(data) - len(data.translate(None, _ASCII_LETTERS))
    codes = np.frombuffer(text.encode("utf-32-le"), dtype=np.uint32)
    flags = _LETTERS[codes]
    if flags.max() == _UNKNOWN:
        for block in np.unique(codes[flags == _UNKNOWN] // _BLOCK).tolist():
            points = range(block * _BLOCK, (block + 1) * _BLOCK)
            _LETTERS[points.start : points.stop] = [unicodedata.category(chr(code))[0] in "LM" for code in points]
        flags = _LETTERS[codes]
    return int(np.count_nonzero(flags))
