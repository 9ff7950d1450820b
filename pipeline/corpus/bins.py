"""Writes what was decided: each bin of the corpus (see layout.py) by a worker, cached by its content and what was decided.

In: the tables `verdicts` and `mixed`, the files of clean documents, and the rejects of the rules (judged.py). Out: for each
bin a cached part of three tables, `documents` (the training split), `held_out` (the other splits) and `rejects`, each sorted
by id; linked into the version, held-out documents put together. A bin of which no document is decided otherwise than before
is taken as it is, so a hundredth more text costs about a hundredth of the writing, unless its duplicates lie everywhere.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.artifacts import Draft
from pipeline.config import EngineConfig
from pipeline.corpus.database import WORKER_SETTINGS, database, locked, stream
from pipeline.corpus.gather import rows_in_order
from pipeline.corpus.judged import count_kept, count_rejects
from pipeline.corpus.layout import bin_of, num_bins, rejects_file, train_file
from pipeline.corpus.lines import REPEATED_LINES, LineCutter
from pipeline.files import fingerprint, stream_parquet, write_parquet
from pipeline.part_cache import (
    DOCUMENTS,
    REJECTS,
    CachedPart,
    Tables,
    build_parts,
    link_table,
    load_parts,
    write_tables,
)
from pipeline.progress import Progress
from pipeline.records import CLEAN_SCHEMA, CORPUS_SCHEMA, REJECT_SCHEMA, Ledger

CODE_VERSION = "2"
HELD_OUT = "held_out"
HELD_OUT_SPLITS = ("validation", "test")
SMALL_WORK_BYTES = 2_000_000
"""Of text: writing this takes this process less time than starting workers."""

_DECIDED = """
CREATE TABLE decided AS
SELECT bins.bin, verdicts.filename, verdicts.file_row_number, verdicts.num_bytes, verdicts.reason, verdicts.detail,
       verdicts.value, verdicts.threshold, verdicts.is_cut, verdicts.lines_cut, mixed.repeats,
       CASE WHEN NOT verdicts.by_rule THEN verdicts.cluster_id END AS cluster_id,
       CASE WHEN verdicts.reason IS NULL THEN verdicts.cluster_size END AS cluster_size,
       CASE WHEN verdicts.reason IS NULL THEN verdicts.split END AS split
