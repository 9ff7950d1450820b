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
    last = stops[documents]
    characters = np.maximum(num_characters, 1)
    columns: dict[str, Floats] = {}
    num_words = int(words.max(initial=0)) + 1
    positions = np.arange(len(words), dtype=np.int64)
    groups = documents * num_words + words
    for n in range(2, DUPLICATE_NGRAMS[-1] + 1):
        inside = positions + n <= last[positions]
        positions, groups = positions[inside], groups[inside]
        positions, groups, counts = _repeated(positions, groups * num_words + words[positions + n - 1])
        if n in TOP_NGRAMS:
            top = _first_ngrams(ends, stops, n)
            _put_top(top, positions, groups, counts, documents, ends, n)
            columns[f"top_{n}_gram_fraction"] = top / characters
        elif n in DUPLICATE_NGRAMS:
            counted = np.array(_duplicates(positions, groups, len(counts), n, len(words)), dtype=np.int64)
            repeated = np.bincount(documents[counted], ends[counted + n] - ends[counted], num_documents)
            columns[f"duplicate_{n}_gram_fraction"] = repeated / characters
    return columns


def _repeated(positions: Integers, keys: Integers) -> tuple[Integers, Integers, Integers]:
    """The positions, ascending, whose key occurs more than once; their keys numbered by first occurrence; and how
    often each number occurs."""
    # texts stand in a row and begin their keys, so the sort finds most of the order made: twice as fast as a hash table
    order = np.argsort(keys, kind="stable")
    starts = np.flatnonzero(np.diff(keys[order], prepend=-1))
    counts = np.diff(starts, append=len(keys))
    again = counts > 1
    starts, counts = starts[again], counts[again]
    by_first = np.argsort(order[starts])
    members = np.zeros(len(keys), dtype=np.int64)
    numbers = np.empty(len(starts), dtype=np.int64)
    numbers[by_first] = np.arange(1, len(starts) + 1)
    offsets = np.repeat(starts - np.concatenate(([0], np.cumsum(counts)[:-1])), counts)
    members[order[offsets + np.arange(len(offsets))]] = np.repeat(numbers, counts)
    keep = members > 0
    return positions[keep], members[keep] - 1, counts[by_first]


def _first_ngrams(ends: Integers, stops: Integers, n: int) -> Floats:
    """Characters of each text's first n-gram: the most frequent one where none repeats; 0 for a shorter text."""
    starts = np.concatenate(([0], stops[:-1]))
    long_enough = starts + n <= stops
    top = np.zeros(len(stops))
    first = starts[long_enough]
    top[long_enough] = ends[first + n] - ends[first] + n - 1
    return top


def _put_top(
    top: Floats, positions: Integers, groups: Integers, counts: Integers, documents: Integers, ends: Integers, n: int
) -> None:
    """Writes count times characters of the most frequent n-gram into the texts that repeat one."""
    if not len(positions):
        return
    starts = _first_positions(positions, groups, len(counts))
    texts = documents[starts]
    # groups are numbered as they first occur, so those of one text stand together and the earliest stands first
    edges = np.flatnonzero(np.diff(texts, prepend=-1))
    most = np.repeat(np.maximum.reduceat(counts, edges), np.diff(edges, append=len(texts)))
    winners = np.flatnonzero(counts == most)
    chosen, index = np.unique(texts[winners], return_index=True)
    best = winners[index]
    top[chosen] = counts[best] * (ends[starts[best] + n] - ends[starts[best]] + n - 1)


def _first_positions(positions: Integers, groups: Integers, num_groups: int) -> Integers:
    """[groups] where each first occurs."""
    first = np.empty(num_groups, dtype=np.int64)
    first[groups[::-1]] = positions[::-1]
    return first


def _duplicates(positions: Integers, groups: Integers, num_groups: int, n: int, num_words: int) -> list[int]:
    """Where n-grams stand that were seen before; a position inside one that was counted is neither counted nor seen.

    Only occurrences after the first are looked at, and after each that counts the next n - 1 positions are passed over.
    """
    first = _first_positions(positions, groups, num_groups)[groups]
    later = positions > first
    places, firsts, names = positions[later], first[later].tolist(), groups[later].tolist()
    after = np.searchsorted(places, places + n).tolist()
    places = places.tolist()
    covered, whole = bytearray(num_words), b"\1" * n
    counted: list[int] = []
    seen: set[int] = set()
    index = 0
    while index < len(places):
        if covered[firsts[index]] and names[index] not in seen:
            seen.add(names[index])
            index += 1
        else:
            place = places[index]
            counted.append(place)
            covered[place : place + n] = whole
            index = after[index]
    return counted
