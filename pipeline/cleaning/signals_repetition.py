"""Repeated word n-grams of a batch of texts: the fractions of Gopher's repetition filter (Rae et al. 2021, table A1).

In: for each text its words as numbers and their lengths, all texts in one row. Out: one value per text. An n-gram can
only repeat where its first n - 1 words do, so each length looks at the positions that the one before left over.
N-grams are compared by the pair (number of the n-gram of n - 1 words, next word) and not by a hash: values are exact.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

TOP_NGRAMS = (2, 3, 4)
DUPLICATE_NGRAMS = (5, 6, 7, 8, 9, 10)

Integers = NDArray[np.int64]
Floats = NDArray[np.float64]


def repeated_ngrams(
    words: Integers, lengths: Integers, documents: Integers, num_characters: Integers
) -> dict[str, Floats]:
    """Character fractions by column name: of the most frequent n-gram, and of those that came before in the text.

    The most frequent n-gram counts with single spaces between its words, the first one wins a tie. Duplicate n-grams
    are taken from left to right without overlap and count without spaces. Both are per character of the text, and may
    pass 1 where occurrences overlap.

    Args:
        words: [words of all texts] a number below 2**31 per distinct word.
        lengths: [words of all texts] characters of each word.
        documents: [words of all texts] the text of each word, ascending from 0.
        num_characters: [texts].
    """
    num_documents = len(num_characters)
    ends = np.concatenate(([0], np.cumsum(lengths)))
    stops = np.cumsum(np.bincount(documents, minlength=num_documents)).astype(np.int64)
    characters = np.maximum(num_characters, 1)
    columns: dict[str, Floats] = {}
    positions = np.arange(len(words), dtype=np.int64)
    groups = documents * (int(words.max(initial=0)) + 1) + words
    positions, groups = _repeated(positions, groups)
    for n in range(2, DUPLICATE_NGRAMS[-1] + 1):
        inside = positions + n <= stops[documents[positions]]
        positions, groups = positions[inside], groups[inside]
        positions, groups = _repeated(positions, (groups << 31) + words[positions + n - 1])
        if n in TOP_NGRAMS:
            top = _first_ngrams(ends, stops, n)
            _put_top(top, positions, groups, documents, ends, n)
            columns[f"top_{n}_gram_fraction"] = top / characters
        elif n in DUPLICATE_NGRAMS:
            duplicates = _duplicates(positions, groups, documents, ends, n, num_documents)
            columns[f"duplicate_{n}_gram_fraction"] = duplicates / characters
    return columns


def _repeated(positions: Integers, keys: Integers) -> tuple[Integers, Integers]:
    """The positions, ascending, whose key occurs more than once, and the keys numbered from 0."""
    _, numbers, counts = np.unique(keys, return_inverse=True, return_counts=True)
    again = counts > 1
    keep = again[numbers]
    renumbered = np.cumsum(again) - 1
    return positions[keep], renumbered[numbers[keep]].astype(np.int64)


def _first_ngrams(ends: Integers, stops: Integers, n: int) -> Floats:
    """Characters of each text's first n-gram: the most frequent one where none repeats; 0 for a shorter text."""
    starts = np.concatenate(([0], stops[:-1]))
    long_enough = starts + n <= stops
    top = np.zeros(len(stops))
    first = starts[long_enough]
    top[long_enough] = ends[first + n] - ends[first] + n - 1
    return top


def _put_top(top: Floats, positions: Integers, groups: Integers, documents: Integers, ends: Integers, n: int) -> None:
    """Writes count times characters of the most frequent n-gram into the texts that repeat one."""
    _, first, counts = np.unique(groups, return_index=True, return_counts=True)
    starts = positions[first]
    order = np.lexsort((starts, -counts, documents[starts]))
    chosen, index = np.unique(documents[starts][order], return_index=True)
    best = order[index]
    top[chosen] = counts[best] * (ends[starts[best] + n] - ends[starts[best]] + n - 1)


def _duplicates(
    positions: Integers, groups: Integers, documents: Integers, ends: Integers, n: int, num_documents: int
) -> Floats:
    """Characters of n-grams seen before; a position inside one that was counted is neither counted nor seen."""
    counted: list[int] = []
    seen: set[int] = set()
    free = 0
    for position, group in zip(positions.tolist(), groups.tolist(), strict=True):
        if position < free:
            continue
        if group in seen:
            counted.append(position)
            free = position + n
        else:
            seen.add(group)
    starts = np.array(counted, dtype=np.int64)
    lengths = (ends[starts + n] - ends[starts]).astype(np.float64)
    return np.bincount(documents[starts], weights=lengths, minlength=num_documents).astype(np.float64)
