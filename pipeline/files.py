"""Files that are whole or absent, and the hashes that name them.

In: bytes, Arrow tables, JSON values. Out: files that appear under their name only when complete and on disk (written
beside, fsynced, renamed, folder fsynced), sha256 digests, and fingerprints of JSON values.
Trade-off: every write costs an fsync; nothing here is on a hot path.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import uuid
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.errors import StorageError
from pipeline.machine import num_processors

FINGERPRINT_LENGTH = 20
"""Hexadecimal digits of a fingerprint: 80 bits, so a collision among a billion versions has a chance of about 4e-7."""

ROW_GROUP_ROWS = 4096
"""Small row groups keep a reader's memory bounded and give parallel work a grain."""
ROW_GROUP_BYTES = 32_000_000
"""Of text: with this much a row group is closed, however few its rows. Most readers hold one at a time."""

_STORAGE_ERRNOS = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM}


@contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """Turns a full, read-only or forbidden disk under `path` into a StorageError of one sentence; other errors pass."""
    try:
        yield
    except OSError as error:
        if error.errno not in _STORAGE_ERRNOS:
            raise
        reason = os.strerror(error.errno).lower()
        remedy = "Free some space" if error.errno in {errno.ENOSPC, errno.EDQUOT} else "Give this user write permission"
        raise StorageError(
            f"{error.filename or path} cannot be written: {reason}. {remedy} or set `storage` to another folder, "
            "then run again; what was finished before is kept."
        ) from error


def make_folder(folder: Path, *, remedy: str = "Set `storage` to another folder") -> None:
    """Makes the folder and those it lies in, where they are not there.

    Raises:
        StorageError: it cannot be made: a part of its path is a file, or the disk is full, read-only or forbidden.
    """
    with storage_errors(folder):
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, FileNotFoundError, NotADirectoryError) as error:  # /proc says that nothing is there
            reason = "is a file" if folder.is_file() else f"cannot be made: {(error.strerror or str(error)).lower()}"
            raise StorageError(f"The folder {folder} {reason}. {remedy}.") from error


def sha256_file(path: Path) -> str:
    """The sha256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


_verified: dict[tuple[int, int, int, int], str] = {}


def sha256_once(path: Path) -> str:
    """`sha256_file`, computed once a process for a file that stays as it is: device, inode, size and time of change.

    Hard links are one file, so what was verified in the cache is not read again in the version that links it.
    """
    status = path.stat()
    identity = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)
    if identity not in _verified:
        _verified[identity] = sha256_file(path)
    return _verified[identity]


def sha256_of_all(paths: Iterable[Path]) -> list[str | None]:
    """`sha256_once` of each, several at a time; None for a file that is not there.

    Hashing lets go of the interpreter's lock, so threads read as fast as the disk gives.
    """

    def digest(path: Path) -> str | None:
        try:
            return sha256_once(path)
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            return None

    with ThreadPoolExecutor(num_processors()) as pool:
        return list(pool.map(digest, paths))


def canonical_json(value: Any) -> str:
    """One text for one value: keys sorted, no white space, no NaN.

    Raises:
        TypeError: the value holds something JSON cannot say; a fingerprint must not guess.
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def fingerprint(value: Any) -> str:
    """A short hash that is equal exactly when the JSON value is: `fingerprint({"a": 1, "b": 2})` ignores key order."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()[:FINGERPRINT_LENGTH]


def fsync_directory(folder: Path) -> None:
    """Makes the names in a folder durable, so that a rename survives a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def fsync_file(path: Path) -> None:
    """Makes a file's bytes durable."""
    with path.open("rb") as file:
        os.fsync(file.fileno())


def write_bytes(path: Path, data: bytes) -> None:
    """Puts `data` under `path`, whole or not at all, durably; an existing file is replaced in one step.

    Raises:
        StorageError: the disk is full, read-only or forbidden.
    """
    aside = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    with storage_errors(path):
        try:
            with aside.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.replace(aside, path)
            fsync_directory(path.parent)
        finally:
            aside.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """`write_bytes` of UTF-8."""
    write_bytes(path, text.encode())


