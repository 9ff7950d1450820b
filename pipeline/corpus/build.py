"""The corpus stage: clean documents of its sources -> kept documents by split, and rejects with reasons.

In: clean-documents artifacts. Files: `documents/<split>.parquet` (CORPUS_SCHEMA, sorted by id, a random order) and
`rejects.parquet`. Rules first (rules.py), then decontamination (decontaminate.py, which reads the text), exact
deduplication (dedup.py), splits (splits.py) and the mixture (mixture.py), over the signal columns; then one reading of the
text writes what is kept, and one the rejects. The same documents give the same bytes in any order of arrival. Trade-off:
deciding needs memory for a row of signals a document; the text is sorted out of core.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import groupby
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.artifacts import Artifact, Draft, Report
from pipeline.config import CorpusConfig
from pipeline.config.mixing import DecontaminateConfig
from pipeline.corpus.database import database
from pipeline.corpus.decontaminate import MARK, REJECTED_ROWS, EvaluationText, against_of, find_contaminated
from pipeline.corpus.dedup import DUPLICATE, VERDICTS
from pipeline.corpus.mixture import mix
from pipeline.corpus.rules import judging, rules_of
from pipeline.corpus.splits import SPLIT_SQL
from pipeline.errors import StageError
from pipeline.files import write_parquet
from pipeline.progress import Progress
from pipeline.records import CORPUS_SCHEMA, REJECT_SCHEMA, SPLITS, Ledger

BATCH_ROWS = 1024

_KEPT = """
SELECT documents.* EXCLUDE (filename, file_row_number), verdicts.cluster_id, verdicts.cluster_size,
       verdicts.split, mixed.repeats
FROM read_parquet($files, filename = true, file_row_number = true) AS documents
JOIN verdicts USING (filename, file_row_number)
JOIN mixed USING (filename, file_row_number)
ORDER BY verdicts.split, documents.id
"""

_REJECTS = """
SELECT 'corpus' AS stage, verdicts.source, verdicts.path, verdicts."index", verdicts.id, verdicts.reason,
       verdicts.detail, verdicts.value, verdicts.threshold,
       CASE WHEN NOT verdicts.by_rule THEN verdicts.cluster_id END AS cluster_id,
       verdicts.num_bytes, left(documents.text, 200) AS excerpt
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
       count(*) FILTER (reason = 'contaminated') AS contaminated,
       count(*) FILTER (reason NOT IN ('duplicate', 'contaminated')) AS rejected_by_rules
FROM verdicts GROUP BY source ORDER BY source
"""

_BY_SPLIT = """
SELECT split, count(*) AS documents, sum(num_bytes)::BIGINT AS num_bytes
FROM verdicts WHERE reason IS NULL GROUP BY split ORDER BY split
"""

_CLUSTERS = "SELECT count(*) FROM verdicts WHERE reason IS NULL AND cluster_size > 1"


def build_corpus(
    draft: Draft,
    *,
    config: CorpusConfig,
    sources: Mapping[str, Artifact],
    against: Mapping[str, Artifact] | None = None,
    progress: Progress,
) -> Artifact:
    """Decides for every clean document whether it is kept, in which split, and how often training reads it.

    `against` are the artifacts that `decontaminate` names, by any key.

    Raises:
        StageError: nothing is left, a split is empty, or the ledger does not balance.
    """
    paths = [path for name in sorted(sources) for path in sources[name].files("documents/*.parquet")]
    files = [str(path) for path in paths]
    ledger = Ledger()
    rows: dict[str, int] = {}
    splits: dict[str, dict[str, int]] = {}
    progress.start(total=3)
    if not files:
        _refuse_emptiness(draft.name, config, ledger, splits)
    with database(draft, files=paths) as connection:
        statement, values = judging(rules_of(config))
        connection.execute(statement, {"files": files, **values})
        if config.decontaminate is not None:
            _mark_contaminated(connection, config.decontaminate, files, against or {})
        connection.execute(
            VERDICTS.format(split=SPLIT_SQL), {"test": config.splits.test, "validation": config.splits.validation}
        )
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
        mixture = mix(connection, config, files, draft.name)
        progress.advance(1)
        kept = _stream(connection, _KEPT, files, CORPUS_SCHEMA)
        for split, batches in groupby(_cut_by_split(kept), key=lambda batch: batch["split"][0].as_py()):
            name = f"documents/{split}.parquet"
            rows[name] = write_parquet(draft.path(name), batches, CORPUS_SCHEMA)
        progress.advance(1)
        rejects = _stream(connection, _REJECTS, files, REJECT_SCHEMA)
        rows["rejects.parquet"] = write_parquet(draft.path("rejects.parquet"), rejects, REJECT_SCHEMA)
        progress.advance(1)
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
        counts={"ledger": ledger.to_json(), "splits": splits, "mixture": mixture},
        rows=rows,
        report=_report(ledger, splits, by_source, num_clusters, mixture),
    )


def _mark_contaminated(
    connection: duckdb.DuckDBPyConnection,
    config: DecontaminateConfig,
    files: list[str],
    against: Mapping[str, Artifact],
) -> None:
    rejected = dict(connection.execute(REJECTED_ROWS).fetchall())
    evaluation = EvaluationText(against_of(against), config)
    connection.register("contaminated", find_contaminated(evaluation, files, rejected, config))
    connection.execute(MARK)
    connection.unregister("contaminated")


def _stream(
    connection: duckdb.DuckDBPyConnection, statement: str, files: list[str], schema: pa.Schema
) -> Iterator[pa.RecordBatch]:
    reader: pa.RecordBatchReader = connection.sql(statement, params={"files": files}).to_arrow_reader(BATCH_ROWS)
    for batch in reader:
        if batch.num_rows:
            yield pa.Table.from_batches([batch]).select(schema.names).cast(schema).combine_chunks().to_batches()[0]


def _cut_by_split(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Batches of one split each, from batches sorted by split."""
    for batch in batches:
        for split in pc.unique(batch["split"]):
            yield batch.filter(pc.equal(batch["split"], split))


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
    ledger: Ledger,
    splits: Mapping[str, Mapping[str, int]],
    by_source: list[dict[str, Any]],
    num_clusters: int,
    mixture: Mapping[str, Any],
) -> Report:
    figures: dict[str, int | float | str] = {
        "num_documents_in": ledger.taken.documents,
        "num_documents": ledger.kept.documents,
        "num_bytes": ledger.kept.num_bytes,
        "kept_fraction": ledger.kept.documents / ledger.taken.documents,
        "num_duplicates": ledger.rejected[DUPLICATE].documents if DUPLICATE in ledger.rejected else 0,
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
            "Mixture": mixture["sources"],
            "Quality buckets": mixture["buckets"],
        },
        notes=mixture["notes"],
    )
