"""The same counts as `counting.py` gives, of a stream that does not fit into memory: DuckDB groups it, and spills to disk.

A window is the `order` tokens that begin at a position, packed into 64-bit integers; behind the end of a document it is filled up
with BOS. DuckDB counts the distinct windows and sorts them. In that order the windows that begin with an n-gram stand together,
for every n at once, and the n-grams of each order appear by rank: one pass finds n-grams, counts and prefixes. The rank of the
last n - 1 tokens is that of (rank of the last n - 1 tokens of the prefix, last token) among the shorter ones, found by binary
search.

What has to fit: DuckDB's limit, and nothing that grows with the stream. The distinct n-grams lie in files, about 30 bytes each,
and so does what is estimated from them; the model itself, about 24 bytes for each n-gram that is not pruned, is in memory.
Trade-off: text where no window occurs twice is grouped in vain, which takes longer than sorting it; real text repeats itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from pipeline.corpus.database import Settings, locked
from pipeline.machine import num_processors
from pipeline.models.ngram.counting import OrderCounts, sort_with_positions
from pipeline.models.ngram.scratch import Column, new_in

if TYPE_CHECKING:
    from jaxtyping import Int

Array = np.ndarray[Any, Any]
THREAD_BYTES = 125_000_000
"""Memory that one of DuckDB's threads needs to sort with, by its manual."""
_READ_TOKENS = 1 << 18
_SORTED_ROWS = 1 << 17
_SEARCH_BYTES = 64
"""Memory for each n-gram that is looked up at a time."""
_COUNT = "SELECT {columns}, count(*) AS count FROM windows GROUP BY {columns} ORDER BY {columns}"


def count_out_of_core(
    parts: Sequence[Int[Array, " tokens"]],
    *,
    order: int,
    vocab_size: int,
    bos_id: int,
    folder: Path,
    memory_bytes: int,
    where: str,
) -> Iterator[OrderCounts]:
    """Counts of orders 1 to `order` of the stream that the parts are one after the other, as `count_ngrams` gives them.

    DuckDB takes at most `memory_bytes` and spills under `folder`, where the counts lie too, in files without a name; `where`
    names the work in errors.

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
    packing = _Packing(order, vocab_size)
    is_long = sum(part.size for part in parts) >= 2**31
    windows = pa.RecordBatchReader.from_batches(packing.schema, packing.windows(parts, bos_id))
    with ExitStack() as files:
        growing = [_Growing(length, packing.bits, folder, files, is_long=is_long) for length in range(2, order + 1)]
        previous = np.full(order, -1)
        for batch in _counted(windows, folder / "sorting", memory_bytes, where):
            words = packing.words(batch.columns[:-1])
            _add(words, batch.columns[-1].to_numpy(), previous, growing, bos_id)
            previous = words[:, -1]
        suffixes = ordered = np.empty(0, dtype=np.int64)
        for found in growing:
            at_once = max(1, memory_bytes // _SEARCH_BYTES)
            counted, ordered = found.counted(suffixes, ordered, folder=folder, at_once=at_once)
            suffixes = counted.suffixes
            yield counted


def _unigrams(parts: Sequence[Array], *, vocab_size: int, bos_id: int) -> OrderCounts:
    counts = np.zeros(vocab_size, dtype=np.int64)
    for block in _read(parts):
        counts += np.bincount(block, minlength=vocab_size)
    none = np.zeros(vocab_size, dtype=np.int32)
    words = np.arange(vocab_size, dtype=np.int32)
    return OrderCounts(order=1, prefixes=none, words=words, suffixes=none, counts=counts, opens=words == bos_id)


def _read(parts: Sequence[Array]) -> Iterator[Array]:
    for part in parts:
        for begin in range(0, part.size, _READ_TOKENS):
            yield part[begin : begin + _READ_TOKENS].astype(np.int64)


class _Packing:
    """How the tokens of a window share integers: as many as fit each, the first ones in the highest bits."""

    def __init__(self, order: int, vocab_size: int) -> None:
        self.bits = max(1, (vocab_size - 1).bit_length())
        self._order, self._each = order, 63 // self.bits
        num_columns = -(-order // self._each)
        self.schema = pa.schema([pa.field(f"tokens_{n}", pa.int64(), nullable=False) for n in range(num_columns)])

    def windows(self, parts: Sequence[Array], bos_id: int) -> Iterator[pa.RecordBatch]:
        """One for each position of the stream."""
        tail = np.empty(0, dtype=np.int64)
        for block in chain(_read(parts), [np.full(self._order - 1, bos_id)]):
            words = np.concatenate((tail, block))
            num_windows = max(0, words.size - self._order + 1)
            tail = words[num_windows:]
            if num_windows:
                yield pa.RecordBatch.from_arrays(self._keys(words, num_windows, bos_id), schema=self.schema)

    def _keys(self, words: Array, num_windows: int, bos_id: int) -> list[pa.Array]:
        keys: list[Array] = []
        has_ended = np.zeros(num_windows, dtype=bool)
        for offset in range(self._order):
            following = words[offset : offset + num_windows]
            if offset:
                has_ended |= following == bos_id
                following = np.where(has_ended, bos_id, following)
            if offset % self._each:
                keys[-1] <<= self.bits
                keys[-1] |= following
            else:
                keys.append(following.copy())
        return [pa.array(column) for column in keys]

    def words(self, keys: list[pa.Array]) -> Int[Array, "order windows"]:
        """The inverse: the first tokens of all windows, then the second ones."""
        columns = [column.to_numpy() for column in keys]
        words = np.empty((self._order, columns[0].size), dtype=np.int64)
        for offset in range(self._order):
            column, place = divmod(offset, self._each)
            behind = min(self._each, self._order - column * self._each) - place - 1
            np.right_shift(columns[column], behind * self.bits, out=words[offset])
        words &= (1 << self.bits) - 1
        return words


def _counted(windows: pa.RecordBatchReader, folder: Path, memory_bytes: int, where: str) -> Iterator[pa.RecordBatch]:
    settings: dict[str, Settings] = {
        "memory_limit": f"{memory_bytes // 1_000_000}MB",
        "threads": max(1, min(num_processors(), memory_bytes // THREAD_BYTES)),
    }
    with locked(folder, files=(), where=where, settings=settings) as connection:
        connection.register("windows", windows)
        found = connection.sql(_COUNT.format(columns=", ".join(windows.schema.names)))
        yield from (batch for batch in found.to_arrow_reader(_SORTED_ROWS) if batch.num_rows)


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
