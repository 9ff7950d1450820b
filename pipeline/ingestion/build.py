"""The stage: a source's files become `documents/<part>.parquet` and `rejects/<part>.parquet`.

Each part is read by a worker, cached by its content, and linked into the version; unchanged parts are not read again.
A file that changes while it is read stops the run: its rows would not be those its key names.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from pipeline.artifacts import Artifact, Draft
from pipeline.config.data import JsonSource, ParquetSource, PythonDocsSource, SourceConfig, TextSource
from pipeline.errors import InputError
from pipeline.files import sha256_file
from pipeline.ingestion.items import MAX_DOCUMENT_BYTES, Document, FileRejected, Rejected
from pipeline.ingestion.json_documents import read_json
from pipeline.ingestion.parquet import read_parquet
from pipeline.ingestion.parts import Part, list_parts, package_content
from pipeline.ingestion.python_docs import read_python_docs
from pipeline.ingestion.report import SAMPLE_CHARACTERS, make_report
from pipeline.ingestion.stat_cache import StatCache
from pipeline.ingestion.text import read_text
from pipeline.part_cache import CachedPart, PartWriter, build_parts, link_parts, reject_row, write_part
from pipeline.progress import Progress
from pipeline.records import RAW_SCHEMA, Ledger, document_id

STAGE = "raw_documents"
BATCH_BYTES = 4_000_000
BATCH_ROWS = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class _Task:
    part: Part
    config: SourceConfig
    source: str
    parts_folder: Path

    @property
    def key(self) -> str:
        return self.part.key

    @property
    def num_bytes(self) -> int:
        return self.part.num_bytes


def build_raw_documents(
    draft: Draft,
    *,
    name: str,
    config: SourceConfig,
    folder: Path,
    cache_folder: Path,
    num_workers: int | None,
    progress: Progress,
) -> Artifact:
    """Ingests the source `name`; `folder` is what its paths are relative to.

    Raises:
        InputError: nothing matches its paths, or a file changed meanwhile.
        StageError: the ledger does not balance.
        StorageError: the disk is full, read-only or forbidden.
    """
    parts = list_parts(config, folder=folder, cache_folder=cache_folder)
    planned = draft.literals.get("parts")
    if planned is not None and list(planned) != [part.key for part in parts]:
        raise InputError(f"The files of sources.{name} changed while the run began. Run again.")
    parts_folder = draft.folder.parent / "parts"
    tasks = [_Task(part=part, config=config, source=name, parts_folder=parts_folder) for part in parts]
    built = build_parts(tasks, _build_part, parts_folder=parts_folder, num_workers=num_workers, progress=progress)
    if built.num_built < len(parts):
        progress.note(f"{len(parts) - built.num_built} of {len(parts)} parts were there already")
    rows = link_parts(built.parts, draft)
    ledger = Ledger()
    for part in built.parts:
        ledger.merge(part.ledger)
    ledger.check(f"{STAGE}/{name}")
    report = make_report(built.parts, ledger, paths=[part.path for part in parts])
    counts = {"ledger": ledger.to_json(), "parts": len(parts)}
    return draft.commit(counts=counts, report=report, rows=rows)


def _build_part(task: _Task) -> CachedPart:
    """Reads one part in a worker; where the file as a whole cannot be trusted, the part is that one reject."""

    def write(items: Iterator[Document | Rejected], facts: Counter[str]) -> CachedPart:
        return write_part(
            task.parts_folder,
            task.key,
            schema=RAW_SCHEMA,
            bytes_column="num_bytes",
            where=f"{STAGE}/{task.source} ({task.part.path})",
            fill=lambda writer: _fill(writer, items, facts, task),
        )

    facts: Counter[str] = Counter()
    try:
        if task.part.refusal is not None:
            raise FileRejected("refused", task.part.refusal)
        return write(_read(task, facts), facts)
    except FileRejected as error:
        whole = Rejected(index=0, reason=error.reason, detail=str(error), num_bytes=task.part.num_bytes)
        return write(iter([whole]), Counter())


def _read(task: _Task, facts: Counter[str]) -> Iterator[Document | Rejected]:
    """The reader's items, and at the end the proof that they are of the file that the key names.

    Raises:
        InputError: the file could not be read this time, or is another one by now.
    """
    rejected: FileRejected | None = None
    try:
        try:
            yield from _reader(task.part, task.config, facts)
        except FileRejected as error:
            rejected = error
        content = _content_now(task.part, task.config, task.parts_folder)
    except OSError as error:
        raise InputError(f"{task.part.location} cannot be read: {error.strerror}. Mend that and run again.") from error
    if content != task.part.content:
        raise InputError(f"{task.part.location} changed while it was read. Run again when it is complete.")
    if rejected is not None:
        raise rejected


def _reader(part: Part, config: SourceConfig, facts: Counter[str]) -> Iterator[Document | Rejected]:
    path = Path(part.location)
    match config:
        case TextSource():
            return read_text(path, config, facts)
        case JsonSource():
            return read_json(path, config, facts)
        case ParquetSource():
            return read_parquet(path, config)
        case PythonDocsSource():
            return read_python_docs(path, facts)


def _content_now(part: Part, config: SourceConfig, parts_folder: Path) -> str:
    if isinstance(config, PythonDocsSource):
        return package_content(Path(part.location), StatCache(parts_folder, name="read only"))[0]
    return sha256_file(Path(part.location))


def _fill(
    writer: PartWriter, items: Iterator[Document | Rejected], facts: Counter[str], task: _Task
) -> Mapping[str, Any]:
    rows: list[dict[str, Any]] = []
    num_pending = 0
    sample: dict[str, str | None] | None = None
    for item in items:
        path = item.path or task.part.path
        checked = _check(item) if isinstance(item, Document) else item
        if isinstance(checked, Rejected):
            writer.take(num_bytes=checked.num_bytes)
            writer.reject(
                reject_row(
                    stage=STAGE,
                    source=task.source,
                    path=path,
                    index=checked.index,
                    reason=checked.reason,
                    detail=checked.detail,
                    num_bytes=checked.num_bytes,
                    id=checked.id,
                    excerpt=checked.excerpt,
                )
            )
            continue
        num_bytes = len(checked.text.encode())
        writer.take(num_bytes=num_bytes)
        sample = sample or {"path": path, "title": checked.title, "text": checked.text[:SAMPLE_CHARACTERS]}
        rows.append(
            {
                "id": document_id(checked.text),
                "source": task.source,
                "path": path,
                "index": checked.index,
                "title": checked.title,
                "text": checked.text,
                "num_bytes": num_bytes,
            }
        )
        num_pending += num_bytes
        if num_pending >= BATCH_BYTES or len(rows) >= BATCH_ROWS:
            writer.keep(pa.RecordBatch.from_pylist(rows, RAW_SCHEMA))
            rows, num_pending = [], 0
    if rows:
        writer.keep(pa.RecordBatch.from_pylist(rows, RAW_SCHEMA))
    return {"facts": dict(sorted(facts.items())), "sample": sample}


def _check(document: Document) -> Document | Rejected:
    """What every document must be, whichever reader it comes from: text that UTF-8 can say, of bounded size."""
    try:
        num_bytes = len(document.text.encode())
    except UnicodeEncodeError as error:
        from_bytes = all("\udc80" <= character <= "\udcff" for character in document.text[error.start : error.end])
        return Rejected(
            index=document.index,
            path=document.path,
            reason="invalid_utf8" if from_bytes else "lone_surrogate",
            detail=f"Character {error.start} is half of a UTF-16 pair or a byte that is no UTF-8.",
            num_bytes=len(document.text.encode("utf-8", "surrogatepass")),
            excerpt=document.text,
            id=document_id(document.text),
        )
    reason, detail = None, ""
    if num_bytes > MAX_DOCUMENT_BYTES:
        reason, detail = "too_large", f"It has {num_bytes} bytes; the limit is {MAX_DOCUMENT_BYTES}."
    elif not document.text.strip():
        reason, detail = "empty", "It holds white space only."
    if reason is None:
        return document
    return Rejected(
        index=document.index,
        path=document.path,
        reason=reason,
        detail=detail,
        num_bytes=num_bytes,
        excerpt=document.text,
        id=document_id(document.text),
    )
