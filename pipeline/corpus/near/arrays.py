"""numpy <-> Arrow without copies, by buffers: pyarrow's own conversions import pandas, 0.3 s in every worker."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa

_TYPES = {"int32": pa.int32(), "int64": pa.int64(), "uint64": pa.uint64(), "float64": pa.float64()}

Numbers = npt.NDArray[np.int64]


def to_arrow(values: npt.NDArray[np.int32 | np.int64 | np.uint64 | np.float64]) -> pa.Array:
    """An array of one dimension, without nulls."""
    return pa.Array.from_buffers(
        _TYPES[values.dtype.name], len(values), [None, pa.py_buffer(np.ascontiguousarray(values))]
    )


def to_lists(values: npt.NDArray[np.uint64], lengths: Numbers) -> pa.Array:
    """A list a row: the next `lengths[row]` of `values`."""
    ends = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
    return pa.ListArray.from_arrays(to_arrow(ends), to_arrow(values))


def int64_of(table: pa.Table, column: str) -> Numbers:
    """A column of 64-bit integers without nulls, as a new array."""
    found: list[Numbers] = []
    for chunk in table[column].chunks:
        assert chunk.type == pa.int64() and chunk.null_count == 0, f"{column}: {chunk.type}, {chunk.null_count} nulls"
        if len(chunk):
            found.append(np.frombuffer(chunk.buffers()[1], np.int64)[chunk.offset : chunk.offset + len(chunk)])
    return np.concatenate(found) if found else np.empty(0, np.int64)
