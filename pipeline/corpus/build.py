"""The corpus stage: clean documents of its sources -> kept documents by split, and rejects with reasons.

In: clean-documents artifacts. Files: `documents/<split>.parquet` (CORPUS_SCHEMA, sorted by id, a random order) and
`rejects.parquet`. Rules first (rules.py), then decontamination (decontaminate.py, which reads the text), deduplication
(dedup.py, near/), splits (splits.py), repeated lines (lines.py) and the mixture (mixture.py), over the signal columns and
over hashes cached by part; then one reading of the text writes what is kept, and one the rejects. The same documents give
the same bytes in any order of arrival.

Trade-off: deciding needs memory for a row of signals a document; the text is sorted out of core.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import groupby
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.artifacts import Artifact, Draft
from pipeline.config import CorpusConfig, EngineConfig
from pipeline.config.mixing import DecontaminateConfig
from pipeline.corpus.database import database
from pipeline.corpus.decontaminate import MARK, REJECTED_ROWS, EvaluationText, against_of, find_contaminated
from pipeline.corpus.dedup import CLUSTERED, VERDICTS
from pipeline.corpus.fixed_splits import drawn_fractions, fix_splits
from pipeline.corpus.lines import REPEATED_LINES, LineCutter, find_repeated, hash_lines
from pipeline.corpus.mixture import mix
from pipeline.corpus.near.dedup import EMPTY_NEAR, NearCounts, find_near_duplicates, sketch_documents
from pipeline.corpus.pairs import join_sides, limit_repeats
from pipeline.corpus.report import make_report
from pipeline.corpus.rules import judge
from pipeline.corpus.splits import SPLIT_SQL
from pipeline.engine import IN_THIS_PROCESS
from pipeline.errors import StageError
from pipeline.files import write_parquet
from pipeline.progress import Progress
from pipeline.records import CORPUS_SCHEMA, REJECT_SCHEMA, SPLITS, Ledger

BATCH_ROWS = 1024

_KEPT = """
SELECT documents.* EXCLUDE (filename, file_row_number), verdicts.cluster_id, verdicts.cluster_size, verdicts.split,
       mixed.repeats, verdicts.is_cut
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
       count(*) FILTER (reason = 'near_duplicate') AS near_duplicates,
       count(*) FILTER (reason = 'repeated_lines') AS repeated_lines,
       count(*) FILTER (reason = 'leakage') AS leakage,
       count(*) FILTER (reason NOT IN ('duplicate', 'contaminated', 'near_duplicate', 'repeated_lines', 'leakage'))
           AS rejected_by_rules
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
    fixed_splits: Mapping[str, str] | None = None,
    engine: EngineConfig = IN_THIS_PROCESS,
    progress: Progress,
) -> Artifact:
    """Decides for every clean document whether it is kept, in which split, and how often training reads it.

    `against` are the artifacts that `decontaminate` names, by any key; `fixed_splits` the sources that are one split. The
    number of workers changes nothing.

    Raises:
        StageError: nothing is left, a split is empty, or the ledger does not balance.
    """
    clean = {path: sha for name in sorted(sources) for path, sha in _documents(sources[name]).items()}
    files = [str(path) for path in clean]
    fixed = fixed_splits or {}
    ledger = Ledger()
    rows: dict[str, int] = {}
    splits: dict[str, dict[str, int]] = {}
    if not files:
        _refuse_emptiness(draft.name, config, ledger, splits, fixed)
    near, lines = config.deduplicate.near, config.deduplicate.lines
    work: dict[str, Any] = {"clean": clean, "engine": engine, "progress": progress}
    sketches = sketch_documents(draft, config=near, **work) if near else None
    hashed = hash_lines(draft, config=lines, **work) if lines else {}
    progress.start(total=3)
    near_counts, cutter = NearCounts(), None
    inputs = [*clean, *(sketches.files if sketches else ()), *hashed.values()]
    with database(draft, files=inputs) as connection:
        unjudged = judge(connection, config, files, f"corpora.{draft.name}")
        if config.decontaminate is not None:
            _mark_contaminated(connection, config.decontaminate, files, against or {})
        connection.execute(CLUSTERED)
        connection.execute(EMPTY_NEAR)
        if near and sketches:
            near_counts = find_near_duplicates(connection, draft, config=near, sketches=sketches, engine=engine)
        connection.execute(
            VERDICTS.format(split=SPLIT_SQL),
            {**drawn_fractions(config, fixed), "similarity": near.similarity if near else None},
        )
        fix_splits(connection, config, files, fixed)
        pair_counts = join_sides(connection, config, files, fixed)
        limit_repeats(connection, config, files)
        if lines:
            cutter = find_repeated(connection, config=lines, hashed=hashed)
        for reason, num_documents, num_bytes in connection.execute(_ACCOUNT).fetchall():
            ledger.take(documents=num_documents, num_bytes=num_bytes)
            if reason is None:
                ledger.keep(documents=num_documents, num_bytes=num_bytes)
            else:
                ledger.reject(reason, documents=num_documents, num_bytes=num_bytes)
        for split, num_documents, num_bytes in connection.execute(_BY_SPLIT).fetchall():
            splits[split] = {"documents": num_documents, "bytes": num_bytes}
        _refuse_emptiness(draft.name, config, ledger, splits, fixed)
        by_source = _rows(connection, _BY_SOURCE)
        (num_clusters,) = connection.execute(_CLUSTERS).fetchall()[0]
        mixture = mix(connection, config, files, draft.name)
        progress.advance(1)
        kept = _stream(connection, _KEPT, files, CORPUS_SCHEMA.append(pa.field("is_cut", pa.bool_())))
        kept = (batch.select(CORPUS_SCHEMA.names) for batch in (cutter.cut(kept) if cutter else kept))
        for split, batches in groupby(_cut_by_split(kept), key=lambda batch: batch["split"][0].as_py()):
            name = f"documents/{split}.parquet"
            rows[name] = write_parquet(draft.path(name), batches, CORPUS_SCHEMA)
        progress.advance(1)
        rejects = _stream(connection, _REJECTS, files, REJECT_SCHEMA)
        rows["rejects.parquet"] = write_parquet(draft.path("rejects.parquet"), rejects, REJECT_SCHEMA)
        progress.advance(1)
    progress.finish()
    if cutter:
        _account_for_cuts(cutter, ledger, splits)
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
        report=make_report(
            ledger, splits, by_source, num_clusters, near_counts, cutter, mixture, unjudged, pair_counts
        ),
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


