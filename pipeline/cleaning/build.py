"""The stage: each part of the raw documents is cleaned by a worker, cached by content, linked into the version."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.artifacts import Artifact, Draft
from pipeline.cleaning import CODE_VERSION
from pipeline.cleaning.clean import STAGE, clean_batch
from pipeline.cleaning.mojibake import repair
from pipeline.cleaning.pii.redact import redact
from pipeline.cleaning.report import make_report
from pipeline.config import EngineConfig
from pipeline.engine import server_is_prepared
from pipeline.files import fingerprint
from pipeline.part_cache import EXCERPT_CHARACTERS, CachedPart, PartWriter, build_parts, link_parts, write_part
from pipeline.progress import Progress
from pipeline.records import CLEAN_SCHEMA, Ledger

BATCH_ROWS = 1024
BATCH_BYTES = 2_000_000
"""Signals need some fifteen times the text's bytes while they are computed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Task:
    key: str
    raw: Path
    num_bytes: int
    parts_folder: Path
    where: str
    kinds: tuple[str, ...]

    @property
    def description(self) -> str:
        return f"{self.where} {self.raw}"


def build_clean_documents(
    draft: Draft, *, raw: Artifact, kinds: tuple[str, ...] = (), engine: EngineConfig, progress: Progress
) -> Artifact:
    """Cleans every part of `raw`, replacing personal data of the given kinds; the number of workers changes nothing.

    Raises:
        StageError: the ledger does not balance.
        StorageError: the disk is full, read-only or forbidden.
    """
    parts_folder = draft.folder.parent / "parts"
    where = f"{STAGE}/{draft.name}"
    entries = {entry.path: entry for entry in raw.manifest.files}
    tasks = []
    for path in raw.files("documents/*.parquet"):
        entry = entries[path.relative_to(raw.folder).as_posix()]
        key = fingerprint([CODE_VERSION, entry.path, entry.sha256, *sorted(kinds)])
        num_bytes = _text_bytes(path)
        task = _Task(key=key, raw=path, num_bytes=num_bytes, parts_folder=parts_folder, where=where, kinds=kinds)
        tasks.append(task)
    built = build_parts(
        tasks,
        _build_part,
        parts_folder=parts_folder,
        engine=engine,
        progress=progress,
        small_work_bytes=0 if server_is_prepared() else None,  # the language model takes half a second to make here
    )
    if built.num_built < len(tasks):
        progress.note(f"{len(tasks) - built.num_built} of {len(tasks)} parts were there already")
    rows = link_parts(built.parts, draft)
    ledger = Ledger()
    for part in built.parts:
        ledger.merge(part.ledger)
    ledger.check(where)
    _require_all_taken(ledger, raw, where)
    counts = {"ledger": ledger.to_json(), "parts": len(tasks)}
    return draft.commit(counts=counts, report=make_report(built.parts, ledger), rows=rows)


def _text_bytes(path: Path) -> int:
    """Uncompressed size of a part, from its footer."""
    metadata = pq.read_metadata(path)
    return sum(metadata.row_group(index).total_byte_size for index in range(metadata.num_row_groups))


def _require_all_taken(ledger: Ledger, raw: Artifact, where: str) -> None:
    """What ingestion kept is what came in here: the two ledgers meet."""
    before = Ledger.from_json(raw.manifest.counts["ledger"])
    joined = Ledger(taken=before.kept, kept=ledger.taken)
    joined.check(where)


def _build_part(task: _Task) -> CachedPart:
    return write_part(
        task.parts_folder,
        task.key,
        schema=CLEAN_SCHEMA,
        bytes_column="raw_bytes",
        where=task.where,
        fill=lambda writer: _fill(writer, task.raw, task.kinds),
    )


def _fill(writer: PartWriter, raw: Path, kinds: tuple[str, ...]) -> Mapping[str, Any]:
    """Cleans a part in small batches, so that memory stays bounded, and counts what the report shows."""
    totals: Counter[str] = Counter()
    languages: dict[str, Counter[str]] = {}
    redactions: Counter[str] = Counter()
    repaired: dict[str, str] | None = None
    for batch in _batches(raw):
        writer.take(documents=batch.num_rows, num_bytes=pc.sum(batch["num_bytes"]).as_py() or 0)
        kept, rejects = clean_batch(batch, kinds)
        for row in rejects:
            writer.reject(row)
        if not kept.num_rows:
            continue
        writer.keep(kept)
        for name in ("num_bytes", "num_characters", "num_words", "num_lines", "repaired"):
            totals[name] += pc.sum(kept[name]).as_py()
        for language, num_bytes in zip(kept["language"].to_pylist(), kept["num_bytes"].to_pylist(), strict=True):
            languages.setdefault(language, Counter()).update(documents=1, bytes=num_bytes)
        for row in kept["redactions"].to_pylist():
            redactions.update(dict(row or ()))
            totals["redacted"] += row is not None
        if repaired is None and pc.any(kept["repaired"]).as_py():
            repaired = _first_repair(batch, kinds)
    return {
        "totals": dict(sorted(totals.items())),
        "languages": {language: dict(count) for language, count in sorted(languages.items())},
        "repaired": repaired,
        "redactions": dict(sorted(redactions.items())),
    }


def _batches(path: Path) -> Iterator[pa.RecordBatch]:
    """The part's rows, a few at a time: at most BATCH_ROWS, and about BATCH_BYTES unless one alone is larger."""
    with pq.ParquetFile(path) as file:
        for index in range(file.num_row_groups):  # each of bounded size
            for batch in file.iter_batches(batch_size=BATCH_ROWS, row_groups=[index]):
                fill = np.cumsum(batch["num_bytes"].to_numpy()) // BATCH_BYTES
                starts = np.flatnonzero(np.diff(fill, prepend=-1))
                for start, stop in itertools.pairwise([*starts.tolist(), batch.num_rows]):
                    yield batch.slice(start, stop - start)


def _first_repair(batch: pa.RecordBatch, kinds: tuple[str, ...]) -> dict[str, str] | None:
    """The first line with mojibake, before and after."""
    for path, text in zip(batch["path"].to_pylist(), batch["text"].to_pylist(), strict=True):
        for line in text.split("\n"):
            after, changed = repair(line)
            if changed:
                before, after = redact(line, kinds)[0], redact(after, kinds)[0]
                return {"path": path, "before": before[:EXCERPT_CHARACTERS], "after": after[:EXCERPT_CHARACTERS]}
    return None
