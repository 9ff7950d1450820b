"""Repeated word n-grams of a batch of texts: the fractions of Gopher's repetition filter (Rae et al. 2021, table A1).

In: for each text its words as numbers and their lengths, all texts in one row. Out: one value per text. An n-gram can
only repeat where its first and its last n - 1 words do, so each length looks at what the one before left over.
N-grams are compared by the pair (number of the n-gram of n - 1 words, next word) and not by a hash: values are exact.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.cleaning.signals_batch import Floats, Integers, sort_keys

TOP_NGRAMS = (2, 3, 4)
DUPLICATE_NGRAMS = (5, 6, 7, 8, 9, 10)

_ODD_MULTIPLIER = 0x9E3779B1
"""2**32 divided by the golden ratio: neighbours go far apart (Knuth, volume 3, section 6.4)."""
_MULTIPLIER_SHIFT = 12


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
    num_words = int(words.max(initial=0)) + 1
    groups = documents * num_words + words
    positions = np.flatnonzero(_may_repeat(groups))
    groups = groups[positions]
    for n in range(2, DUPLICATE_NGRAMS[-1] + 1):
        follows = np.diff(positions) == 1
        if n == 2:
            follows &= np.diff(documents[positions]) == 0
        kept = np.flatnonzero(follows)
        positions = positions[kept]
        found = _repeated(positions, groups[kept] * num_words + words[positions + n - 1])
        positions, groups = found.positions, found.groups
        if n in TOP_NGRAMS:
            top = _first_ngrams(ends, stops, n)
            _put_top(top, found, documents, ends, n)
            columns[f"top_{n}_gram_fraction"] = top / characters
        elif n in DUPLICATE_NGRAMS:
            counted = np.array(_duplicates(found, n, len(words)), dtype=np.int64)
            repeated = np.bincount(documents[counted], ends[counted + n] - ends[counted], num_documents)
            columns[f"duplicate_{n}_gram_fraction"] = repeated / characters
    return columns


@dataclass(frozen=True, slots=True)
class _Repeated:
    """N-grams that occur more than once in their text."""

    positions: Integers
    """[occurrences] ascending."""
    groups: Integers
    """[occurrences] the number of the n-gram; numbers of one text stand together, and ascend with the texts."""
    firsts: Integers
    """[n-grams] where each first occurs."""
    counts: Integers
    """[n-grams] how often it occurs."""


def _may_repeat(keys: Integers) -> NDArray[np.bool_]:
    """Whether each key could occur again: false for most that do not, since some share a place of the table."""
    bits = len(keys).bit_length() + 1
    places = (keys * _ODD_MULTIPLIER >> _MULTIPLIER_SHIFT) & ((1 << bits) - 1)
    again: NDArray[np.bool_] = np.bincount(places)[places] > 1
    return again


def _repeated(positions: Integers, keys: Integers) -> _Repeated:
    """Those of the positions, ascending, whose key occurs more than once."""
    order, keys = sort_keys(keys)
    differs = np.concatenate(([True], keys[1:] != keys[:-1], [True]))
    again = np.flatnonzero(~(differs[1:] & differs[:-1]))
    order, starts = order[again], np.flatnonzero(differs[again])
    counts = np.diff(starts, append=len(order))
    groups = np.full(len(positions), -1)
    groups[order] = np.repeat(np.arange(len(starts)), counts)
    kept = np.flatnonzero(groups >= 0)
    return _Repeated(positions[kept], groups[kept], positions[order[starts]], counts)


def _first_ngrams(ends: Integers, stops: Integers, n: int) -> Floats:
    """Characters of each text's first n-gram: the most frequent one where none repeats; 0 for a shorter text."""
    starts = np.concatenate(([0], stops[:-1]))
    long_enough = starts + n <= stops
    top = np.zeros(len(stops))
    first = starts[long_enough]
    top[long_enough] = ends[first + n] - ends[first] + n - 1
    return top


def _put_top(top: Floats, found: _Repeated, documents: Integers, ends: Integers, n: int) -> None:
    """Writes count times characters of the most frequent n-gram into the texts that repeat one."""
    if not len(found.firsts):
        return
    texts = documents[found.firsts]
    edges = np.flatnonzero(np.diff(texts, prepend=-1))
    most = np.maximum.reduceat(found.counts, edges)
    is_most = found.counts == np.repeat(most, np.diff(edges, append=len(texts)))
    start = np.minimum.reduceat(np.where(is_most, found.firsts, len(ends)), edges)
    top[texts[edges]] = most * (ends[start + n] - ends[start] + n - 1)


def _duplicates(found: _Repeated, n: int, num_words: int) -> list[int]:
    """Where n-grams stand that were seen before; a position inside one that was counted is neither counted nor seen.

    Only occurrences after the first are looked at, and after each that counts the next n - 1 positions are passed over.
    """
    first = found.firsts[found.groups]
    later = np.flatnonzero(found.positions > first)
    # views cost less than lists, since most places are passed over; beyond the last one stand n that end the search
    places = np.append(found.positions[later], np.full(n, num_words + n)).data
    firsts, names = first[later].data, found.groups[later].data
    covered, whole = bytearray(num_words), b"\1" * n
    counted: list[int] = []
    seen: set[int] = set()
    index = 0
    while index < len(names):
        if covered[firsts[index]] and names[index] not in seen:
            seen.add(names[index])
            index += 1
            continue
        place = places[index]
        counted.append(place)
        covered[place : place + n] = whole
        index += n
        while places[index - 1] >= place + n:
            index -= 1
    return counted