def _documents(source: Artifact) -> dict[Path, str]:
    """The files of clean documents with their sha256."""
    digests = {entry.path: entry.sha256 for entry in source.manifest.files}
    return {path: digests[path.relative_to(source.folder).as_posix()] for path in source.files("documents/*.parquet")}


def _account_for_cuts(cutter: LineCutter, ledger: Ledger, splits: dict[str, dict[str, int]]) -> None:
    """Bytes cut out of kept documents are rejected bytes of no document."""
    if cutter.removed_bytes:
        ledger.kept.num_bytes -= cutter.removed_bytes
        ledger.reject(REPEATED_LINES, documents=0, num_bytes=cutter.removed_bytes)
    for split, num_bytes in cutter.by_split.items():
        splits[split]["bytes"] -= num_bytes


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


def _refuse_emptiness(
    name: str, config: CorpusConfig, ledger: Ledger, splits: Mapping[str, Mapping[str, int]], fixed: Mapping[str, str]
) -> None:
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
        if split in fixed.values():
            fixing = ", ".join(source for source, found in fixed.items() if found == split)
            raise StageError(
                f"{where}: the {split} split is empty: nothing of {fixing}, which has `split: {split}`, is kept. Look at the "
                "rejects, or take `split` out of it."
            )
        fraction = {"validation": config.splits.validation, "test": config.splits.test}.get(split)
        if fraction is None:
            raise StageError(
                f"{where}: the training split is empty. Lower splits.validation and splits.test; of pairs, see pairs.joined_by."
            )
        raise StageError(
            f"{where}: the {split} split is empty: {ledger.kept.documents} documents at splits.{split} {fraction:g}. "
            f"Raise splits.{split}; of pairs, see pairs.joined_by."
        )
