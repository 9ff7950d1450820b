"""Token ids of many documents -> the distinct n-grams of every order with their counts.

An n-gram is named by its rank among those of its order, sorted by (rank of its first n - 1 tokens, last token). Among the sorted
windows of the stream (windows.py) those that begin with an n-gram stand together, for every n at once, and the n-grams of each
order appear by rank: one pass finds n-grams, counts and prefixes. The rank of the last n - 1 tokens is that of (rank of the last
n - 1 tokens of the prefix, last token) among the shorter ones, found by binary search.

What has to fit: DuckDB's limit, and nothing that grows with the stream. The distinct n-grams lie in files, about 30 bytes
each; the model itself, about 24 bytes for each n-gram that is not pruned, is in memory.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from pipeline.models.ngram.scratch import Column, new_in
from pipeline.models.ngram.windows import Packing, read, sorted_windows

if TYPE_CHECKING:
    from jaxtyping import Int

Array = np.ndarray[Any, Any]
_SEARCH_BYTES = 64
"""Memory for each n-gram that is looked up at a time."""


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


def count_ngrams(
    parts: Sequence[Int[Array, " tokens"]],
    *,
    order: int,
    vocab_size: int,
    bos_id: int,
    folder: Path,
    memory_bytes: int,
    where: str,
) -> Iterator[OrderCounts]:
    """Counts of orders 1 to `order` of the stream that the parts are one after the other.

    Every document begins with BOS, and no n-gram spans two documents. A unigram's rank is its token id, whether it occurs or
    not. DuckDB takes at most `memory_bytes` and spills under `folder`, where the counts lie too, in files without a name;
    `where` names the work in errors.

    Raises:
        ValueError: the tokens do not begin with BOS, or there are none.
        StageError: the limit is too small to sort with.
        StorageError: the disk is full, read-only or forbidden.
    """
    parts = [part for part in parts if part.size]
    if not parts or int(parts[0][0]) != bos_id:
        raise ValueError("every document must begin with the BOS token")
    yield _unigrams(parts, vocab_size=vocab_size, bos_id=bos_id)
    if order == 1:
        return
    folder.mkdir(parents=True, exist_ok=True)
    packing = Packing(order, vocab_size)
    is_long = sum(part.size for part in parts) >= 2**31
    with ExitStack() as files:
        growing = [_Growing(length, packing.bits, folder, files, is_long=is_long) for length in range(2, order + 1)]
        previous = np.full(order, -1)
        for words, counts in sorted_windows(
            parts, packing, bos_id=bos_id, folder=folder / "sorting", memory_bytes=memory_bytes, where=where
        ):
            _add(words, counts, previous, growing, bos_id)
            previous = words[:, -1]
        suffixes = ordered = np.empty(0, dtype=np.int64)
        for found in growing:
            at_once = max(1, memory_bytes // _SEARCH_BYTES)
            counted, ordered = found.counted(suffixes, ordered, folder=folder, at_once=at_once)
            suffixes = counted.suffixes
            yield counted


def _unigrams(parts: Sequence[Array], *, vocab_size: int, bos_id: int) -> OrderCounts:
    counts = np.zeros(vocab_size, dtype=np.int64)
    for block in read(parts):
        counts += np.bincount(block, minlength=vocab_size)
    none = np.zeros(vocab_size, dtype=np.int32)
    words = np.arange(vocab_size, dtype=np.int32)
    return OrderCounts(order=1, prefixes=none, words=words, suffixes=none, counts=counts, opens=words == bos_id)


class _Growing:
    """The n-grams of one order, as they appear."""

    def __init__(self, order: int, bits: int, folder: Path, files: ExitStack, *, is_long: bool) -> None:
        self._order, self._bits = order, bits
        self._index: type[np.signedinteger[Any]] = np.int64 if is_long else np.int32
        kinds = (self._index, np.int32, np.int64, np.bool_, np.int64)
        columns = [files.enter_context(Column(folder, kind)) for kind in kinds]
        self._prefixes, self._words, self._counts, self._opens, self._keys = columns
        self._size = 0
        self._last_count = np.zeros(1, dtype=np.int64)  # of the n-gram before the next new one: in the end, of the last

    def add(
        self, prefixes: Array, words: Array, counts: Array, *, begins: Array, is_whole: Array, is_opening: Array
    ) -> Array:
        """Takes what a number of sorted windows add, and gives the rank of the n-gram at the head of each window.

        `begins` says where an n-gram stands for the first time, `is_whole` where there is one: elsewhere ranks mean nothing.
        """
        ranks = np.cumsum(begins)  # 0 for the last n-gram before these windows
        sizes = np.bincount(ranks, weights=counts * is_whole).astype(np.int64)  # exact: below 2**53
        sizes[0] += self._last_count[0]
        self._counts.append(sizes[:-1])
        self._last_count = sizes[-1:]
        prefixes, words = prefixes[begins], words[begins]
        self._prefixes.append(prefixes)
        self._words.append(words)
        self._keys.append((prefixes << self._bits) | words)
        self._opens.append(is_opening[begins])
        ranks += self._size - 1
        self._size += words.size
        return ranks

    def counted(self, suffixes: Array, keys: Array, *, folder: Path, at_once: int) -> tuple[OrderCounts, Array]:
        """What was found, and the keys (prefix, last token) by rank, given suffixes and keys of the shorter n-grams."""
        self._counts.append(self._last_count)
        prefixes, words = self._prefixes.whole(), self._words.whole()
        found = words if self._order == 2 else new_in(folder)(words.size, self._index)
        for begin in range(0, words.size if self._order > 2 else 0, at_once):
            part = slice(begin, begin + at_once)
            asked = (suffixes[prefixes[part]].astype(np.int64) << self._bits) | words[part]
            asked, places = sort_with_positions(asked)  # so that searching goes through the keys once
            found[part][places] = np.searchsorted(keys, asked)
        counted = OrderCounts(
            order=self._order,
            prefixes=prefixes,
            words=words,
            suffixes=found,
            counts=self._counts.whole()[1:],  # before the first n-gram stands none
            opens=self._opens.whole(),
        )
        return counted, self._keys.whole()


def _add(
    words: Int[Array, "order windows"],
    counts: Int[Array, " windows"],
    previous: Int[Array, " order"],
    growing: list[_Growing],
    bos_id: int,
) -> None:
    """Finds the n-grams of every order in windows that follow `previous` in sorted order."""
    before = np.concatenate((previous[:, None], words[:, :-1]), axis=1)
    ranks = words[0]
    is_opening = words[0] == bos_id
    differs = words[0] != before[0]
    is_whole = np.ones_like(differs)
    for found, last, last_before in zip(growing, words[1:], before[1:], strict=True):
        differs |= last != last_before
        is_whole &= last != bos_id
        ranks = found.add(ranks, last, counts, begins=differs & is_whole, is_whole=is_whole, is_opening=is_opening)


def sort_with_positions(keys: Array) -> tuple[Array, Array]:
    """Keys in rising order, and where each stood: equal ones in the order they had. Neither is negative."""
    found = torch.sort(torch.from_numpy(keys), stable=True)
    return found.values.numpy(), found.indices.numpy()
