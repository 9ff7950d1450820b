"""Rows of Parquet files in another order, whatever their texts weigh.

In: where each wanted row lies, in the order asked for. Out: those rows, in batches of bounded bytes. DuckDB sorts the narrow
columns alone: it sorts in vectors of 2,048 rows that have to fit its limit, and 2,048 books of a megabyte do not. The rows are
copied once, row group by row group, into a file that is mapped, and picked from there.
Trade-off: the text of a bin is written to a scratch file first, 2 to 4 MB of it where documents come from small files.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.corpus.near.arrays import Numbers, int64_of, to_arrow
from pipeline.files import text_bytes

BATCH_ROWS = 1024
BATCH_BYTES = 8_000_000
"""Of text in a batch, about, unless one row alone has more."""


def rows_in_order(places: pa.Table, schema: pa.Schema, scratch: Path) -> Iterator[pa.RecordBatch]:
    """The rows of `places` (`filename`, `file_row_number`, each once) in its order, as batches of `schema`.

    `scratch` is a folder that is there, where a file as large as the rows is left.
    """
    if not places.num_rows:
        return
    names = places["filename"].combine_chunks().dictionary_encode()
    numbers, files = names.indices.to_numpy(), [Path(name) for name in names.dictionary.to_pylist()]
    rows = int64_of(places, "file_row_number")
    by_place = np.lexsort((rows, numbers))
    copied = np.empty(rows.size, dtype=np.int64)  # where each one lies in the scratch file
    copied[by_place] = np.arange(rows.size)
    begins = np.flatnonzero(np.diff(numbers[by_place], prepend=-1)).tolist()
    wanted = [(files[numbers[by_place[begin]]], rows[by_place[begin:end]]) for begin, end in _spans(begins, rows.size)]
    sizes = []
    path = scratch / "rows.arrow"
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, schema) as writer:
        for batch in _large(batch for file, of_file in wanted for batch in _rows_of(file, of_file, schema)):
            writer.write_batch(batch)
            sizes.append(text_bytes(batch))
    fill = np.cumsum(np.concatenate(sizes)[copied]) // BATCH_BYTES
    starts = np.flatnonzero(np.diff(fill, prepend=-1)).tolist()
    with pa.memory_map(str(path)) as mapped:
        reader = pa.ipc.open_file(mapped)
        chunks = [reader.get_batch(index) for index in range(reader.num_record_batches)]
        for begin, end in _spans(starts, rows.size):
            for start in range(begin, end, BATCH_ROWS):
                yield _picked(chunks, copied[start : min(start + BATCH_ROWS, end)])


def _spans(begins: list[int], end: int) -> Iterator[tuple[int, int]]:
    """Where each part begins and ends."""
    return pairwise([*begins, end])


def _large(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """The same rows, put together up to about BATCH_BYTES: picking from many small batches takes long."""
    pending: list[pa.RecordBatch] = []
    num_bytes = 0
    for batch in batches:
        pending.append(batch)
        num_bytes += batch.nbytes
        if num_bytes >= BATCH_BYTES:
            yield from pa.Table.from_batches(pending).combine_chunks().to_batches()
            pending, num_bytes = [], 0
    if pending:
        yield from pa.Table.from_batches(pending).combine_chunks().to_batches()


def _rows_of(file: Path, wanted: Numbers, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    """The wanted rows (ascending) of a file, one batch for each row group that has some."""
    first = 0
    with pq.ParquetFile(file) as parquet:
        for index in range(parquet.num_row_groups):
            end = first + parquet.metadata.row_group(index).num_rows
            inside = wanted[(wanted >= first) & (wanted < end)] - first
            if inside.size:
                group = parquet.read_row_group(index, columns=schema.names, use_threads=False)
                picked = group.select(schema.names).cast(schema).combine_chunks().take(to_arrow(inside))
                yield from picked.combine_chunks().to_batches()
            first = end


def _picked(chunks: Sequence[pa.RecordBatch], places: npt.NDArray[np.int64]) -> pa.RecordBatch:
    """The rows at these places of the chunks end to end, in this order."""
    ends = np.cumsum([chunk.num_rows for chunk in chunks])
    of_chunk = np.searchsorted(ends, places, side="right")
    order = np.argsort(of_chunk, kind="stable")
    parts = []
    for number in np.unique(of_chunk).tolist():
        local = places[order[of_chunk[order] == number]] - (int(ends[number]) - chunks[number].num_rows)
        parts.append(chunks[number].take(to_arrow(local)))
    back = np.empty(order.size, dtype=np.int64)
    back[order] = np.arange(order.size)
    return pa.Table.from_batches(parts).combine_chunks().to_batches()[0].take(to_arrow(back))
