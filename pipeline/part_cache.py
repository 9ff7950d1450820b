"""Parts: the unit of reuse inside raw and clean documents, so that 1 % new files cost about 1 % of the work.

In: one file's worth of input and the key that names its content and settings. Out: a folder `parts/<key>/` beside the
stage's versions with `documents.parquet`, `rejects.parquet` and `part.json`, hard-linked into each version that holds
the part.

- A part appears by one rename, after its files were read back, its ledger balanced and everything is on disk.
- `part.json` has each file's size and sha256; a part that does not match is dropped and built again. That covers the
  versions too: a linked file is the same file, so damage in one is damage in both.
- A part's folder has the time when the part was last used, by which `pruning` knows what no version needs.
- Rows are streamed: a row group is closed by rows or by bytes, whichever comes first, so memory stays bounded.

Trade-off: verifying reads every part once a process (about 1 GB/s a core), the price of noticing a flipped bit.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.artifacts import Draft, remove_abandoned
from pipeline.config import EngineConfig
from pipeline.engine import IN_THIS_PROCESS, map_parts
from pipeline.errors import StorageError
from pipeline.files import (
    ROW_GROUP_BYTES,
    ROW_GROUP_ROWS,
    fsync_directory,
    fsync_file,
    sha256_of_all,
    sha256_once,
    storage_errors,
)
from pipeline.progress import Progress
from pipeline.records import REJECT_SCHEMA, Ledger

DOCUMENTS, REJECTS = "documents", "rejects"
SMALL_WORK_BYTES = 2_000_000
"""Less than this is done in this process: starting workers would take longer."""
EXCERPT_CHARACTERS = 200

_PART_MANIFEST = "part.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class PartFile:
    """One of a part's tables."""

    num_bytes: int
    num_rows: int
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CachedPart:
    """A committed, verified part."""

    key: str
    folder: Path
    files: Mapping[str, PartFile]
    ledger: Ledger
    account: Mapping[str, Any]
    """What the stage wants to report without reading the tables again; JSON values."""

    def table(self, name: str) -> Path:
        """The Parquet file of `documents`, `rejects`, or another that the part has."""
        return self.folder / f"{name}.parquet"


class PartTask(Protocol):
    """What a worker needs to build one part; it is pickled."""

    @property
    def key(self) -> str: ...

    @property
    def num_bytes(self) -> int: ...

    @property
    def description(self) -> str:
        """What a person calls the part."""


Task = TypeVar("Task", bound=PartTask)


def reject_row(
    *,
    stage: str,
    source: str,
    path: str,
    index: int,
    reason: str,
    detail: str,
    num_bytes: int,
    id: str | None = None,  # noqa: A002 - the column's name
    excerpt: str | None = None,
    value: float | None = None,
    threshold: float | None = None,
) -> dict[str, Any]:
    """A row of REJECT_SCHEMA; text that UTF-8 cannot say is replaced, and the excerpt is cut."""

    def sayable(text: str) -> str:
        return text.encode("utf-8", "replace").decode()

    return {
        "stage": stage,
        "source": source,
        "path": path,
        "index": index,
        "id": id,
        "reason": reason,
        "detail": sayable(detail),
        "value": value,
        "threshold": threshold,
        "cluster_id": None,
        "num_bytes": num_bytes,
        "excerpt": None if excerpt is None else sayable(excerpt[:EXCERPT_CHARACTERS]),
    }


class PartWriter:
    """Streams one part's rows into its two tables; obtained by the `fill` of `write_part`."""

    def __init__(self, folder: Path, schema: pa.Schema) -> None:
        self.taken = Ledger()
        self._tables = {DOCUMENTS: _Table(folder, DOCUMENTS, schema), REJECTS: _Table(folder, REJECTS, REJECT_SCHEMA)}
        self._rejects: list[dict[str, Any]] = []

    def take(self, *, documents: int = 1, num_bytes: int) -> None:
        """Counts input, before it is known what becomes of it."""
        self.taken.take(documents=documents, num_bytes=num_bytes)

    def keep(self, batch: pa.RecordBatch) -> None:
        """Adds documents."""
        self._tables[DOCUMENTS].add(batch)

    def reject(self, row: dict[str, Any]) -> None:
        """Adds a row of `reject_row`."""
        self._rejects.append(row)
        if len(self._rejects) >= 1000:
            self._flush_rejects()

    def _flush_rejects(self) -> None:
        if self._rejects:
            self._tables[REJECTS].add(pa.RecordBatch.from_pylist(self._rejects, REJECT_SCHEMA))
            self._rejects = []

    def close(self) -> dict[str, int]:
        """Ends both tables and returns their rows."""
        self._flush_rejects()
        return {name: table.close() for name, table in self._tables.items()}

    def abandon(self) -> None:
        """Closes the file handles of a part that failed."""
        for table in self._tables.values():
            table.abandon()


