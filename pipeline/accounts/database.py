"""A locked DuckDB that reads the artifacts in use and nothing else.

The database is in memory and its settings are locked, so a statement reaches no file but those of the named folders; what
it spills goes to a folder that is gone afterwards. Trade-off: artifacts are opened by size, not by hash, so an answer takes
no full reading; the stages verify what they build on.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb

from pipeline.corpus.database import MEMORY_LIMIT, quoted

_LOCK = """
SET allowed_directories = {folders};
SET enable_external_access = false;
SET lock_configuration = true;
"""

_INTERRUPTED = "Query interrupted"
"""What DuckDB makes of Ctrl-C while a statement runs, as a RuntimeError."""

_ROWS = "SELECT {columns} FROM {files}"


@contextmanager
def reading(folders: Iterable[Path], views: Iterable[str] = ()) -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection that may read what is under `folders`; `views` are statements that are run before it is locked.

    Raises:
        KeyboardInterrupt: Ctrl-C ended a statement.
    """
    with tempfile.TemporaryDirectory(prefix="textmill-") as scratch:
        settings: dict[str, str | bool | int | float | list[str]] = {
            "memory_limit": MEMORY_LIMIT,
            "temp_directory": scratch,
            "autoinstall_known_extensions": False,
            "autoload_known_extensions": False,
            "python_enable_replacements": False,
        }
        allowed = sorted({str(folder) for folder in folders} | {scratch})
        with duckdb.connect(":memory:", config=settings) as connection:
            for statement in views:
                connection.execute(statement)
            connection.execute(_LOCK.format(folders=quoted(allowed)))
            try:
                yield connection
            except RuntimeError as error:
                if str(error) == _INTERRUPTED:
                    raise KeyboardInterrupt from None
                raise


def parquet(paths: Iterable[Path]) -> str:
    """`read_parquet` over the files, as SQL."""
    return f"read_parquet({quoted(map(str, paths))}, union_by_name = true, hive_partitioning = false)"


def rows_of(paths: Iterable[Path], columns: str = "*") -> str:
    """A SELECT of every row of the files."""
    return _ROWS.format(columns=columns, files=parquet(paths))


def first_sentence(error: duckdb.Error) -> str:
    """DuckDB's message without the kind of error, the quoted line and the caret; names it suggests stay."""
    lines = [line.strip() for line in str(error).split("\n\nLINE ")[0].splitlines() if line.strip()]
    kind, colon, rest = lines[0].partition(": ")
    lines[0] = rest if colon and kind.endswith("Error") else lines[0]
    return " ".join(line if line[-1] in ".!?" else f"{line}." for line in lines)
