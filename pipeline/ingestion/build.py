"""The stage: a source's files become `documents/<part>.parquet` and `rejects/<part>.parquet`.

Each part is read by a worker, cached by its content, and linked into the version; unchanged parts are not read again.
A file that changes while it is read stops the run: its rows would not be those its key names.
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from pipeline.artifacts import Artifact, Draft
from pipeline.config import EngineConfig
from pipeline.config.data import JsonSource, ParquetSource, PythonDocsSource, SourceConfig, TextSource
from pipeline.config.file_sources import (
    CsvSource,
    DialogueSource,
    MarkdownSource,
    ParallelSource,
    SquadSource,
    WikipediaSource,
)
from pipeline.config.web_sources import HtmlSource, WarcSource
from pipeline.errors import InputError
from pipeline.files import storage_errors
from pipeline.ingestion.archives import is_archive, read_archive
from pipeline.ingestion.csv_documents import read_csv
from pipeline.ingestion.dialogue import read_dialogue
from pipeline.ingestion.html import read_html
from pipeline.ingestion.items import MAX_DOCUMENT_BYTES, Document, FileRejected, Rejected
from pipeline.ingestion.json_documents import read_json
from pipeline.ingestion.markdown import read_markdown
from pipeline.ingestion.parallel import read_parallel
from pipeline.ingestion.parquet import read_parquet
from pipeline.ingestion.parts import Part, content_now, list_parts
from pipeline.ingestion.python_docs import read_docstring_pairs, read_python_docs
from pipeline.ingestion.ranges import Range
from pipeline.ingestion.report import SAMPLE_CHARACTERS, make_report
from pipeline.ingestion.squad import read_squad
from pipeline.ingestion.text import read_text
from pipeline.ingestion.warc import read_warc
from pipeline.ingestion.wikipedia import read_wikipedia
from pipeline.part_cache import CachedPart, PartWriter, aside, build_parts, link_parts, reject_row, write_part
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

    @property
    def description(self) -> str:
        return f"sources.{self.source} {self.part.path}" + (f", {self.part.range}" if self.part.range else "")


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
    tasks = [_Task(part=part, config=config, source=name, parts_folder=parts_folder) for part in parts]
    built = build_parts(tasks, _build_part, parts_folder=parts_folder, engine=engine, progress=progress)
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
            yield from _reader(task, facts)
        except FileRejected as error:
            rejected = error
        content = content_now(task.part, task.config)
    except OSError as error:
        raise InputError(f"{task.part.location} cannot be read: {error.strerror}. Mend that and run again.") from error
    if content != task.part.content:
        raise InputError(f"{task.part.location} changed while it was read. Run again when it is complete.")
    if rejected is not None:
        raise rejected


def _reader(task: _Task, facts: Counter[str]) -> Iterator[Document | Rejected]:
    part, config = task.part, task.config
    path = Path(part.location)
    if isinstance(config, ParallelSource):
        assert part.target is not None, "a pair's part has both files"
        return read_parallel(path, part.target, config, facts)
    if isinstance(config, PythonDocsSource):
        if config.documents != "pages":
            return read_docstring_pairs(path, config.documents, facts)
        return read_python_docs(path, facts)
    if is_archive(part.path):
        return _archive_reader(path, config, facts, task)
    return read_file(path, config, facts, part.range)


def read_file(
    path: Path, config: SourceConfig, facts: Counter[str], part: Range | None = None
) -> Iterator[Document | Rejected]:
    """The documents and rejects of one plain file, or of a range of it, by the source's reader.

    Raises:
        FileRejected: the file as a whole cannot be trusted.
    """
    match config:
        case TextSource():
            return read_text(path, config, facts, part)
        case JsonSource():
            return read_json(path, config, facts, part)
        case CsvSource():
            return read_csv(path, config, facts, part)
        case ParquetSource():
            return read_parquet(path, config)
        case WikipediaSource():
            return read_wikipedia(path, config)
        case MarkdownSource():
            return read_markdown(path, config, facts)
        case SquadSource():
            return read_squad(path, config)
        case DialogueSource():
            return read_dialogue(path, config, facts)
        case HtmlSource():
            return read_html(path, config, facts)
        case WarcSource():
            return read_warc(path, config, facts)
        case ParallelSource() | PythonDocsSource():
            raise AssertionError("these are no readers of single files")


def _archive_reader(
    path: Path, config: SourceConfig, facts: Counter[str], task: _Task
) -> Iterator[Document | Rejected]:
    """The items of an archive's files, by way of a folder that a killed run leaves to the next one's cleaning."""
    assert not isinstance(config, PythonDocsSource), "packages are no archives"
    with storage_errors(task.parts_folder):
        scratch = aside(task.parts_folder, f"{task.key}-scratch")
        scratch.mkdir(parents=True)
    try:
        yield from read_archive(
            path,
            name=task.part.path,
            members=config.members,
            read_file=lambda member, facts: read_file(member, config, facts),
            scratch=scratch,
            facts=facts,
        )
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


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
                    value=checked.value,
                    threshold=checked.threshold,
                )
            )
            continue
        num_bytes = len(checked.text.encode())
        writer.take(num_bytes=num_bytes)
        sample = sample or {"path": path, "title": checked.title, "text": checked.text[:SAMPLE_CHARACTERS]}
        rows.append(
            {
                "id": document_id(checked.text, checked.target),
                "source": task.source,
                "path": path,
                "index": checked.index,
                "title": checked.title,
                "text": checked.text,
                "num_bytes": num_bytes,
                "target": checked.target,
                "group_id": checked.group,
            }
        )
        num_pending += num_bytes + (len(checked.target) if checked.target is not None else 0)
        if num_pending >= BATCH_BYTES or len(rows) >= BATCH_ROWS:
            writer.keep(pa.RecordBatch.from_pylist(rows, RAW_SCHEMA))
            rows, num_pending = [], 0
    if rows:
        writer.keep(pa.RecordBatch.from_pylist(rows, RAW_SCHEMA))
    return {"facts": dict(sorted(facts.items())), "sample": sample}


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
