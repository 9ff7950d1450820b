"""A batch of texts taken apart once for all signals: lines, words, and the distinct words with their numbers.

In: texts that `clean_text` made, whose lines end in `\\n` and in nothing blank, and their languages. Arrow splits and
numbers in C++; its white space is that of Python's `str.split`. In the languages of FineWeb-2's table words are those of
its splitters (segmentation.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipeline.cleaning.segmentation import SEGMENTED_LANGUAGES, part_words, space_words

_WIDE_SPACES = "[\u00a0\u1680\u2000-\u200a\u202f\u205f\u3000]"
"""White space beyond ASCII; `clean_text` leaves no other."""

Integers = NDArray[np.int64]
Floats = NDArray[np.float64]
Booleans = NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class TextBatch:
    """Texts, lines that are not blank, and words; each knows what it stands in, ascending."""

    texts: Sequence[str]
    languages: Sequence[str]
    """[texts] codes of ISO 639-1."""
    column: pa.StringArray
    """[texts] the same."""
    num_characters: Integers
    """[texts]"""
    num_words: Integers
    """[texts] with the marks that stand on them."""
    num_tokens: Integers
    """[texts] of `words`."""
    num_every_line: Integers
    """[texts] lines, blank ones among them; 0 of an empty text."""
    lines: pa.StringArray
    """[lines] without line ends."""
    stripped_lines: pa.StringArray
    """[lines] without white space at either end."""
    line_documents: Integers
    """[lines] the text of each line."""
    words: Integers
    """[words] the number of each word in `vocabulary`; marks are words where the language's rules have it so."""
    word_lines: Integers
    """[words] the line of each word."""
    word_documents: Integers
    """[words] the text of each word."""
    vocabulary: pa.StringArray
    """[distinct words]"""

    @classmethod
    def of(cls, texts: Sequence[str], languages: Sequence[str]) -> TextBatch:
        """Splits the texts."""
        column = pa.array(texts, pa.string())
        every = pc.split_pattern(column, "\n")
        num_every_line = pc.list_value_length(every).to_numpy().astype(np.int64)
        documents = np.repeat(np.arange(len(texts)), num_every_line)
        filled = pc.greater(pc.binary_length(every.flatten()), 0)
        lines = every.flatten().filter(filled)
        line_documents = documents[flags_of(filled)]
        stripped_lines = pc.utf8_trim_whitespace(lines)
        is_segmented = np.array([language in SEGMENTED_LANGUAGES for language in languages], dtype=bool)
        # Arrow finds an empty word before leading white space, and is twice as fast where only ASCII's divides words
        num_characters = pc.utf8_length(column).to_numpy().astype(np.int64)
        beyond_ascii = column.take(pa.array(np.flatnonzero(num_characters < pc.binary_length(column).to_numpy())))
        has_wide_spaces = pc.any(pc.match_substring_regex(beyond_ascii, _WIDE_SPACES)).as_py()
        split = (pc.utf8_split_whitespace if has_wide_spaces else pc.ascii_split_whitespace)(
            space_words(stripped_lines, is_segmented[line_documents])
        )
        counts = pc.list_value_length(split).to_numpy().astype(np.int64)
        encoded = split.flatten().dictionary_encode()
        words = encoded.indices.to_numpy().astype(np.int64)
        word_lines = np.repeat(np.arange(len(lines)), counts)
        word_documents = line_documents[word_lines]
        num_words = np.bincount(word_documents, minlength=len(texts)).astype(np.int64)
        vocabulary, num_tokens = encoded.dictionary, num_words
        parted = part_words(words, word_documents, vocabulary, languages)
        if parted is not None:
            words, vocabulary, num_pieces = parted
            word_lines = np.repeat(word_lines, num_pieces)
            word_documents = line_documents[word_lines]
            num_tokens = np.bincount(word_documents, minlength=len(texts)).astype(np.int64)
        return cls(
            texts=texts,
            languages=languages,
            column=column,
            num_characters=num_characters,
            num_words=num_words,
            num_tokens=num_tokens,
            num_every_line=np.where(num_characters > 0, num_every_line, 0),
            lines=lines,
            stripped_lines=stripped_lines,
            line_documents=line_documents,
            words=words,
            word_lines=word_lines,
            word_documents=word_documents,
            vocabulary=vocabulary,
        )

    @cached_property
    def line_lengths(self) -> Integers:
        """[lines] characters."""
        return lengths_of(self.lines)

    @cached_property
    def word_lengths(self) -> Integers:
        """[words] characters."""
        return lengths_of(self.vocabulary)[self.words]

    def per_text(self, documents: Integers, weights: NDArray[Any] | None = None) -> Floats:
        """Sums by text of one weight per line or word (or counts them)."""
        return np.bincount(documents, weights=weights, minlength=len(self.texts)).astype(np.float64)


def lengths_of(strings: pa.StringArray) -> Integers:
    """Characters of each."""
    lengths: Integers = pc.utf8_length(strings).to_numpy().astype(np.int64)
    return lengths


def bytes_of(strings: pa.StringArray) -> tuple[NDArray[np.uint8], Integers]:
    """The bytes of all strings in UTF-8, one after the other, and [strings + 1] where each begins and the last one ends."""
    _, offsets, data = strings.buffers()
    if not len(strings) or data is None:
        return np.zeros(0, dtype=np.uint8), np.zeros(len(strings) + 1, dtype=np.int64)
    edges = np.frombuffer(offsets, dtype=np.int32)[strings.offset : strings.offset + len(strings) + 1].astype(np.int64)
    return np.frombuffer(data, dtype=np.uint8)[edges[0] : edges[-1]], edges - edges[0]


def sort_keys(keys: Integers) -> tuple[Integers, Integers]:
    """The places of the keys, not negative, ordered by key and then by place; and the keys in that order."""
    bits = len(keys).bit_length()
    if int(keys.max(initial=0)).bit_length() + bits > 63:
        order = np.argsort(keys, kind="stable")
        return order, keys[order]
    # key and place in one number: NumPy has vector instructions to sort numbers, and none to find their order
    packed = np.sort(keys << bits | np.arange(len(keys)))
    return packed & ((1 << bits) - 1), packed >> bits


def matches(strings: pa.StringArray, chosen: Booleans, pattern: str) -> Booleans:
    """Whether the pattern is found in each of the chosen strings; false for the others."""
    found = np.zeros(len(strings), dtype=bool)
    numbers = np.flatnonzero(chosen)
    found[numbers] = flags_of(pc.match_substring_regex(strings.take(pa.array(numbers)), pattern))
    return found


def flags_of(answers: pa.BooleanArray) -> Booleans:
    """An Arrow column of true and false for NumPy."""
    flags: Booleans = answers.to_numpy(zero_copy_only=False)
    return flags
