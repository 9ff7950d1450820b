"""Token ids of many documents -> the distinct n-grams of every order with their counts.

An n-gram is named by its rank among those of its order, sorted by (rank of its first n - 1 tokens, last token). The positions of
the stream are sorted by the n-gram that starts there, one token more at a time: key (rank of the n-gram so far, next token) and
position are packed into one 64-bit integer, since numpy sorts integers several times faster than it finds a permutation. The
first sort packs as many tokens as fit. What follows an n-gram that occurs once occurs once itself: it is never sorted again.
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
    stream = _Stream(tokens, order=order, vocab_size=vocab_size, bos_id=bos_id)
    counted = stream.unigrams()
    yield counted
    if order == 1:
        return
    for packed in range(2, min(order, stream.num_packed) + 1):
        counted = stream.packed(counted, packed)
        yield counted
    stream.forget_packed(counted)
    for _ in range(counted.order, order):
        counted = stream.longer(counted)
        yield counted


class _Stream:
    """The positions of the tokens, grouped by the n-gram that starts there: n grows by one at a time."""

    def __init__(self, tokens: Array, *, order: int, vocab_size: int, bos_id: int) -> None:
        # a document's BOS ends the n-grams of the one before; the last one needs such an end too
        # (32 bits: what is looked up in no order should fit the caches)
        self._words = np.concatenate((tokens.astype(np.int32), np.full(order, bos_id, dtype=np.int32)))
        self._size, self._vocab_size, self._bos_id = tokens.size, vocab_size, bos_id
        self._bits = (vocab_size - 1).bit_length()
        self._mask = (1 << self._bits) - 1
        self.num_packed = min(order, max(1, (63 - (tokens.size - 1).bit_length()) // self._bits))
        self._started = self._words[
            : tokens.size
        ]  # rank of the n-gram that starts at each position; -1 where none does
        self._firsts = np.full(vocab_size, -1)  # by rank, where an n-gram first starts
        self._firsts[self._started[::-1]] = np.arange(tokens.size)[::-1]
        self._positions = np.arange(tokens.size)  # of n-grams that occur more than once, in the order of the ranks
        self._ranks = self._started.astype(np.int64)
        self._keys = np.empty(0, dtype=np.int64)

    def unigrams(self) -> OrderCounts:
        """Every id of the vocabulary."""
        none = np.zeros(self._vocab_size, dtype=np.int64)
        return OrderCounts(
            order=1,
            prefixes=none,
            words=np.arange(self._vocab_size),
            suffixes=none,
            counts=np.bincount(self._started, minlength=self._vocab_size),
            opens=np.arange(self._vocab_size) == self._bos_id,
        )

    def packed(self, shorter: OrderCounts, length: int) -> OrderCounts:
        """The n-grams of one token more, as long as `num_packed` tokens and a position fit one integer."""
        if not self._keys.size:
            self._sort_packed()
        keys = self._keys >> (self._bits * (self.num_packed - length))
        begins = np.flatnonzero(np.diff(keys, prepend=-1))
        sizes = np.diff(np.append(begins, keys.size))
        words = keys[begins] & self._mask
        prefixes = self._ranks[begins]
        is_whole = (words != self._bos_id) & (prefixes >= 0)
        ranks = np.where(is_whole, np.cumsum(is_whole) - 1, -1)
        self._ranks = np.repeat(ranks, sizes)
        self._firsts = self._positions[begins[is_whole]]
        counted = OrderCounts(
            order=length,
            prefixes=prefixes[is_whole],
            words=words[is_whole],
            suffixes=self._started[self._firsts + 1],
            counts=sizes[is_whole],
            opens=shorter.opens[prefixes[is_whole]],
        )
        self._started = np.empty(self._size, dtype=np.int32)
        self._started[self._positions] = self._ranks
        return counted

    def _sort_packed(self) -> None:
        keys = np.zeros(self._size, dtype=np.int64)
        for offset in range(self.num_packed):
            keys <<= self._bits
            keys |= self._words[offset : offset + self._size]
        self._keys, self._positions = sort_with_positions(keys, np.arange(self._size))
        self._ranks = self._keys >> (self._bits * (self.num_packed - 1))

    def forget_packed(self, counted: OrderCounts) -> None:
        """Keeps the positions of n-grams that occur more than once."""
        self._keys = self._keys[:0]
        several = np.append(counted.counts > 1, False)[self._ranks]  # the entry behind the last is that of rank -1
        self._positions, self._ranks = self._positions[several], self._ranks[several]

    def longer(self, shorter: OrderCounts) -> OrderCounts:
        """The n-grams of one token more."""
        needed = shorter.order
        single_prefixes = np.flatnonzero(shorter.counts == 1)
        single_firsts = self._firsts[single_prefixes]
        single_words = self._words[single_firsts + needed]
        goes_on = single_words != self._bos_id
        single_prefixes, single_firsts, single_words = (
            values[goes_on] for values in (single_prefixes, single_firsts, single_words)
        )
        words = self._words[self._positions + needed]
        goes_on = words != self._bos_id
        keys = self._ranks[goes_on] << self._bits
        keys |= words[goes_on]
        keys, positions = sort_with_positions(keys, self._positions[goes_on])
        begins = np.flatnonzero(np.diff(keys, prepend=-1))
        sizes = np.diff(np.append(begins, keys.size))
        distinct = keys[begins]
        prefixes = distinct >> self._bits
        # both lists rise by prefix, and no prefix is in both: a rank in one is moved by what the other holds before it
        num_prefixes = shorter.words.size
        ranks = np.arange(begins.size) + _before(prefixes, among=single_prefixes, size=num_prefixes)
        single_ranks = np.arange(single_firsts.size) + _before(single_prefixes, among=prefixes, size=num_prefixes)

        def merged(of_several: Array, of_singles: Array | int) -> Array:
            both = np.empty(ranks.size + single_ranks.size, dtype=np.int64)
            both[ranks] = of_several
            both[single_ranks] = of_singles
            return both

        all_prefixes = merged(prefixes, single_prefixes)
        self._firsts = merged(positions[begins], single_firsts)
        counted = OrderCounts(
            order=needed + 1,
            prefixes=all_prefixes,
            words=merged(distinct & self._mask, single_words),
            suffixes=self._started[self._firsts + 1],
            counts=merged(sizes, 1),
            opens=shorter.opens[all_prefixes],
        )
        self._ranks = np.repeat(ranks, sizes)
        self._started = np.full(self._size, -1, dtype=np.int32)
        self._started[positions] = self._ranks
        self._started[single_firsts] = single_ranks
        several = np.repeat(sizes > 1, sizes)
        self._positions, self._ranks = positions[several], self._ranks[several]
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
