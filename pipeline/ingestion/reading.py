"""One part of a source by the source's reader: a file, a range of one, two aligned files, an archive, a package.

In: a part and its settings. Out: its documents and rejects, and at the end the proof that they are of the file that the
part's key names: one that changes while it is read stops the run.
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

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
from pipeline.ingestion.items import Document, FileRejected, Rejected
from pipeline.ingestion.json_documents import read_json
from pipeline.ingestion.markdown import read_markdown
from pipeline.ingestion.parallel import read_parallel
from pipeline.ingestion.parquet import read_parquet
from pipeline.ingestion.parts import Part, content_now
from pipeline.ingestion.python_docs import read_docstring_pairs, read_python_docs
from pipeline.ingestion.ranges import Range
from pipeline.ingestion.squad import read_squad
from pipeline.ingestion.text import read_text
from pipeline.ingestion.warc import read_warc
from pipeline.ingestion.wikipedia import read_wikipedia
from pipeline.part_cache import aside


def read_part(
    part: Part, config: SourceConfig, facts: Counter[str], *, parts_folder: Path
) -> Iterator[Document | Rejected]:
    """The part's items; an archive's files are unpacked one by one under `parts_folder`.

    Raises:
        FileRejected: the file as a whole cannot be trusted: nothing that was read from it before is used.
        InputError: the file could not be read this time, or is another one by now.
    """
    if part.refusal is not None:
        raise FileRejected("refused", part.refusal)
    rejected: FileRejected | None = None
    try:
        try:
            yield from _items(part, config, facts, parts_folder=parts_folder)
        except FileRejected as error:
            rejected = error
        content = content_now(part, config)
    except OSError as error:
        raise InputError(f"{part.location} cannot be read: {error.strerror}. Mend that and run again.") from error
    if content != part.content:
        raise InputError(f"{part.location} changed while it was read. Run again when it is complete.")
    if rejected is not None:
        raise rejected


def _items(
    part: Part, config: SourceConfig, facts: Counter[str], *, parts_folder: Path
) -> Iterator[Document | Rejected]:
    path = Path(part.location)
    if isinstance(config, ParallelSource):
        assert part.target is not None, "a pair's part has both files"
        return read_parallel(path, part.target, config, facts)
    if isinstance(config, PythonDocsSource):
        if config.documents != "pages":
            return read_docstring_pairs(path, config.documents, facts)
        return read_python_docs(path, facts)
    if is_archive(part.path):
        return _archive_items(part, config, facts, parts_folder=parts_folder)
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


def _archive_items(
    part: Part, config: SourceConfig, facts: Counter[str], *, parts_folder: Path
) -> Iterator[Document | Rejected]:
    """The items of an archive's files, by way of a folder that a killed run leaves to the next one's cleaning."""
    assert not isinstance(config, PythonDocsSource), "packages are no archives"
    with storage_errors(parts_folder):
        scratch = aside(parts_folder, f"{part.key}-scratch")
        scratch.mkdir(parents=True)
    try:
        yield from read_archive(
            Path(part.location),
            name=part.path,
            members=config.members,
            read_file=lambda member, facts: read_file(member, config, facts),
            scratch=scratch,
            facts=facts,
        )
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