FROM verdicts
JOIN (SELECT unnest($files) AS filename, unnest($bins) AS bin) AS bins USING (filename)
LEFT JOIN mixed USING (filename, file_row_number)
"""
"""What the rows of a bin are made of, beside the clean documents, and nothing else: the cache knows a bin by it."""

_COLUMNS = "file_row_number, reason, detail, value, threshold, lines_cut, repeats, cluster_id, cluster_size, split"

_DIGESTS = f"""
SELECT filename, sum(hash({_COLUMNS})::HUGEINT)::VARCHAR, bit_xor(hash('and', {_COLUMNS}))::VARCHAR, bool_or(is_cut)
FROM decided GROUP BY filename
"""  # noqa: S608 - constants

_DECIDED_OF_BIN = "SELECT * EXCLUDE (bin, lines_cut) FROM decided WHERE bin = $bin"

_DECIDED_COLUMNS = ("cluster_id", "cluster_size", "split", "repeats", "is_cut")

_KEPT = f"""
SELECT filename, file_row_number, {", ".join(_DECIDED_COLUMNS)}
FROM read_parquet($files, filename = true, file_row_number = true, hive_partitioning = false) AS documents
JOIN read_parquet($decided, hive_partitioning = false) AS decided USING (filename, file_row_number)
WHERE decided.reason IS NULL
ORDER BY decided.split = 'train', documents.id
"""  # noqa: S608 - constants

_REJECTED = """
SELECT * FROM (
SELECT 'corpus' AS stage, documents.source, documents.path, documents."index", documents.id, decided.reason,
       decided.detail, decided.value, decided.threshold, decided.cluster_id, documents.num_bytes,
       left(documents.text, 200) AS excerpt
FROM read_parquet($files, filename = true, file_row_number = true, hive_partitioning = false) AS documents
JOIN read_parquet($decided, hive_partitioning = false) AS decided USING (filename, file_row_number)
WHERE decided.reason IS NOT NULL
UNION ALL BY NAME FROM read_parquet($judged, hive_partitioning = false)
)
ORDER BY id, source, path, "index"
"""

_HELD_OUT = """
SELECT filename, file_row_number
FROM read_parquet($files, filename = true, file_row_number = true, hive_partitioning = false)
WHERE split = $split ORDER BY id
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Cut:
    """What a worker needs to cut repeated lines."""

    unit: Literal["line", "paragraph"]
    repeated: Path
    """Parquet with the hashes, the most frequent first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Task:
    key: str
    bin: int
    clean: tuple[Path, ...]
    judged: tuple[Path, ...]
    """The rejects of the rules."""
    num_documents: int
    num_bytes: int
    decided: Path
    cut: _Cut | None
    parts_folder: Path
    where: str

    @property
    def description(self) -> str:
        return f"{self.where}, bin {self.bin}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Bins:
    """What is to be written, and what of it was written before."""

    tasks: Sequence[_Task]
    parts_folder: Path
    cutter: LineCutter | None


def plan_bins(
    connection: duckdb.DuckDBPyConnection,
    draft: Draft,
    *,
    sources: Mapping[str, Mapping[Path, str]],
    judged: Mapping[Path, CachedPart],
    cutter: LineCutter | None,
) -> Bins:
    """Which bins there are; what was decided of those that are not in the cache is put where workers find it.

    `sources` are the files of each source's clean documents, with their sha256.
    """
    parts_folder = draft.folder.parent / "parts"
    number = num_bins(sum(part.ledger.taken.num_bytes for part in judged.values()))
    shas = {path: sha for clean in sources.values() for path, sha in clean.items()}
    bins = {path: bin_of(source, path, num_bins=number) for source, clean in sources.items() for path in clean}
    connection.execute(_DECIDED, {"files": list(map(str, bins)), "bins": list(bins.values())})
    digests = {Path(row[0]): row[1:] for row in connection.execute(_DIGESTS).fetchall()}
    cut = None if cutter is None else _Cut(unit=cutter.unit, repeated=draft.path("decided/repeated.parquet"))
    tasks = []
    for index, of_bin in itertools.groupby(sorted(bins, key=lambda path: (bins[path], path)), key=bins.__getitem__):
        files = tuple(of_bin)
        content = sorted([shas[path], judged[path].key, *digests.get(path, ())] for path in files)
        is_cut = cutter is not None and any(digests[path][-1] for path in files if path in digests)
        shown = [cutter.unit, cutter.shown_hashes()] if cutter is not None and is_cut else None
        taken = [judged[path].ledger.taken for path in files]
        task = _Task(
            key=f"bin-{fingerprint([CODE_VERSION, content, shown])}",
            bin=index,
            clean=files,
            judged=tuple(judged[path].table(REJECTS) for path in files),
            num_documents=sum(count.documents for count in taken),
            num_bytes=sum(count.num_bytes for count in taken),
            decided=draft.path(f"decided/{index}.parquet"),
            cut=cut if is_cut else None,
            parts_folder=parts_folder,
            where=f"corpus/{draft.name}",
        )
        tasks.append(task)
    found = load_parts(parts_folder, [task.key for task in tasks])
    missing = [task for task in tasks if task.key not in found]
    for task in missing:
        pq.write_table(connection.sql(_DECIDED_OF_BIN, params={"bin": task.bin}).to_arrow_table(), task.decided)
    if cut is not None and cutter is not None and any(task.cut for task in missing):
        hashes = pa.array(list(cutter.num_documents), pa.uint64())
        pq.write_table(pa.table({"hash": hashes}), cut.repeated)
    return Bins(tasks=tasks, parts_folder=parts_folder, cutter=cutter)


def write_bins(draft: Draft, bins: Bins, *, engine: EngineConfig, progress: Progress) -> tuple[dict[str, int], Ledger]:
    """Puts the corpus's files into the draft; rows by file, and the account of what lies on disk.

    Raises:
        StageError: a bin failed at every try, or its ledger does not balance.
        StorageError: the disk is full, read-only or forbidden.
    """
    built = build_parts(
        bins.tasks,
        _build_bin,
        parts_folder=bins.parts_folder,
        engine=engine,
        progress=progress,
        small_work_bytes=SMALL_WORK_BYTES,
    )
    if built.num_built < len(bins.tasks):
        progress.note(f"{len(bins.tasks) - built.num_built} of {len(bins.tasks)} bins are as they were")
    rows: dict[str, int] = {}
    ledger = Ledger()
    for task, part in zip(bins.tasks, built.parts, strict=True):
        ledger.merge(part.ledger)
        for table, name in ((DOCUMENTS, train_file(task.bin)), (REJECTS, rejects_file(task.bin))):
            link_table(part.table(table), draft.path(name))
            rows[name] = part.files[table].num_rows
        if bins.cutter is not None and part.account:
            bins.cutter.merge(part.account)
    held_out = [part.table(HELD_OUT) for part in built.parts if part.files[HELD_OUT].num_rows]
    with database(draft, files=held_out) as connection:
        for split in HELD_OUT_SPLITS:
            name = f"documents/{split}.parquet"
            values = {"files": list(map(str, held_out)), "split": split}
            places = connection.sql(_HELD_OUT, params=values).to_arrow_table()
            batches = rows_in_order(places, CORPUS_SCHEMA, draft.path("scratch/x").parent)
            rows[name] = write_parquet(draft.path(name), batches, CORPUS_SCHEMA)
    return rows, ledger


def _build_bin(task: _Task) -> CachedPart:
    return write_tables(task.parts_folder, task.key, where=task.description, write=lambda folder: _write(folder, task))


def _write(folder: Path, task: _Task) -> Tables:
    cutter = None if task.cut is None else LineCutter.of(task.cut.repeated, unit=task.cut.unit)
    rows = {HELD_OUT: 0, DOCUMENTS: 0}
    files = [*task.clean, *task.judged, task.decided]
    values = {"files": list(map(str, task.clean)), "decided": str(task.decided)}
    with locked(folder / "scratch", files=files, where=task.where, settings=WORKER_SETTINGS) as connection:
        decided = connection.sql(_KEPT, params=values).to_arrow_table()
        kept = _with_decided(rows_in_order(decided, CLEAN_SCHEMA, folder / "scratch"), decided)
        kept = (batch.select(CORPUS_SCHEMA.names) for batch in (cutter.cut(kept) if cutter else kept))
        for table, batches in itertools.groupby(_by_table(kept), key=lambda item: item[0]):
            rows[table] = stream_parquet(folder / f"{table}.parquet", (batch for _, batch in batches), CORPUS_SCHEMA)
        for table in (table for table, num_rows in rows.items() if not num_rows):
            stream_parquet(folder / f"{table}.parquet", [], CORPUS_SCHEMA)
        values["judged"] = list(map(str, task.judged))
        rejected = stream(connection, _REJECTED, REJECT_SCHEMA, values)
        rows[REJECTS] = stream_parquet(folder / f"{REJECTS}.parquet", rejected, REJECT_SCHEMA)
    ledger = _account(folder, task)
    account = {}
    if cutter is not None:
        ledger.reject(REPEATED_LINES, documents=0, num_bytes=cutter.removed_bytes)
        account = cutter.account()
    return Tables(rows=rows, ledger=ledger, account=account)


def _with_decided(batches: Iterator[pa.RecordBatch], decided: pa.Table) -> Iterator[pa.RecordBatch]:
    """Clean documents, and beside them what was decided of each, in the same order: CORPUS_SCHEMA and `is_cut`."""
    schema = CORPUS_SCHEMA.append(pa.field("is_cut", pa.bool_()))
    done = 0
    for batch in batches:
        part = decided.slice(done, batch.num_rows).select(_DECIDED_COLUMNS).combine_chunks()
        columns = [*batch.columns, *(part[name].combine_chunks() for name in _DECIDED_COLUMNS)]
        names = [*batch.schema.names, *_DECIDED_COLUMNS]
        yield pa.table(columns, names=names).select(schema.names).cast(schema).combine_chunks().to_batches()[0]
        done += batch.num_rows


def _account(folder: Path, task: _Task) -> Ledger:
    """What was asked for, and what lies on disk."""
    ledger = Ledger()
    ledger.take(documents=task.num_documents, num_bytes=task.num_bytes)
    for name in (DOCUMENTS, HELD_OUT):
        count_kept(ledger, folder / f"{name}.parquet")
    count_rejects(ledger, folder / f"{REJECTS}.parquet")
    return ledger


def _by_table(batches: Iterator[pa.RecordBatch]) -> Iterator[tuple[str, pa.RecordBatch]]:
    """Held-out documents, then training documents, as they are sorted."""
    for batch in batches:
        is_train = pc.equal(batch["split"], "train")
        for table, chosen in ((HELD_OUT, pc.invert(is_train)), (DOCUMENTS, is_train)):
            part = batch.filter(chosen)
            if part.num_rows:
                yield table, part
