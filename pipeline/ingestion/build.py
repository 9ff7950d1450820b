"""The stage: a source's files become `documents/<part>.parquet` and `rejects/<part>.parquet`.

Each part is read by a worker, cached by its content, and linked into the version; unchanged parts are not read again.
Small files share a part of the cache (see bundles.py).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from pipeline.artifacts import Artifact, Draft
from pipeline.config import EngineConfig
from pipeline.config.data import SourceConfig
from pipeline.errors import InputError
from pipeline.ingestion.bundles import bundle, bundle_key
from pipeline.ingestion.items import MAX_DOCUMENT_BYTES, Document, FileRejected, Rejected
from pipeline.ingestion.parts import Part, list_parts
from pipeline.ingestion.reading import read_part
from pipeline.ingestion.report import FILE_COUNTS, NUM_SAMPLES, SAMPLE_CHARACTERS, TABLE_ROWS, by_size, make_report
from pipeline.part_cache import CachedPart, PartWriter, build_parts, link_parts, reject_row, write_part
from pipeline.progress import Progress
from pipeline.records import RAW_SCHEMA, Ledger, document_id

STAGE = "raw_documents"
BATCH_BYTES = 4_000_000
BATCH_ROWS = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class _Task:
    parts: tuple[Part, ...]
    config: SourceConfig
    source: str
    parts_folder: Path

    @property
    def key(self) -> str:
        return bundle_key(self.parts)

    @property
    def num_bytes(self) -> int:
        return sum(part.num_bytes for part in self.parts)

    @property
    def description(self) -> str:
        first = self.parts[0]
        if len(self.parts) > 1:
            return f"sources.{self.source} {first.path} to {self.parts[-1].path}, {len(self.parts)} small files"
        return f"sources.{self.source} {first.path}" + (f", {first.range}" if first.range else "")


def build_raw_documents(
    draft: Draft,
    *,
    name: str,
    config: SourceConfig,
    folder: Path,
    cache_folder: Path,
    engine: EngineConfig,
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
    tasks = [_Task(parts=few, config=config, source=name, parts_folder=parts_folder) for few in bundle(parts)]
    built = build_parts(tasks, _build_part, parts_folder=parts_folder, engine=engine, progress=progress)
    if built.num_built < len(tasks):
        progress.note(f"{len(tasks) - built.num_built} of {len(tasks)} parts were there already")
    rows = link_parts(built.parts, draft)
    ledger = Ledger()
    for part in built.parts:
        ledger.merge(part.ledger)
    ledger.check(f"{STAGE}/{name}")
    report = make_report(built.parts, ledger, num_files=len({part.path for part in parts}))
    counts = {"ledger": ledger.to_json(), "parts": len(tasks)}
    return draft.commit(counts=counts, report=report, rows=rows)


@dataclass(slots=True, kw_only=True)
class _Contents:
    """Of one part of a source."""

    part: Part
    items: Iterable[Document | Rejected]
    facts: Counter[str] = field(default_factory=Counter)
    """What the reader remarked, once the items are read."""


def _build_part(task: _Task) -> CachedPart:
    """Reads a part, or some small ones, in a worker; a file that cannot be trusted as a whole is one reject."""

    def write(contents: Iterable[_Contents]) -> CachedPart:
        return write_part(
            task.parts_folder,
            task.key,
            schema=RAW_SCHEMA,
            bytes_column="num_bytes",
            where=f"{STAGE}/{task.source} ({task.parts[0].path})",
            fill=lambda writer: _fill(writer, contents, task),
        )

    if len(task.parts) > 1:
        return write(_whole(part, task) for part in task.parts)
    (part,) = task.parts
    facts: Counter[str] = Counter()
    try:
        return write([_Contents(part=part, items=_read(part, facts, task), facts=facts)])
    except FileRejected as error:
        return write([_refused(part, error)])


def _read(part: Part, facts: Counter[str], task: _Task) -> Iterator[Document | Rejected]:
    return read_part(part, task.config, facts, parts_folder=task.parts_folder)


def _whole(part: Part, task: _Task) -> _Contents:
    """All of a small part at once: it is known whether it can be trusted before anything of it is written."""
    facts: Counter[str] = Counter()
    try:
        return _Contents(part=part, items=list(_read(part, facts, task)), facts=facts)
    except FileRejected as error:
        return _refused(part, error)


def _refused(part: Part, error: FileRejected) -> _Contents:
    whole = Rejected(index=0, reason=error.reason, detail=str(error), num_bytes=part.num_bytes)
    return _Contents(part=part, items=[whole])


def _fill(writer: PartWriter, contents: Iterable[_Contents], task: _Task) -> Mapping[str, Any]:
    """Writes every part's documents and rejects; what the report wants to know of them."""
    rows = _Rows(writer)
    facts: Counter[str] = Counter()
    files: list[dict[str, int | str]] = []
    samples: list[dict[str, str | None]] = []
    for number, content in enumerate(contents):
        path = content.part.path
        count: Counter[str] = Counter(dict.fromkeys(FILE_COUNTS, 0))
        # not all samples of the first files
        wants_sample = number * NUM_SAMPLES >= len(samples) * len(task.parts)
        for item in content.items:
            checked = _check(item) if isinstance(item, Document) else item
            if isinstance(checked, Rejected):
                count.update(rejected_documents=1, rejected_bytes=checked.num_bytes)
                _reject(writer, checked, path=checked.path or path, source=task.source)
                continue
            num_bytes = len(checked.text.encode())
            count.update(documents=1, bytes=num_bytes)
            if wants_sample:
                text = checked.text[:SAMPLE_CHARACTERS]
                samples.append({"path": checked.path or path, "title": checked.title, "text": text})
                wants_sample = False
            rows.add(checked, path=checked.path or path, source=task.source, num_bytes=num_bytes)
        facts += content.facts
        files.append({"path": path, **count})
    rows.flush()
    largest = sorted(files, key=by_size)[:TABLE_ROWS]
    return {"facts": dict(sorted(facts.items())), "samples": samples, "files": largest}


