"""DuckDB over Parquet: an in-memory database that reads the named folders alone and spills into the draft's own.

The settings are locked, so that no value in a statement can reach another file. Trade-off: the memory limit is a constant
and not a share of the machine; past it DuckDB spills, and a run needs the same everywhere.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb

from pipeline.artifacts import Draft
from pipeline.errors import StageError, StorageError

MEMORY_LIMIT = "1GB"

_RESTRICT = """
SET allowed_directories = {folders};
SET enable_external_access = false;
SET lock_configuration = true;
"""


@contextmanager
def database(draft: Draft, *, files: Iterable[Path]) -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection that may read `files`; what it spilled is gone afterwards, before the draft is committed.

    Raises:
        StageError: a statement needs more memory than the limit and cannot spill.
        StorageError: the disk is full.
    """
    scratch = draft.path("scratch/x").parent
    settings: dict[str, str | bool | int | float | list[str]] = {
        "memory_limit": MEMORY_LIMIT,
        "temp_directory": str(scratch),
        "preserve_insertion_order": False,
    }
    folders = sorted({str(path.parent) for path in files} | {str(scratch)})
    where = f"{draft.stage}/{draft.name}"
    try:
        with duckdb.connect(":memory:", config=settings) as connection:
            connection.execute(_RESTRICT.format(folders=quoted(folders)))
            yield connection
    except duckdb.OutOfMemoryException as error:
        raise StageError(
            f"{where} needs more memory than {MEMORY_LIMIT} or more disk than there is. Free some space under the "
            f"storage folder, or split its sources. (DuckDB: {_first_line(error)})"
        ) from error
    except duckdb.IOException as error:
        raise StorageError(
            f"{where} cannot read or write under {draft.folder.parent}: {_first_line(error)}. Free some space or set "
            "`storage` to another folder, then run again."
        ) from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def quoted(values: Iterable[str]) -> str:
    """A list of SQL strings, where a statement takes no parameters: settings and the definitions of views."""
    return "[" + ", ".join("'" + value.replace("'", "''") + "'" for value in values) + "]"


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0].rstrip(".")
