"""Arrays that live in files without a name: they take room on the disk in place of memory, and are gone with their last user.

Trade-off: what is mapped is read through the page cache, so a machine with memory to spare loses little, and one without
reads the disk.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import numpy as np

from pipeline.files import storage_errors

Array = np.ndarray[Any, Any]
NewArray = Callable[[int, type[np.generic]], Array]
"""Makes an array of a length and a kind, whatever it holds: `np.empty`, or `new_in(folder)`."""


def new_in(folder: Path) -> NewArray:
    """Makes arrays that lie under `folder`, which is there.

    Raises, from the function it gives:
        StorageError: the disk is full, read-only or forbidden.
    """

    def new(size: int, kind: type[np.generic]) -> Array:
        if not size:
            return np.empty(0, dtype=kind)
        with storage_errors(folder), tempfile.TemporaryFile(dir=folder) as file:
            if sys.platform == "linux":  # writing into a hole that the disk has no room for would end the process
                os.posix_fallocate(file.fileno(), 0, size * np.dtype(kind).itemsize)
            return np.asarray(np.memmap(file, dtype=kind, mode="r+", shape=(size,)))

    return new


class Column:
    """An array that grows at its end; leaving its `with` closes the file, which what `whole` gave outlives."""

    def __init__(self, folder: Path, kind: type[np.generic]) -> None:
        self._folder, self._kind, self._size = folder, kind, 0
        with storage_errors(folder):
            self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - closed by __exit__

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def append(self, values: Array) -> None:
        """Adds values, converted to the column's kind.

        Raises:
            StorageError: the disk is full, read-only or forbidden.
        """
        with storage_errors(self._folder):
            self._file.write(np.ascontiguousarray(values, dtype=self._kind).data)
        self._size += values.size

    def whole(self) -> Array:
        """All that was added, mapped; nothing can be added after that."""
        if not self._size:
            return np.empty(0, dtype=self._kind)
        with storage_errors(self._folder):
            self._file.flush()
            return np.asarray(np.memmap(self._file, dtype=self._kind, mode="r+", shape=(self._size,)))
