"""Which document a person means: an id, the beginning of one, or where it was read from.

A place is `path`, `source:path`, `path:index` or `source:path:index`, the path as in the documents, or only its end, or a
longer one that ends in it.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass

import duckdb

from pipeline.accounts.database import parquet
from pipeline.accounts.views import reject_files
from pipeline.artifacts import Artifact
from pipeline.errors import InputError
from pipeline.plan import RAW

NUM_NAMED = 5
_ID = re.compile(r"[0-9a-f]{4,32}")
_INDEXED = re.compile(r"(.+):(\d+)")

_PLACES = """
CREATE TEMP TABLE places AS
SELECT id, source, path, "index" FROM {documents}
UNION ALL SELECT id, source, path, "index" FROM {rejects}
"""

_BY_ID = """
SELECT DISTINCT id, source, path, "index" FROM places WHERE starts_with(id, $word) ORDER BY source, path, "index"
"""

_BY_PATH = """
SELECT DISTINCT id, source, path, "index" FROM places
WHERE (path = $path OR ends_with(path, '/' || $path) OR ends_with($path, '/' || path))
  AND ($source IS NULL OR source = $source) AND ($index IS NULL OR "index" = $index) ORDER BY source, path, "index", id
"""

_EMPTY = """
(SELECT NULL::VARCHAR AS id, NULL::VARCHAR AS source, NULL::VARCHAR AS path, NULL::BIGINT AS "index" WHERE false)
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a document was read from."""

    id: str | None
    """None where no text could be read."""
    source: str
    path: str
    index: int

    def __str__(self) -> str:
        return f"{self.source}:{self.path}:{self.index}"


def find_document(connection: duckdb.DuckDBPyConnection, raw: Sequence[Artifact], word: str) -> list[Place]:
    """The places of the one document that `word` names: more than one where the same text lies in several.

    Raises:
        InputError: it names none, or several; the sentence names some.
    """
    assert all(artifact.ref.stage == RAW for artifact in raw)
    documents = [path for artifact in raw for path in artifact.files("documents/*.parquet")]
    rejects = [path for artifact in raw for path in reject_files(artifact)]
    connection.execute(
        _PLACES.format(
            documents=parquet(documents) if documents else _EMPTY, rejects=parquet(rejects) if rejects else _EMPTY
        )
    )
    if _ID.fullmatch(word.lower()):
        found = _places(connection, _BY_ID, word=word.lower())
        ids = sorted({place.id for place in found if place.id})
        if len(ids) > 1:
            raise InputError(f"explain: {len(ids)} ids begin with {word!r}: {_some(ids)}. Give more digits.")
        if ids:
            return found
    found = _by_path(connection, [artifact.ref.name for artifact in raw], word)
    documents_found = sorted({place.id or str(place) for place in found})
    if len(documents_found) > 1:
        raise InputError(
            f"explain: {word!r} holds {len(documents_found)} documents: {_some([str(place) for place in found])}. Name "
            "one of them, or its id."
        )
    if not found:
        raise InputError(f"explain: no document of the sources in use is {word!r}. {_near(connection, word)}")
    (id_,) = {place.id for place in found}
    return _places(connection, _BY_ID, word=id_) if id_ else found


def _by_path(connection: duckdb.DuckDBPyConnection, sources: Sequence[str], word: str) -> list[Place]:
    """The readings of a word are tried in order: a colon may be part of a path."""
    readings: list[tuple[str | None, str, int | None]] = [(None, word, None)]
    if match := _INDEXED.fullmatch(word):
        readings.append((None, match[1], int(match[2])))
    source, _, rest = word.partition(":")
    if source in sources and rest:
        readings.append((source, rest, None))
        if match := _INDEXED.fullmatch(rest):
            readings.append((source, match[1], int(match[2])))
    for source_, path, index in readings:
        if found := _places(connection, _BY_PATH, source=source_, path=path, index=index):
            return found
    return []


def _places(connection: duckdb.DuckDBPyConnection, statement: str, **values: str | int | None) -> list[Place]:
    rows = connection.execute(statement, values).fetchall()
    return [Place(id=id_, source=source, path=path, index=index) for id_, source, path, index in rows]


def _near(connection: duckdb.DuckDBPyConnection, word: str) -> str:
    """Documents whose id begins alike, or whose path reads alike."""
    if _ID.fullmatch(word.lower()):
        for length in range(len(word) - 1, 3, -1):
            ids = connection.execute(_BY_ID, {"word": word.lower()[:length]}).fetchall()
            if ids:
                return f"Ids that begin alike: {_some(sorted({row[0] for row in ids}))}."
    paths = [row[0] for row in connection.execute("SELECT DISTINCT path FROM places ORDER BY path").fetchall()]
    names = {path.rsplit("/", 1)[-1]: path for path in reversed(paths)}
    close = difflib.get_close_matches(word, paths, n=NUM_NAMED) or [
        names[name] for name in difflib.get_close_matches(word.rsplit("/", 1)[-1], list(names), n=NUM_NAMED)
    ]
    if close := close or [path for path in paths if word and word.lower() in path.lower()]:
        return f"Did you mean {_some(close)}?"
    return "Give an id, the beginning of one (4 digits or more), or a path; `textmill sql` finds them."


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:NUM_NAMED]) + (", ..." if len(names) > NUM_NAMED else "")
