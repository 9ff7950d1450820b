"""The corpus stage: clean documents of its sources -> kept documents by split, and rejects with reasons.

In: clean-documents artifacts. Files: `documents/<split>.parquet` (CORPUS_SCHEMA, sorted by id, a random order) and
`rejects.parquet`. Rules first, then exact deduplication by the hash of the cleaned text; the keeper of a cluster is its
smallest (id, source, path, index), so the same documents give the same bytes in any order of arrival.
DuckDB joins over Parquet, out of core. Trade-off: the Parquet is read twice, for the signals and then to write what is
kept, so that deciding needs memory for the signals alone.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from pipeline.artifacts import Artifact, Draft, Report
from pipeline.config import CorpusConfig
from pipeline.corpus.rules import Rule, rules_of
from pipeline.corpus.splits import SPLIT_SQL
from pipeline.errors import StageError
from pipeline.files import write_parquet
from pipeline.progress import Progress
from pipeline.records import CORPUS_SCHEMA, REJECT_SCHEMA, SPLITS, Ledger

MEMORY_LIMIT = "2GB"
BATCH_ROWS = 4096

_SIGNALS = """
CREATE TABLE signals AS
SELECT filename, file_row_number, id, source, path, "index", text_hash, num_bytes, num_characters, letter_fraction,
       duplicate_line_fraction, language, language_confidence
FROM read_parquet($files, filename = true, file_row_number = true)
"""

_VERDICTS = """
CREATE TABLE verdicts AS
WITH judged AS (SELECT *, {reason} AS rule, {detail} AS rule_detail FROM signals),
clustered AS (
    SELECT *,
           row_number() OVER copies AS copy,
           first(id) OVER copies AS cluster_id,
           first(source || ':' || path || ':' || "index") OVER copies AS keeper,
           count(*) OVER (PARTITION BY text_hash, rule IS NULL) AS cluster_size
    FROM judged
    WINDOW copies AS (PARTITION BY text_hash, rule IS NULL ORDER BY id, source, path, "index")
)
SELECT filename, file_row_number, id, source, path, "index", num_bytes, cluster_id, cluster_size, {split} AS split,
       CASE WHEN rule IS NOT NULL THEN rule WHEN copy > 1 THEN 'duplicate' END AS reason,
       CASE WHEN rule IS NOT NULL THEN rule_detail
            WHEN copy > 1 THEN 'the same text as ' || cluster_id || ' (' || keeper || '), which is kept' END AS detail
FROM clustered
"""

_KEPT = """
SELECT documents.* EXCLUDE (filename, file_row_number), verdicts.cluster_id, verdicts.cluster_size, verdicts.split
FROM read_parquet($files, filename = true, file_row_number = true) AS documents
JOIN verdicts USING (filename, file_row_number)
WHERE verdicts.reason IS NULL AND verdicts.split = $split
ORDER BY documents.id
"""

_REJECTS = """
SELECT 'corpus' AS stage, verdicts.source, verdicts.path, verdicts."index", verdicts.id, verdicts.reason,
       verdicts.detail, verdicts.num_bytes, left(documents.text, 200) AS excerpt
FROM read_parquet($files, filename = true, file_row_number = true) AS documents
JOIN verdicts USING (filename, file_row_number)
WHERE verdicts.reason IS NOT NULL
ORDER BY verdicts.id, verdicts.source, verdicts.path, verdicts."index"
"""

_ACCOUNT = """
SELECT reason, count(*) AS documents, sum(num_bytes)::BIGINT AS num_bytes FROM verdicts GROUP BY reason ORDER BY reason
"""

_BY_SOURCE = """
SELECT source, count(*) AS documents_in, count(*) FILTER (reason IS NULL) AS kept,
       count(*) FILTER (reason = 'duplicate') AS duplicates,
       count(*) FILTER (reason IS NOT NULL AND reason <> 'duplicate') AS rejected_by_rules
