"""The corpus stage: clean documents of its sources -> kept documents by split, and rejects with reasons.

In: clean-documents artifacts. Files: documents by split (CORPUS_SCHEMA) and rejects, where layout.py says. Rules first
(judged.py), then decontamination (decontaminate.py, which reads the text), deduplication (dedup.py, near/), splits
(splits.py), repeated lines (lines.py) and the mixture (mixture.py), over verdicts and hashes cached by part; then workers
write what is kept and the rejects (bins.py), as far as they are not those of an earlier version. The same documents give
the same bytes in any order of arrival.

Trade-off: deciding needs memory for a row of signals a document.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from pipeline.artifacts import Artifact, Draft
from pipeline.config import CorpusConfig, EngineConfig
from pipeline.config.mixing import DecontaminateConfig
from pipeline.corpus.bins import plan_bins, write_bins
from pipeline.corpus.database import database
from pipeline.corpus.decontaminate import MARK, EvaluationText, against_of, find_contaminated
from pipeline.corpus.dedup import CLUSTERED, VERDICTS
from pipeline.corpus.fixed_splits import drawn_fractions, fix_splits
from pipeline.corpus.judged import judge_documents, load_judged, rejected_rows, sides_of, unjudged
from pipeline.corpus.lines import REPEATED_LINES, LineCutter, find_repeated, hash_lines
from pipeline.corpus.mixture import mix
from pipeline.corpus.near.dedup import EMPTY_NEAR, NearCounts, find_near_duplicates, sketch_documents
from pipeline.corpus.pairs import join_sides, limit_repeats
from pipeline.corpus.report import make_report
from pipeline.corpus.splits import SPLIT_SQL
from pipeline.engine import IN_THIS_PROCESS
from pipeline.errors import StageError
from pipeline.part_cache import DOCUMENTS, REJECTS, CachedPart
from pipeline.progress import Progress
from pipeline.records import SPLITS, Ledger

_ACCOUNTED = """
CREATE TABLE accounted AS
SELECT source, reason, count(*) AS documents, sum(num_bytes)::BIGINT AS num_bytes
FROM (SELECT source, reason, num_bytes FROM verdicts UNION ALL
      SELECT source, reason, num_bytes FROM read_parquet($rejects, hive_partitioning = false))
GROUP BY source, reason
"""

_ACCOUNT = (
    "SELECT reason, sum(documents)::BIGINT, sum(num_bytes)::BIGINT FROM accounted GROUP BY reason ORDER BY reason"
)

_BY_SOURCE = """
SELECT source, sum(documents)::BIGINT AS documents_in,
       coalesce(sum(documents) FILTER (reason IS NULL), 0)::BIGINT AS kept,
       coalesce(sum(documents) FILTER (reason = 'duplicate'), 0)::BIGINT AS duplicates,
       coalesce(sum(documents) FILTER (reason = 'contaminated'), 0)::BIGINT AS contaminated,
       coalesce(sum(documents) FILTER (reason = 'near_duplicate'), 0)::BIGINT AS near_duplicates,
       coalesce(sum(documents) FILTER (reason = 'repeated_lines'), 0)::BIGINT AS repeated_lines,
       coalesce(sum(documents) FILTER (reason = 'leakage'), 0)::BIGINT AS leakage,
       coalesce(sum(documents) FILTER (
           reason NOT IN ('duplicate', 'contaminated', 'near_duplicate', 'repeated_lines', 'leakage')
       ), 0)::BIGINT AS rejected_by_rules
FROM accounted GROUP BY source ORDER BY source
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
    by_name = {name: _documents(sources[name]) for name in sorted(sources)}
    clean = {path: sha for found in by_name.values() for path, sha in found.items()}
    files = [str(path) for path in clean]
    fixed = fixed_splits or {}
    ledger = Ledger()
    splits: dict[str, dict[str, int]] = {}
    if not files:
        _refuse_emptiness(draft.name, config, ledger, splits, fixed)
    near, lines = config.deduplicate.near, config.deduplicate.lines
    work: dict[str, Any] = {"clean": clean, "engine": engine, "progress": progress}
    judged = judge_documents(draft, config=config, **work)
    sketches = sketch_documents(draft, config=near, judged=judged, **work) if near else None
    hashed = hash_lines(draft, config=lines, **work) if lines else {}
    progress.start(total=2)
    near_counts, cutter = NearCounts(), None
    inputs = [*clean, *(part.table(DOCUMENTS) for part in judged.values())]
    inputs += [*(sketches.files if sketches else ()), *hashed.values()]
    with database(draft, files=inputs) as connection:
        load_judged(connection, judged)
        if config.decontaminate is not None:
            _mark_contaminated(connection, config.decontaminate, judged, against or {})
        connection.execute(CLUSTERED)
        connection.execute(EMPTY_NEAR)
        if near and sketches:
            near_counts = find_near_duplicates(connection, draft, config=near, sketches=sketches, engine=engine)
        connection.execute(
            VERDICTS.format(split=SPLIT_SQL),
            {**drawn_fractions(config, fixed), "similarity": near.similarity if near else None},
        )
        fix_splits(connection, config, files, fixed)
        pair_counts = join_sides(connection, config, sides_of(judged), fixed)
        limit_repeats(connection, config, files)
        if lines:
            cutter = find_repeated(connection, config=lines, hashed=hashed, fixed=fixed)
        connection.execute(_ACCOUNTED, {"rejects": [str(part.table(REJECTS)) for part in judged.values()]})
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
        bins = plan_bins(connection, draft, sources=by_name, judged=judged, cutter=cutter)
        progress.advance(1)
    progress.finish()
    try:
        rows, written = write_bins(draft, bins, engine=engine, progress=progress)
    finally:
        shutil.rmtree(draft.path("decided/x").parent)
    if cutter:
        _account_for_cuts(cutter, ledger, splits)
    where = f"corpus/{draft.name}"
    ledger.check(where)
    if written != ledger:
        raise StageError(
            f"{where}: {written.kept.documents} documents were written of {ledger.kept.documents} that are kept; report it."
        )
    return draft.commit(
        counts={"ledger": ledger.to_json(), "splits": splits, "mixture": mixture},
        rows=rows,
        report=make_report(
            ledger,
            splits,
            by_source,
            num_clusters,
            near_counts,
            cutter,
            mixture,
            unjudged(config, judged),
            pair_counts,
        ),
    )


def _mark_contaminated(
    connection: duckdb.DuckDBPyConnection,
    config: DecontaminateConfig,
    judged: Mapping[Path, CachedPart],
    against: Mapping[str, Artifact],
) -> None:
    evaluation = EvaluationText(against_of(against), config)
    connection.register(
        "contaminated", find_contaminated(evaluation, list(map(str, judged)), rejected_rows(judged), config)
    )
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
        found, mend = f"{ledger.kept.documents} documents", "Lower splits.validation and splits.test"
        if fraction is not None:
            found, mend = f"{found} at splits.{split} {fraction:g}", f"Raise splits.{split}"
        raise StageError(
            f"{where}: the {split} split is empty: {found}. {mend}, cut long files into several documents (`heading` or "
            "`separator` of a text source) or, of pairs, see pairs.joined_by."
        )
