"""Token ids of many documents -> the distinct n-grams of every order with their counts.

An n-gram is named by its rank among those of its order, sorted by (rank of its first n - 1 tokens, last token). The positions of
the stream are sorted by the n-gram that starts there: first by as many tokens as fit into one 64-bit integer, then one token more
at a time, by key (rank of the n-gram so far, next token). What follows an n-gram that occurs once occurs once itself: it is never
sorted again. The sort is torch's, a radix sort of integers on all cores that gives the positions along with the keys.

Trade-off: speed here is memory traffic, so whatever is as long as the stream is 32 bits wide where that holds it, and made once.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

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


def counting_bytes(order: int) -> int:
    """Memory that counting in memory and estimating take for each token of the stream, about."""
    return 40 + 18 * order


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
        self._words = np.concatenate((tokens.astype(np.int32), np.full(order, bos_id, dtype=np.int32)))
        self._size, self._vocab_size, self._bos_id = tokens.size, vocab_size, bos_id
        self._index: type[np.signedinteger[Any]] = np.int32 if tokens.size < 2**31 else np.int64
        self._bits = max(1, (vocab_size - 1).bit_length())
        self._mask = (1 << self._bits) - 1
        self.num_packed = min(order, 63 // self._bits)
        assert order == 1 or self.num_packed > 1, f"a vocabulary of {vocab_size} is too large to pack two tokens"
        self._started = self._words[:-order]  # rank of the n-gram that starts at each position; -1 where none does
        self._firsts: Array = np.empty(0, dtype=np.int64)  # by rank, where an n-gram first starts
        self._positions: Array = np.empty(0, dtype=np.int64)  # of n-grams that occur more than once, ordered by rank
        self._ranks: Array = np.empty(0, dtype=self._index)
        self._keys: Array = np.empty(0, dtype=np.int64)

    def unigrams(self) -> OrderCounts:
        """Every id of the vocabulary."""
        none = np.zeros(self._vocab_size, dtype=self._index)
        return OrderCounts(
            order=1,
            prefixes=none,
            words=np.arange(self._vocab_size, dtype=np.int32),
            suffixes=none,
            counts=np.bincount(self._started, minlength=self._vocab_size),
            opens=np.arange(self._vocab_size) == self._bos_id,
        )

    def packed(self, shorter: OrderCounts, length: int) -> OrderCounts:
        """The n-grams of one token more, as long as `num_packed` tokens fit one integer."""
        if not self._keys.size:
            self._sort_packed()
        keys = self._keys >> (self._bits * (self.num_packed - length))
        begins, sizes = _runs(keys)
        words = (keys[begins] & self._mask).astype(np.int32)
        prefixes = self._ranks[begins]
        is_whole = words != self._bos_id
        is_whole &= prefixes >= 0
        ranks = np.cumsum(is_whole, dtype=self._index)
        ranks -= 1
        ranks[~is_whole] = -1
        self._ranks = np.repeat(ranks, sizes)
        prefixes = prefixes[is_whole]
        self._firsts = self._positions[begins[is_whole]]
        counted = OrderCounts(
            order=length,
            prefixes=prefixes,
            words=words[is_whole],
            suffixes=self._started[self._firsts + 1],
            counts=sizes[is_whole],
            opens=shorter.opens[prefixes],
        )
        self._started = np.empty(self._size, dtype=self._index)
        self._started[self._positions] = self._ranks
        return counted

    def _sort_packed(self) -> None:
        keys = self._words[: self._size].astype(np.int64)
        for offset in range(1, self.num_packed):
            keys <<= self._bits
            keys |= self._words[offset : offset + self._size]
        self._keys, self._positions = sort_with_positions(keys)
        self._ranks = (self._keys >> (self._bits * (self.num_packed - 1))).astype(self._index)

    def forget_packed(self, counted: OrderCounts) -> None:
        """Keeps the positions of n-grams that occur more than once."""
        self._keys = self._keys[:0]
        several = np.append(counted.counts > 1, False)[self._ranks]  # the entry behind the last is that of rank -1
        self._positions, self._ranks = self._positions[several], self._ranks[several]

    def longer(self, shorter: OrderCounts) -> OrderCounts:
        """The n-grams of one token more."""
        needed = shorter.order
        single_prefixes = np.flatnonzero(shorter.counts == 1).astype(self._index)
        single_firsts = self._firsts[single_prefixes]
        single_words = self._words[single_firsts + needed]
        goes_on = single_words != self._bos_id
        single_prefixes, single_firsts, single_words = (
            values[goes_on] for values in (single_prefixes, single_firsts, single_words)
        )
        words = self._words[self._positions + needed]
        goes_on = words != self._bos_id
        keys = self._ranks[goes_on].astype(np.int64)
        keys <<= self._bits
        keys |= words[goes_on]
        positions = self._positions[goes_on]
        keys, places = sort_with_positions(keys)
        positions = positions[places]
        begins, sizes = _runs(keys)
        distinct = keys[begins]
        prefixes = (distinct >> self._bits).astype(self._index)
        # both lists rise by prefix, and no prefix is in both: a rank in one is moved by what the other holds before it
        num_prefixes = shorter.words.size
        ranks = np.arange(begins.size) + _before(prefixes, among=single_prefixes, size=num_prefixes)
        single_ranks = np.arange(single_firsts.size) + _before(single_prefixes, among=prefixes, size=num_prefixes)
        is_single = np.zeros(ranks.size + single_ranks.size, dtype=bool)
        is_single[single_ranks] = True

        def merged(of_several: Array, of_singles: Array | int) -> Array:
            both = np.empty(is_single.size, dtype=of_several.dtype)
            both[ranks] = of_several
            both[single_ranks] = of_singles
            return both

        all_prefixes = merged(prefixes, single_prefixes)
        self._firsts = merged(positions[begins], single_firsts)
        counted = OrderCounts(
            order=needed + 1,
            prefixes=all_prefixes,
            words=merged((distinct & self._mask).astype(np.int32), single_words),
            suffixes=self._started[self._firsts + 1],
            counts=merged(sizes, 1),
            opens=shorter.opens[all_prefixes],
        )
        self._ranks = np.repeat(ranks.astype(self._index), sizes)
        self._started = np.full(self._size, -1, dtype=self._index)
        self._started[positions] = self._ranks
        self._started[single_firsts] = single_ranks
        several = np.repeat(sizes > 1, sizes)
        self._positions, self._ranks = positions[several], self._ranks[several]
        return counted


def _runs(keys: Array) -> tuple[Array, Array]:
    """Where each run of equal values begins, and how long it is."""
    is_first = np.empty(keys.size, dtype=bool)
    is_first[:1] = True
    np.not_equal(keys[1:], keys[:-1], out=is_first[1:])
    begins = np.flatnonzero(is_first)
    return begins, np.diff(begins, append=keys.size)


def _before(prefixes: Array, *, among: Array, size: int) -> Array:
    """How many of the rising list `among` lie before each prefix."""
    held = np.bincount(among, minlength=size)
    return (np.cumsum(held) - held)[prefixes]


def sort_with_positions(keys: Array) -> tuple[Array, Array]:
    """Keys in rising order, and where each stood: equal ones in the order they had. Neither is negative."""
    found = torch.sort(torch.from_numpy(keys), stable=True)
    return found.values.numpy(), found.indices.numpy()
