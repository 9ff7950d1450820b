"""DuckDB over Parquet: an in-memory database that reads the named folders alone and spills into the draft's own.

The settings are locked, so that no value in a statement can reach another file. Every `read_parquet` turns off
`hive_partitioning`, for which there is no setting: a folder `language=de` on the way to the storage would replace the
column of that name. (PyArrow fails on such a folder where it reads several files without `partitioning=None`.)
Trade-off: the memory limit is a constant and not a share of the machine; past it DuckDB spills, and a run needs the same
everywhere.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import duckdb
import pyarrow as pa

from pipeline.artifacts import Draft
from pipeline.errors import StageError, StorageError

MEMORY_LIMIT = "1GB"

Settings = str | bool | int | float | list[str]

WORKER_SETTINGS: dict[str, Settings] = {"memory_limit": "300MB", "threads": 1}
"""Of a worker's database over one part of the documents."""

_BATCH_ROWS = 1024

_RESTRICT = """
SET allowed_directories = {folders};
SET enable_external_access = false;
SET enable_progress_bar = false;
SET lock_configuration = true;
"""


@contextmanager
def database(draft: Draft, *, files: Iterable[Path]) -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection that may read `files`; what it spilled is gone afterwards, before the draft is committed.

    Raises:
        StageError: a statement needs more memory than the limit and cannot spill.
        StorageError: the disk is full.
    """
    settings: dict[str, Settings] = {"memory_limit": MEMORY_LIMIT}
    scratch = draft.path("scratch/x").parent
    with locked(scratch, files=files, where=f"{draft.stage}/{draft.name}", settings=settings) as connection:
        yield connection


@contextmanager
def locked(
    scratch: Path, *, files: Iterable[Path], where: str, settings: dict[str, Settings]
) -> Iterator[duckdb.DuckDBPyConnection]:
    """The same for a worker, which spills into `scratch`; `where` names the work in errors."""
    scratch.mkdir(parents=True, exist_ok=True)
    settings = {**settings, "temp_directory": str(scratch), "preserve_insertion_order": False}
    folders = sorted({str(path.parent) for path in files} | {str(scratch)})
    try:
        with duckdb.connect(":memory:", config=settings) as connection:
            connection.execute(_RESTRICT.format(folders=quoted(folders)))
            yield connection
    except duckdb.OutOfMemoryException as error:
        raise StageError(
            f"{where} needs more memory than {settings['memory_limit']} or more disk than there is. Free some space "
            f"under the storage folder, or split its sources. (DuckDB: {_first_line(error)})"
        ) from error
    except duckdb.IOException as error:
        raise StorageError(
            f"{where} cannot read or write under {scratch.parent}: {_first_line(error)}. Free some space or set "
            "`storage` to another folder, then run again."
        ) from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def stream(
    connection: duckdb.DuckDBPyConnection, statement: str, schema: pa.Schema, values: Mapping[str, object]
) -> Iterator[pa.RecordBatch]:
    """The rows of a statement as batches of `schema`, which names the columns that are wanted."""
    reader: pa.RecordBatchReader = connection.sql(statement, params=dict(values)).to_arrow_reader(_BATCH_ROWS)
    for batch in reader:
        if batch.num_rows:
            yield pa.Table.from_batches([batch]).select(schema.names).cast(schema).combine_chunks().to_batches()[0]


def quoted(values: Iterable[str]) -> str:
    """A list of SQL strings, where a statement takes no parameters: settings and the definitions of views."""
    return "[" + ", ".join("'" + value.replace("'", "''") + "'" for value in values) + "]"


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0].rstrip(".")
