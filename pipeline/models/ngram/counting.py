"""Token ids of many documents -> the distinct n-grams of every order with their counts.

An n-gram is named by its rank among those of its order, sorted by (rank of its first n - 1 tokens, last token). The key of an
(n+1)-gram is then rank x vocabulary + token, which fits 64 bits at any order. Key and position are packed into one integer
and sorted together: numpy sorts integers several times faster than it finds a sorting permutation.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from jaxtyping import Int

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderCounts:
    """The distinct n-grams of one order, by rank."""

    order: int
    prefixes: Int[Array, " ngrams"]
    """Rank of the first n - 1 tokens; rises. Zeros for unigrams."""
    words: Int[Array, " ngrams"]
    """The last token; rises within a prefix."""
    suffixes: Int[Array, " ngrams"]
    """Rank of the last n - 1 tokens. Zeros for unigrams."""
    counts: Int[Array, " ngrams"]
    """How often each occurs."""
    opens: Array
    """bool: the first token is BOS, so that nothing stands before it."""


def count_ngrams(tokens: Int[Array, " tokens"], *, order: int, vocab_size: int, bos_id: int) -> Iterator[OrderCounts]:
    """Counts of orders 1 to `order`; every document begins with BOS, and no n-gram spans two documents.

    A unigram's rank is its token id, whether it occurs or not.

    Raises:
        ValueError: the tokens do not begin with BOS, or there are none.
    """
    if not tokens.size or int(tokens[0]) != bos_id:
        raise ValueError("every document must begin with the BOS token")
    words = tokens.astype(np.int64)
    starts = np.flatnonzero(words == bos_id)
    room = np.arange(words.size) - np.repeat(
        starts, np.diff(np.append(starts, words.size))
    )  # tokens before, in the document
    none = np.zeros(vocab_size, dtype=np.int64)
    opens = np.arange(vocab_size) == bos_id
    counts = np.bincount(words, minlength=vocab_size)
    yield OrderCounts(order=1, prefixes=none, words=np.arange(vocab_size), suffixes=none, counts=counts, opens=opens)
    bits = (vocab_size - 1).bit_length()
    mask = (1 << bits) - 1
    ranks = words  # of the n-gram that ends at each position
    for length in range(2, order + 1):
        ends = np.flatnonzero(room >= length - 1)
        keys = ranks[ends - 1]
        keys <<= bits
        keys |= words[ends]
        keys, positions = sort_with_positions(keys, ends)
        is_first = np.empty(keys.size, dtype=bool)
        is_first[:1] = True
        np.not_equal(keys[1:], keys[:-1], out=is_first[1:])
        begins = np.flatnonzero(is_first)
        distinct = keys[begins]
        prefixes = distinct >> bits
        distinct &= mask
        opens = opens[prefixes]
        yield OrderCounts(
            order=length,
            prefixes=prefixes,
            words=distinct,
            suffixes=ranks[positions[begins]],
            counts=np.diff(np.append(begins, keys.size)),
            opens=opens,
        )
        if length < order:
            ranks = np.full(words.size, -1)
            ranks[positions] = np.cumsum(is_first) - 1


def sort_with_positions(keys: Array, positions: Array) -> tuple[Array, Array]:
    """Both, sorted by key and then by position; neither is negative."""
    if not keys.size:
        return keys, positions
    bits = int(positions.max()).bit_length()
    if int(keys.max()).bit_length() + bits > 63:
        permutation = np.lexsort((positions, keys))
        return keys[permutation], positions[permutation]
    packed = keys << bits
    packed |= positions
    packed.sort()
    return packed >> bits, packed & ((1 << bits) - 1)
