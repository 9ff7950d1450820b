"""What a person looks at: text before and after cleaning where it changed, and one reject for each reason.

Documents with personal data replaced are left out, since their text before would show it; and so are rejects of reading,
whose excerpts no stage has redacted.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import duckdb
import pyarrow as pa

NUM_OF_A_SOURCE = 2
_CONTEXT, _SHOWN = 40, 200

REJECTS = """
    SELECT stage, reason, source, id, value, threshold, detail, excerpt FROM rejects
    WHERE stage <> 'raw_documents'
    QUALIFY row_number() OVER (PARTITION BY stage, reason ORDER BY id, source, path, "index") = 1
    ORDER BY stage, reason
"""

_CHANGED = """
    SELECT source, path, "index", id FROM documents
    WHERE (raw_bytes <> num_bytes OR repaired) AND redactions IS NULL
    QUALIFY row_number() OVER (PARTITION BY source ORDER BY id) <= $count ORDER BY source, id
"""

_BOTH = """
    SELECT documents.source, documents.id, raw.text AS before, documents.text AS after
    FROM documents JOIN read_parquet($files, hive_partitioning = false) AS raw USING (source, path, "index", id)
    WHERE documents.id IN (SELECT unnest($ids)) AND raw.id IN (SELECT unnest($ids))
    ORDER BY documents.source, documents.id
"""

BEFORE_AFTER_SCHEMA = pa.schema(
    [pa.field(name, pa.string(), nullable=False) for name in ("source", "id", "before", "after")]
)


def before_and_after(connection: duckdb.DuckDBPyConnection, raw: Sequence[Path]) -> pa.Table:
    """Rows of BEFORE_AFTER_SCHEMA: the surroundings of the first change in the documents with the smallest ids."""
    ids = [row[3] for row in connection.execute(_CHANGED, {"count": NUM_OF_A_SOURCE}).fetchall()]
    if not ids or not raw:
        return BEFORE_AFTER_SCHEMA.empty_table()
    values = {"files": [str(path) for path in raw], "ids": ids}
    rows = []
    for source, id_, before, after in connection.execute(_BOTH, values).fetchall():
        start = max(0, _first_difference(before, after) - _CONTEXT)
        shown = (_visible(text[start : start + _SHOWN]) for text in (before, after))
        rows.append(dict(zip(BEFORE_AFTER_SCHEMA.names, (source, id_, *shown), strict=True)))
    return pa.Table.from_pylist(rows, BEFORE_AFTER_SCHEMA)


def _first_difference(first: str, second: str) -> int:
    pairs = enumerate(zip(first, second, strict=False))
    return next((place for place, (a, b) in pairs if a != b), min(len(first), len(second)))


def _visible(text: str) -> str:
    """Characters that show nothing are written out: `a\\u200bb`."""
    return "".join(c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode() for c in text)
