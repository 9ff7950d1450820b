"""One SELECT over the views of what is in use: read-only, and without access to any other file.

DuckDB itself says what kind a statement is before it runs; only one that selects is run, since a COPY would be allowed to
write where views may read.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

import duckdb

from pipeline.accounts.database import first_sentence, reading
from pipeline.accounts.views import artifacts_in_use, views_of
from pipeline.artifacts import ArtifactStore
from pipeline.config import Project
from pipeline.errors import ArtifactMissing, InputError


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """Rows of a query."""

    columns: list[str]
    """No two alike: of two that the statement calls `id` the second is `id_1`."""
    rows: list[tuple[Any, ...]]
    is_cut: bool
    """There are more rows than the limit."""


def query(project: Project, store: ArtifactStore, statement: str, *, limit: int | None) -> Answer:
    """The first `limit` rows of the statement, or all.

    Raises:
        InputError: it is not one SELECT, or DuckDB refuses it; the sentence names what is near.
        ArtifactMissing: nothing is built yet.
    """
    artifacts = artifacts_in_use(project, store)
    views = views_of(artifacts)
    if not views:
        raise ArtifactMissing("Nothing is built yet, so there is no table; run `textmill run` first.")
    definitions = [f'CREATE VIEW "{name}" AS {select}' for name, select in views.items()]
    try:
        with reading([artifact.folder for artifact in artifacts], definitions) as connection:
            _require_one_select(connection, statement)
            cursor = connection.execute(statement)
            columns = _distinct([column[0] for column in cursor.description or []])
            rows = cursor.fetchall() if limit is None else cursor.fetchmany(limit + 1)
    except duckdb.PermissionException as error:
        raise InputError(f"sql: a statement may read the views alone, and no file. {first_sentence(error)}") from error
    except duckdb.Error as error:
        raise InputError(f"sql: {first_sentence(error)} `SHOW TABLES` lists what there is.") from error
    is_cut = limit is not None and len(rows) > limit
    return Answer(columns=columns, rows=rows[:limit], is_cut=is_cut)


def _distinct(names: list[str]) -> list[str]:
    """The names, those that occurred before with a number, as DuckDB numbers the columns of a table.

    >>> _distinct(["id", "id", "text", "id"])
    ['id', 'id_1', 'text', 'id_2']
    """
    found: list[str] = []
    for name in names:
        candidates = (name if not number else f"{name}_{number}" for number in itertools.count())
        found.append(next(candidate for candidate in candidates if candidate not in found))
    return found


def _require_one_select(connection: duckdb.DuckDBPyConnection, statement: str) -> None:
    kinds = [found.type for found in connection.extract_statements(statement)]
    if kinds != [duckdb.StatementType.SELECT]:
        named = ", ".join(str(kind).rpartition(".")[2] for kind in kinds) or "nothing"
        raise InputError(f"sql takes one SELECT (or SHOW, DESCRIBE, SUMMARIZE), and this is {named}. Write one SELECT.")