FROM verdicts GROUP BY source ORDER BY source
"""

_BY_SPLIT = """
SELECT split, count(*) AS documents, sum(num_bytes)::BIGINT AS num_bytes
FROM verdicts WHERE reason IS NULL GROUP BY split ORDER BY split
"""

_CLUSTERS = "SELECT count(*) FROM verdicts WHERE reason IS NULL AND cluster_size > 1"


def build_corpus(
    draft: Draft, *, config: CorpusConfig, sources: Mapping[str, Artifact], progress: Progress
) -> Artifact:
    """Decides for every clean document whether it is kept, and in which split.

    Raises:
        StageError: nothing is left, a split is empty, or the ledger does not balance.
    """
    files = [str(path) for name in sorted(sources) for path in sources[name].files("documents/*.parquet")]
    ledger = Ledger()
    rows: dict[str, int] = {}
    splits: dict[str, dict[str, int]] = {}
    scratch = draft.path("scratch/x").parent
    progress.start(total=2 + len(SPLITS))
    with _connection(scratch) as connection:
        connection.execute(_SIGNALS, {"files": files})
        progress.advance(1)
        _judge(connection, rules_of(config), config)
        for reason, num_documents, num_bytes in connection.execute(_ACCOUNT).fetchall():
            ledger.take(documents=num_documents, num_bytes=num_bytes)
            if reason is None:
                ledger.keep(documents=num_documents, num_bytes=num_bytes)
            else:
                ledger.reject(reason, documents=num_documents, num_bytes=num_bytes)
        for split, num_documents, num_bytes in connection.execute(_BY_SPLIT).fetchall():
            splits[split] = {"documents": num_documents, "bytes": num_bytes}
        _refuse_emptiness(draft.name, config, ledger, splits)
        by_source = _rows(connection, _BY_SOURCE)
        (num_clusters,) = connection.execute(_CLUSTERS).fetchall()[0]
        progress.advance(1)
        for split in SPLITS:
            name = f"documents/{split}.parquet"
            batches = _stream(connection, _KEPT, {"files": files, "split": split}, CORPUS_SCHEMA)
            rows[name] = write_parquet(draft.path(name), batches, CORPUS_SCHEMA)
            progress.advance(1)
        batches = _stream(connection, _REJECTS, {"files": files}, REJECT_SCHEMA)
        rows["rejects.parquet"] = write_parquet(draft.path("rejects.parquet"), batches, REJECT_SCHEMA)
    shutil.rmtree(scratch)
    progress.finish()
    where = f"corpus/{draft.name}"
    ledger.check(where)
    written = sum(rows[f"documents/{split}.parquet"] for split in SPLITS)
    if (written, rows["rejects.parquet"]) != (
        ledger.kept.documents,
        ledger.taken.documents - ledger.kept.documents,
    ):
        raise StageError(
            f"{where}: {written} documents were written of {ledger.kept.documents} that are kept; report it."
        )
    return draft.commit(
        counts={"ledger": ledger.to_json(), "splits": splits},
        rows=rows,
        report=_report(ledger, splits, by_source, num_clusters),
    )


@contextmanager
def _connection(scratch: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """An in-memory database that spills into the draft's own folder."""
    settings: dict[str, str | bool | int | float | list[str]] = {
        "memory_limit": MEMORY_LIMIT,
        "temp_directory": str(scratch),
        "preserve_insertion_order": False,
    }
    with duckdb.connect(":memory:", config=settings) as connection:
        yield connection


def _judge(connection: duckdb.DuckDBPyConnection, rules: list[Rule], config: CorpusConfig) -> None:
    def first_broken(text: str) -> str:
        cases = " ".join(f"WHEN {rule.broken} THEN {getattr(rule, text)}" for rule in rules)
        return f"CASE {cases} END" if cases else "NULL"

    named = " ".join(f"WHEN {rule.broken} THEN '{rule.reason}'" for rule in rules)
    reason = f"CASE {named} END" if named else "NULL::VARCHAR"
    statement = _VERDICTS.format(reason=reason, detail=first_broken("detail"), split=SPLIT_SQL)
    values: dict[str, Any] = {"test": config.splits.test, "validation": config.splits.validation}
    for rule in rules:
        values |= rule.values
    connection.execute(statement, values)


def _stream(
    connection: duckdb.DuckDBPyConnection, statement: str, values: Mapping[str, Any], schema: pa.Schema
) -> Iterator[pa.RecordBatch]:
    reader: pa.RecordBatchReader = connection.sql(statement, params=dict(values)).to_arrow_reader(BATCH_ROWS)
    for batch in reader:
        yield pa.Table.from_batches([batch]).select(schema.names).cast(schema).combine_chunks().to_batches()[0]


def _rows(connection: duckdb.DuckDBPyConnection, statement: str) -> list[dict[str, Any]]:
    table: pa.Table = connection.sql(statement).to_arrow_table()
    rows: list[dict[str, Any]] = table.to_pylist()
    return rows


def _refuse_emptiness(name: str, config: CorpusConfig, ledger: Ledger, splits: Mapping[str, Mapping[str, int]]) -> None:
    where = f"corpora.{name}"
    if ledger.taken.documents == 0:
        raise StageError(
            f"{where}: its sources {', '.join(config.sources)} hold no readable document. Look at their rejects."
        )
    if ledger.kept.documents == 0:
        reasons = ", ".join(f"{reason} {count.documents}" for reason, count in sorted(ledger.rejected.items()))
        raise StageError(
            f"{where}: none of {ledger.taken.documents} documents is left (rejected: {reasons}). "
            "Loosen `quality` or its overrides."
        )
    for split in SPLITS:
        if split in splits:
            continue
        fraction = {"validation": config.splits.validation, "test": config.splits.test}.get(split)
        if fraction is None:
            raise StageError(f"{where}: the training split is empty. Lower splits.validation and splits.test.")
        raise StageError(
            f"{where}: the {split} split is empty: {ledger.kept.documents} documents at splits.{split} {fraction:g}. "
            f"Raise splits.{split}."
        )


def _report(
    ledger: Ledger, splits: Mapping[str, Mapping[str, int]], by_source: list[dict[str, Any]], num_clusters: int
) -> Report:
    figures: dict[str, int | float | str] = {
        "num_documents_in": ledger.taken.documents,
        "num_documents": ledger.kept.documents,
        "num_bytes": ledger.kept.num_bytes,
        "kept_fraction": ledger.kept.documents / ledger.taken.documents,
        "num_duplicates": ledger.rejected["duplicate"].documents if "duplicate" in ledger.rejected else 0,
        "num_duplicate_clusters": num_clusters,
    }
    rejects = [
        {"reason": reason, "documents": count.documents, "bytes": count.num_bytes}
        for reason, count in sorted(ledger.rejected.items(), key=lambda entry: (-entry[1].documents, entry[0]))
    ]
    return Report(
        figures=figures,
        tables={
            "Splits": [{"split": split, **splits[split]} for split in SPLITS],
            "Sources": by_source,
            "Rejects by reason": rejects,
        },
    )
