"""Token ids -> the distinct windows of some consecutive tokens with their counts, in sorted order.

A window is the `order` tokens that begin at a position, packed into 64-bit integers; behind the end of a document it is filled up
with BOS. DuckDB counts and sorts them, and spills to disk what its limit does not hold.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from pipeline.corpus.database import Settings, locked
from pipeline.machine import num_processors

if TYPE_CHECKING:
    from jaxtyping import Int

Array = np.ndarray[Any, Any]
THREAD_BYTES = 125_000_000
"""Memory that one of DuckDB's threads needs to sort with, by its manual."""
_READ_TOKENS = 1 << 18
_SORTED_ROWS = 1 << 17
_COUNT = "SELECT {columns}, count(*) AS count FROM windows GROUP BY {columns} ORDER BY {columns}"


class Packing:
    """How the tokens of a window share integers: as many as fit each, the first ones in the highest bits."""

    def __init__(self, order: int, vocab_size: int) -> None:
        self.bits = max(1, (vocab_size - 1).bit_length())
        self._order, self._each = order, 63 // self.bits
        num_columns = -(-order // self._each)
        self.schema = pa.schema([pa.field(f"tokens_{n}", pa.int64(), nullable=False) for n in range(num_columns)])

    def windows(self, parts: Sequence[Array], bos_id: int) -> Iterator[pa.RecordBatch]:
        """One for each position of the stream."""
        tail = np.empty(0, dtype=np.int64)
        for block in chain(read(parts), [np.full(self._order - 1, bos_id)]):
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


def sorted_windows(
    parts: Sequence[Int[Array, " tokens"]],
    packing: Packing,
    *,
    bos_id: int,
    folder: Path,
    memory_bytes: int,
    where: str,
) -> Iterator[tuple[Int[Array, "order windows"], Int[Array, " windows"]]]:
    """The distinct windows of the stream that the parts are one after the other, and how often each occurs, block by block.

    DuckDB takes at most `memory_bytes` and spills into `folder`, which is gone afterwards; `where` names the work in errors.

    Raises:
        StageError: the limit is too small to sort with.
        StorageError: the disk is full, read-only or forbidden.
    """
    settings: dict[str, Settings] = {
        "memory_limit": f"{memory_bytes // 1_000_000}MB",
        "threads": max(1, min(num_processors(), memory_bytes // THREAD_BYTES)),
    }
    windows = pa.RecordBatchReader.from_batches(packing.schema, packing.windows(parts, bos_id))
    with locked(folder, files=(), where=where, settings=settings) as connection:
        connection.register("windows", windows)
        found = connection.sql(_COUNT.format(columns=", ".join(windows.schema.names)))
        for batch in found.to_arrow_reader(_SORTED_ROWS):
            if batch.num_rows:
                yield packing.words(batch.columns[:-1]), batch.columns[-1].to_numpy()


def read(parts: Sequence[Array]) -> Iterator[Array]:
    """The tokens in order, int64, block by block: the parts may lie on disk."""
    for part in parts:
        for begin in range(0, part.size, _READ_TOKENS):
            yield part[begin : begin + _READ_TOKENS].astype(np.int64)