def write_lines(path: Path, lines: Iterable[str]) -> None:
    """Streams UTF-8 lines, each ended by a line feed, into a file beside, which is then renamed.

    Raises:
        StorageError: the disk is full, read-only or forbidden.
    """
    aside = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    with storage_errors(path):
        try:
            with aside.open("w", encoding="utf-8", newline="\n") as file:
                file.writelines(f"{line}\n" for line in lines)
            fsync_file(aside)
            aside.replace(path)
        finally:
            aside.unlink(missing_ok=True)


def write_json(path: Path, value: Any, *, sort_keys: bool = True) -> None:
    """`write_bytes` of readable JSON, the keys sorted unless their order means something."""
    write_text(path, json.dumps(value, indent=1, sort_keys=sort_keys, ensure_ascii=False, allow_nan=False) + "\n")


def write_parquet(path: Path, batches: pa.Table | Iterable[pa.RecordBatch], schema: pa.Schema | None = None) -> int:
    """Writes rows as zstd Parquet and returns how many; equal rows give equal bytes, however they are batched.

    `batches` is a table, or record batches with their `schema`. The file is written beside and renamed after its row
    count was read back, because an exception inside ParquetWriter's context leaves a valid file with fewer rows.

    Raises:
        StorageError: the disk is full, read-only or forbidden.
    """
    aside = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    with storage_errors(path):
        try:
            num_rows = stream_parquet(aside, batches, schema)
            fsync_file(aside)
            os.replace(aside, path)
            fsync_directory(path.parent)
        finally:
            aside.unlink(missing_ok=True)
    return num_rows


def stream_parquet(path: Path, batches: pa.Table | Iterable[pa.RecordBatch], schema: pa.Schema | None = None) -> int:
    """`write_parquet` into a folder that is committed as a whole, so neither aside nor to disk yet."""
    if isinstance(batches, pa.Table):
        schema, batches = batches.schema, batches.to_batches()
    assert schema is not None, "record batches need their schema"
    num_rows = 0
    # not `schema.empty_table()`: it makes arrays, for which PyArrow imports pandas, a quarter second
    pending, sizes = pa.Table.from_batches([], schema), np.empty(0, dtype=np.int64)
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        for batch in batches:
            num_rows += batch.num_rows
            pending = pa.concat_tables([pending, pa.Table.from_batches([batch], schema)])
            sizes = np.concatenate((sizes, text_bytes(batch)))
            while group := _first_group(sizes):
                writer.write_table(pending.slice(0, group).combine_chunks(), row_group_size=group)
                pending, sizes = pending.slice(group), sizes[group:]
        if pending.num_rows:
            writer.write_table(pending.combine_chunks(), row_group_size=ROW_GROUP_ROWS)
    written = pq.read_metadata(path).num_rows
    assert written == num_rows, f"{path}: {written} rows on disk of {num_rows}"
    return num_rows


def _first_group(sizes: np.ndarray[Any, np.dtype[np.int64]]) -> int:
    """How many rows fill the first row group, 0 where they do not: a function of the rows, however they are batched."""
    rows = int(np.searchsorted(np.cumsum(sizes[:ROW_GROUP_ROWS]), ROW_GROUP_BYTES)) + 1
    return rows if rows <= min(sizes.size, ROW_GROUP_ROWS) else ROW_GROUP_ROWS * (sizes.size >= ROW_GROUP_ROWS)


def text_bytes(batch: pa.RecordBatch) -> np.ndarray[Any, np.dtype[np.int64]]:
    """The UTF-8 bytes of each row's strings, int64."""
    sizes = np.zeros(batch.num_rows, dtype=np.int64)
    for column in batch.columns:
        if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
            sizes += pc.fill_null(pc.binary_length(column), 0).to_numpy(zero_copy_only=False)
    return sizes


def parquet_batches(path: Path, *, columns: Sequence[str], num_rows: int) -> Iterator[pa.RecordBatch]:
    """A file's rows, at most `num_rows` at once, and never of two row groups: a thousand books are a gigabyte."""
    with pq.ParquetFile(path) as file:
        for index in range(file.num_row_groups):
            yield from file.iter_batches(num_rows, row_groups=[index], columns=list(columns))