def _reject(writer: PartWriter, rejected: Rejected, *, path: str, source: str) -> None:
    writer.take(num_bytes=rejected.num_bytes)
    writer.reject(
        reject_row(
            stage=STAGE,
            source=source,
            path=path,
            index=rejected.index,
            reason=rejected.reason,
            detail=rejected.detail,
            num_bytes=rejected.num_bytes,
            id=rejected.id,
            excerpt=rejected.excerpt,
            value=rejected.value,
            threshold=rejected.threshold,
        )
    )


class _Rows:
    """Documents on their way to the writer, some thousands at a time."""

    def __init__(self, writer: PartWriter) -> None:
        self._writer = writer
        self._pending: list[dict[str, Any]] = []
        self._pending_bytes = 0

    def add(self, document: Document, *, path: str, source: str, num_bytes: int) -> None:
        self._writer.take(num_bytes=num_bytes)
        self._pending.append(
            {
                "id": document_id(document.text, document.target),
                "source": source,
                "path": path,
                "index": document.index,
                "title": document.title,
                "text": document.text,
                "num_bytes": num_bytes,
                "target": document.target,
                "group_id": document.group,
            }
        )
        self._pending_bytes += num_bytes + (len(document.target) if document.target is not None else 0)
        if self._pending_bytes >= BATCH_BYTES or len(self._pending) >= BATCH_ROWS:
            self.flush()

    def flush(self) -> None:
        if self._pending:
            self._writer.keep(pa.RecordBatch.from_pylist(self._pending, RAW_SCHEMA))
            self._pending, self._pending_bytes = [], 0


def _check(document: Document) -> Document | Rejected:
    """What every document must be, whichever reader it comes from: text that UTF-8 can say, of bounded size."""
    problem = _problem(document)
    if problem is None:
        return document
    reason, detail, value, threshold = problem
    return Rejected(
        index=document.index,
        path=document.path,
        reason=reason,
        detail=detail,
        num_bytes=len(document.text.encode("utf-8", "surrogatepass")),
        excerpt=document.text,
        id=document_id(document.text, document.target),
        value=value,
        threshold=threshold,
    )


def _problem(document: Document) -> tuple[str, str, float | None, float | None] | None:
    """Reason, detail, value and threshold of a reject."""
    halves = {"It": document.text} | ({"Its target": document.target} if document.target is not None else {})
    for name, text in (halves | ({"Its title": document.title} if document.title is not None else {})).items():
        try:
            num_bytes = len(text.encode())
        except UnicodeEncodeError as error:
            from_bytes = all("\udc80" <= character <= "\udcff" for character in text[error.start : error.end])
            detail = f"{name} has at character {error.start} half of a UTF-16 pair or a byte that is no UTF-8."
            return "invalid_utf8" if from_bytes else "lone_surrogate", detail, None, None
        if num_bytes > MAX_DOCUMENT_BYTES:
            detail = f"{name} has {num_bytes} bytes; the limit is {MAX_DOCUMENT_BYTES}."
            return "too_large", detail, num_bytes, MAX_DOCUMENT_BYTES
    for name, text in halves.items():
        if not text.strip():
            reason = "empty" if name == "It" else "empty_target"
            return reason, f"{name} holds white space only.", None, None
    return None
