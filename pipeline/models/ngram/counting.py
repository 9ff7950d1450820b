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
    stream = _Stream(tokens, vocab_size=vocab_size, bos_id=bos_id)
    counted = stream.unigrams()
    yield counted
    for _ in range(1, order):
        counted = stream.longer(counted)
        yield counted


class _Stream:
    """The tokens with, for each position, the rank of the n-gram that ends there: n grows by one at a time."""

    def __init__(self, tokens: Array, *, vocab_size: int, bos_id: int) -> None:
        self._words = tokens.astype(np.int64)
        self._vocab_size, self._bos_id = vocab_size, bos_id
        self._bits = (vocab_size - 1).bit_length()
        starts = np.flatnonzero(self._words == bos_id)
        sizes = np.diff(np.append(starts, self._words.size))
        self._room = np.arange(self._words.size) - np.repeat(starts, sizes)  # tokens before, in the document
        self._ranks = self._words
        self._first_ends = np.full(vocab_size, -1)  # by rank, where an n-gram first ends
        self._first_ends[self._words[::-1]] = np.arange(self._words.size)[::-1]

    def unigrams(self) -> OrderCounts:
        """Every id of the vocabulary."""
        none = np.zeros(self._vocab_size, dtype=np.int64)
        return OrderCounts(
            order=1,
            prefixes=none,
            words=np.arange(self._vocab_size),
            suffixes=none,
            counts=np.bincount(self._words, minlength=self._vocab_size),
            opens=np.arange(self._vocab_size) == self._bos_id,
        )

    def longer(self, shorter: OrderCounts) -> OrderCounts:
        """The n-grams of one token more.

        What follows an n-gram that occurs once occurs once itself, in the order of the ranks: only the rest is sorted.
        """
        num_prefixes, needed = shorter.words.size, shorter.order
        is_single = shorter.counts == 1
        single_prefixes = np.flatnonzero(is_single)
        single_ends = self._first_ends[single_prefixes] + 1
        goes_on = single_ends < self._words.size
        goes_on[goes_on] = self._room[single_ends[goes_on]] >= needed
        single_prefixes, single_ends = single_prefixes[goes_on], single_ends[goes_on]

        ends = np.flatnonzero(self._room >= needed)
        keys = self._ranks[ends - 1]
        several = ~is_single[keys]
        ends, keys = ends[several], keys[several]
        keys <<= self._bits
        keys |= self._words[ends]
        keys, positions = sort_with_positions(keys, ends)
        is_first = np.empty(keys.size, dtype=bool)
        is_first[:1] = True
        np.not_equal(keys[1:], keys[:-1], out=is_first[1:])
        begins = np.flatnonzero(is_first)
        distinct = keys[begins]
        several_prefixes = distinct >> self._bits
        # both lists rise by prefix, and no prefix is in both: a rank in one is moved by what the other holds before it
        several_ranks = np.arange(begins.size) + _before(several_prefixes, among=single_prefixes, size=num_prefixes)
        single_ranks = np.arange(single_ends.size) + _before(single_prefixes, among=several_prefixes, size=num_prefixes)

        def merged(of_several: Array, of_singles: Array | int) -> Array:
            both = np.empty(several_ranks.size + single_ranks.size, dtype=of_several.dtype)
            both[several_ranks] = of_several
            both[single_ranks] = of_singles
            return both

        prefixes = merged(several_prefixes, single_prefixes)
        self._first_ends = merged(positions[begins], single_ends)
        counted = OrderCounts(
            order=needed + 1,
            prefixes=prefixes,
            words=merged(distinct & ((1 << self._bits) - 1), self._words[single_ends]),
            suffixes=self._ranks[self._first_ends],
            counts=merged(np.diff(np.append(begins, keys.size)), 1),
            opens=shorter.opens[prefixes],
        )
        self._ranks = np.full(self._words.size, -1)
        self._ranks[positions] = several_ranks[np.cumsum(is_first) - 1]
        self._ranks[single_ends] = single_ranks
        return counted


def _before(prefixes: Array, *, among: Array, size: int) -> Array:
    """How many of the rising list `among` lie before each prefix."""
    held = np.bincount(among, minlength=size)
    return (np.cumsum(held) - held)[prefixes]


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