class _Table:
    """A Parquet file written in row groups of bounded rows and bytes."""

    def __init__(self, folder: Path, name: str, schema: pa.Schema) -> None:
        self._schema = schema
        self._writer = pq.ParquetWriter(folder / f"{name}.parquet", schema, compression="zstd")
        self._pending: list[pa.RecordBatch] = []
        self._pending_rows = self._pending_bytes = self._num_rows = 0

    def add(self, batch: pa.RecordBatch) -> None:
        self._pending.append(batch)
        self._pending_rows += batch.num_rows
        self._pending_bytes += batch.nbytes
        if self._pending_rows >= ROW_GROUP_ROWS or self._pending_bytes >= ROW_GROUP_BYTES:
            self._flush()

    def _flush(self) -> None:
        if self._pending_rows:
            table = pa.Table.from_batches(self._pending, self._schema).combine_chunks()
            self._writer.write_table(table, row_group_size=table.num_rows)
            self._num_rows += table.num_rows
        self._pending = []
        self._pending_rows = self._pending_bytes = 0

    def close(self) -> int:
        self._flush()
        self._writer.close()
        return self._num_rows

    def abandon(self) -> None:
        try:
            self._writer.close()
        except (OSError, pa.ArrowException):
            return  # the disk that failed the write fails the footer too; the first error is the one that counts


def write_part(
    parts_folder: Path,
    key: str,
    *,
    schema: pa.Schema,
    bytes_column: str,
    where: str,
    fill: Callable[[PartWriter], Mapping[str, Any]],
) -> CachedPart:
    """Builds the part `key` and commits it by one rename; what `fill` returns is kept as its account.

    `bytes_column` is the documents' column that counts input bytes in the ledger; `where` names the part in errors. Of
    two processes that build the same part the first wins and both get it.

    Raises:
        StageError: the rows on disk do not account for everything that was taken.
        StorageError: the disk is full, read-only or forbidden.
    """

    def write(staging: Path) -> Tables:
        writer = PartWriter(staging, schema)
        try:
            account = dict(fill(writer))
            rows = writer.close()
        except BaseException:
            writer.abandon()
            raise
        ledger = _read_back(staging, rows, writer.taken, bytes_column=bytes_column)
        return Tables(rows=rows, ledger=ledger, account=account)

    return write_tables(parts_folder, key, where=where, write=write)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tables:
    """What was written of a part: `<name>.parquet` each, and their account."""

    rows: Mapping[str, int]
    """Name of a table -> its rows."""
    ledger: Ledger
    account: Mapping[str, Any]


def write_tables(parts_folder: Path, key: str, *, where: str, write: Callable[[Path], Tables]) -> CachedPart:
    """Commits by one rename what `write` puts into a folder that is its own; of two equal parts the first wins.

    Raises:
        StageError: the ledger does not balance; `where` names the part.
        StorageError: the disk is full, read-only or forbidden.
    """
    with storage_errors(parts_folder):
        parts_folder.mkdir(parents=True, exist_ok=True)
        staging = aside(parts_folder, key)
        staging.mkdir()
        try:
            written = write(staging)
            written.ledger.check(where)
            files = {name: _describe(staging / f"{name}.parquet", num_rows) for name, num_rows in written.rows.items()}
            ledger = written.ledger.to_json()
            record = {"key": key, "files": files, "ledger": ledger, "account": dict(written.account)}
            manifest = staging / _PART_MANIFEST
            manifest.write_text(json.dumps(record, indent=1, sort_keys=True, ensure_ascii=False), encoding="utf-8")
            for path in staging.iterdir():
                fsync_file(path)
            fsync_directory(staging)
            return _publish(staging, parts_folder / key)
        finally:
            shutil.rmtree(staging, ignore_errors=True)


def aside(parts_folder: Path, key: str) -> Path:
    """A new name that `remove_abandoned` recognises when this process is gone."""
    return parts_folder / f".draft-{key}-{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"


def _read_back(folder: Path, rows: Mapping[str, int], taken: Ledger, *, bytes_column: str) -> Ledger:
    """The ledger of what lies on disk: counted again from the files, not from what was meant to be written."""
    ledger = Ledger()
    ledger.merge(taken)
    for row in _read_columns(folder, DOCUMENTS, [bytes_column], rows):
        ledger.keep(num_bytes=row[bytes_column])
    for row in _read_columns(folder, REJECTS, ["reason", "num_bytes"], rows):
        ledger.reject(row["reason"], num_bytes=row["num_bytes"])
    return ledger


def _read_columns(folder: Path, name: str, columns: list[str], rows: Mapping[str, int]) -> Iterator[dict[str, Any]]:
    with pq.ParquetFile(folder / f"{name}.parquet") as file:
        on_disk = file.metadata.num_rows
        assert on_disk == rows[name], f"{folder}: {on_disk} {name} on disk of {rows[name]}"
        for batch in file.iter_batches(columns=columns, use_threads=False) if on_disk else ():
            yield from batch.to_pylist()


def _describe(path: Path, num_rows: int) -> dict[str, Any]:
    return asdict(PartFile(num_bytes=path.stat().st_size, num_rows=num_rows, sha256=sha256_once(path)))


def _publish(staging: Path, final: Path) -> CachedPart:
    for _ in range(3):
        existing = load_part(final)
        if existing is not None:
            return existing
        if final.exists():  # damaged: a cache is rebuilt, and the version that showed the damage keeps the evidence
            damaged = aside(final.parent, final.name)
            os.rename(final, damaged)
            shutil.rmtree(damaged, ignore_errors=True)
        try:
            os.rename(staging, final)
        except OSError:
            if final.exists():
                continue
            raise
        fsync_directory(final.parent)
        part = load_part(final)
        if part is not None:
            return part
    raise StorageError(f"{final} keeps being changed by another process; stop it and run again.")


def load_part(folder: Path) -> CachedPart | None:
    """The part if every byte of it is as it was committed; None where it is missing or damaged."""
    try:
        record = json.loads((folder / _PART_MANIFEST).read_text(encoding="utf-8"))
        part = CachedPart(
            key=record["key"],
            folder=folder,
            files={name: PartFile(**entry) for name, entry in record["files"].items()},
            ledger=Ledger.from_json(record["ledger"]),
            account=record["account"],
        )
        for name, file in part.files.items():
            path = part.table(name)
            if path.stat().st_size != file.num_bytes or sha256_once(path) != file.sha256:
                return None
    except (FileNotFoundError, NotADirectoryError, ValueError, KeyError, TypeError):
        return None
    if part.key != folder.name:
        return None
    with suppress(OSError):  # of somebody else's, on a disk that is read-only
        os.utime(folder)
    return part


def load_parts(parts_folder: Path, keys: Iterable[str]) -> dict[str, CachedPart]:
    """Those of the parts that are there and whole; their files are read several at a time."""
    folders = [folder for key in keys if (folder := parts_folder / key).is_dir()]
    sha256_of_all(path for folder in folders for path in folder.glob("*.parquet"))
    return {folder.name: part for folder in folders if (part := load_part(folder)) is not None}


@dataclass(frozen=True, slots=True, kw_only=True)
class BuiltParts:
    """Every part of a version, in the order asked for, and how many of them had to be built."""

    parts: Sequence[CachedPart]
    num_built: int


def build_parts(
    tasks: Sequence[Task],
    build: Callable[[Task], CachedPart],
    *,
    parts_folder: Path,
    engine: EngineConfig,
    progress: Progress,
    small_work_bytes: int | None = None,
) -> BuiltParts:
    """The parts of `tasks`: those that are there and whole as they are, the others by `build`, largest first.

    Below `small_work_bytes` in all (None: SMALL_WORK_BYTES) they are built in this process.

    Raises:
        StageError: a part failed at every try; the others are built.
        StorageError: the disk is full, read-only or forbidden.
    """
    with storage_errors(parts_folder):
        parts_folder.mkdir(parents=True, exist_ok=True)
    remove_abandoned(parts_folder)
    found = load_parts(parts_folder, [task.key for task in tasks])
    missing = sorted((task for task in tasks if task.key not in found), key=lambda task: (-task.num_bytes, task.key))
    num_bytes = sum(task.num_bytes for task in missing)
    limit = SMALL_WORK_BYTES if small_work_bytes is None else small_work_bytes
    built = map_parts(
        build,
        missing,
        engine=IN_THIS_PROCESS if num_bytes < limit else engine,
        describe=lambda task: task.description,
        progress=progress,
        sizes=[task.num_bytes for task in missing],
    )
    found |= {part.key: part for part in built}
    return BuiltParts(parts=[found[task.key] for task in tasks], num_built=len(missing))


def link_parts(parts: Sequence[CachedPart], draft: Draft) -> dict[str, int]:
    """Puts the parts' tables into a draft as `documents/<key>.parquet` and `rejects/<key>.parquet`; rows by file."""
    rows = {}
    for part in parts:
        for name, file in part.files.items():
            relative = f"{name}/{part.key}.parquet"
            link_table(part.table(name), draft.path(relative))
            rows[relative] = file.num_rows
    return rows


def link_table(source: Path, target: Path) -> None:
    """The same file under another name; a copy where the filesystem has no hard links."""
    try:
        os.link(source, target)
    except OSError:  # another filesystem, or one without hard links
        shutil.copyfile(source, target)


def reject_table(ledger: Ledger) -> list[dict[str, int | str]]:
    """Reason, documents and bytes, the most frequent first."""
    rejected = sorted(ledger.rejected.items(), key=lambda item: (-item[1].documents, item[0]))
    return [{"reason": reason, "documents": c.documents, "bytes": c.num_bytes} for reason, c in rejected]
