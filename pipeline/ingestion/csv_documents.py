"""CSV and TSV: a row is a document, quoted fields hold line ends (RFC 4180), in bounded memory.

In: a file, perhaps compressed, or a range of it that begins and ends with rows. Out: a document for each row, or a
reject with its row. The delimiter is detected as the character that divides the first rows alike. A row that breaks the
quoting, or has more or fewer fields than the header, is one reject, since its columns cannot be told.
Trade-off: after a quote that never closes nothing tells rows apart, so from there on the file is one reject.
"""

from __future__ import annotations

import csv
import itertools
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from pipeline.config.file_sources import CsvSource
from pipeline.ingestion.decompress import read_chunks
from pipeline.ingestion.fields import BadField, group_of
from pipeline.ingestion.items import MAX_DOCUMENT_BYTES, Document, FileRejected, Rejected
from pipeline.ingestion.ranges import Range, read_range
from pipeline.ingestion.text_stream import LongLine, head_encoding, read_head, text_lines

DELIMITERS = ",\t;|"
"""Candidates, the likeliest first."""
_SAMPLE_ROWS = 20
_SAMPLE_LINES = 1000
_FIELD_LIMIT_MESSAGE = "field larger than field limit"
_UNCLOSED_MESSAGE = "unexpected end of data"


class _TooLong(Exception):
    def __init__(self, line: LongLine) -> None:
        super().__init__("line too long")
        self.line = line


class _Lines:
    """Lines for the csv module with what it read of the current row; outlives an exception, as generators do not."""

    def __init__(self, lines: Iterator[str | LongLine]) -> None:
        self._lines = lines
        self.taken: list[str] = []

    def __iter__(self) -> _Lines:
        return self

    def __next__(self) -> str:
        line = next(self._lines)
        if isinstance(line, LongLine):
            raise _TooLong(line)
        self.taken.append(line)
        return line + "\n"

    def count_rest(self) -> int:
        """UTF-8 bytes of the current row and of all that follows, which is read and dropped."""
        num_bytes = sum(_num_bytes(line) for line in self.taken)
        return num_bytes + sum(
            line.num_bytes if isinstance(line, LongLine) else _num_bytes(line) for line in self._lines
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Columns:
    """Which fields of a row are wanted."""

    num_fields: int | None
    """Of every row; None without a header, where rows must only hold the wanted ones."""
    text: tuple[int, ...]
    title: int | None
    target: int | None
    group: int | None


def read_csv(
    path: Path, config: CsvSource, facts: Counter[str], part: Range | None = None
) -> Iterator[Document | Rejected]:
    """The file's documents and rejects; with `part`, those of its rows alone.

    Raises:
        FileRejected: it cannot be decompressed or decoded, is empty, or lacks a column.
    """
    head, chunks = read_head(read_chunks(path))
    if not head.strip():
        raise FileRejected("empty", "The file is empty.")
    encoding = head_encoding(head, encoding=config.encoding, facts=facts)
    first = list(itertools.islice(text_lines([head], encoding=encoding, errors="replace"), _SAMPLE_LINES))
    delimiter = config.delimiter if config.delimiter != "detect" else detect_delimiter(first, quote=config.quote)
    columns = _columns(first, config, delimiter)
    if part is not None:
        chunks = read_range(path, part)
    rows = _rows(text_lines(chunks, encoding=encoding), delimiter=delimiter, quote=config.quote)
    first_index = 0 if part is None else part.first_index
    skips_header = config.header and first_index == 0
    for index, row in enumerate(rows, start=first_index):
        if isinstance(row, _BadRow):
            if skips_header:
                raise FileRejected("invalid_csv", f"Its header cannot be read: {row.detail}")
            yield Rejected(
                index=index,
                reason=row.reason,
                detail=f"Row {index + 1}: {row.detail}",
                num_bytes=row.num_bytes,
                excerpt=row.excerpt,
            )
        elif skips_header and row:
            skips_header = False
        elif row:
            yield _from_row(row, index, columns, config.join)


def detect_delimiter(lines: Iterable[str | LongLine], *, quote: str | None) -> str:
    """The candidate that divides the first rows into the most equal, and more than one, fields; a comma if none does.

    ["a;b", "1,5;2"] -> ";"
    """
    sample = [line for line in lines if isinstance(line, str) and line][:_SAMPLE_ROWS]
    best, best_score = DELIMITERS[0], 0.0
    for delimiter in DELIMITERS:
        widths = [len(row) for row in _rows(iter(sample), delimiter=delimiter, quote=quote) if isinstance(row, list)]
        if not widths or widths[0] < 2:
            continue
        score = sum(width == widths[0] for width in widths) / len(widths)
        if score > best_score:
            best, best_score = delimiter, score
    return best


@dataclass(frozen=True, slots=True, kw_only=True)
class _BadRow:
    reason: str
    detail: str
    num_bytes: int
    excerpt: str


def _rows(lines: Iterator[str | LongLine], *, delimiter: str, quote: str | None) -> Iterator[list[str] | _BadRow]:
    """The rows of a file; a blank line is a row without fields."""
    csv.field_size_limit(MAX_DOCUMENT_BYTES)
    source = _Lines(lines)
    reader = csv.reader(
        source,
        delimiter=delimiter,
        quotechar=quote,
        quoting=csv.QUOTE_NONE if quote is None else csv.QUOTE_MINIMAL,
        strict=True,
    )
    while True:
        source.taken = []
        try:
            yield next(reader)
        except StopIteration:
            return
        except _TooLong as error:
            num_bytes = error.line.num_bytes + sum(_num_bytes(line) for line in source.taken)
            detail = f"it has a line of {error.line.num_bytes} bytes; the limit is {MAX_DOCUMENT_BYTES}."
            yield _BadRow(reason="line_too_long", detail=detail, num_bytes=num_bytes, excerpt=error.line.beginning)
        except csv.Error as error:
            excerpt = "\n".join(source.taken)[:400]
            is_unclosed = str(error).startswith((_FIELD_LIMIT_MESSAGE, _UNCLOSED_MESSAGE))
            num_bytes = source.count_rest() if is_unclosed else sum(_num_bytes(line) for line in source.taken)
            if is_unclosed:
                detail = "a quote opens and never closes; if quotes are plain characters, set `quote: null`."
            else:
                detail = f"it is no CSV ({error}); if quotes are plain characters, set `quote: null`."
            yield _BadRow(reason="invalid_csv", detail=detail, num_bytes=num_bytes, excerpt=excerpt)


def _columns(first: Iterable[str | LongLine], config: CsvSource, delimiter: str) -> _Columns:
    """The places of the wanted columns.

    Raises:
        FileRejected: `missing_text` where the header lacks one, `invalid_csv` where there is no header.
    """
    header: list[str] | None = None
    if config.header:
        rows = (row for row in _rows(iter(first), delimiter=delimiter, quote=config.quote) if row)
        row = next(rows, None)
        if not isinstance(row, list):
            raise FileRejected("invalid_csv", "Its first row is no header; set `header: false` and number the columns.")
        header = [name.strip() for name in row]

    def place(column: str | int) -> int:
        if isinstance(column, int):
            if header is not None and column >= len(header):
                raise FileRejected("missing_text", f"It has no column {column}; it has {len(header)}, counted from 0.")
            return column
        assert header is not None, "the configuration names columns only with a header"
        if column not in header:
            shown = ", ".join(header)[:300]
            raise FileRejected("missing_text", f"It has no column {column!r}; it has {shown}.")
        return header.index(column)

    texts = config.text if isinstance(config.text, tuple) else (config.text,)
    return _Columns(
        num_fields=None if header is None else len(header),
        text=tuple(place(column) for column in texts),
        title=None if config.title is None else place(config.title),
        target=None if config.target is None else place(config.target),
        group=None if config.group is None else place(config.group),
    )


def _from_row(row: list[str], index: int, columns: _Columns, join: str) -> Document | Rejected:
    others = (columns.title, columns.target, columns.group)
    wanted = [*columns.text, *(place for place in others if place is not None)]
    is_short = len(row) <= max(wanted)
    if is_short or (columns.num_fields is not None and len(row) != columns.num_fields):
        expected = f"{columns.num_fields}" if columns.num_fields is not None else f"at least {max(wanted) + 1}"
        return Rejected(
            index=index,
            reason="wrong_fields",
            detail=f"Row {index + 1} has {len(row)} fields, not {expected}.",
            num_bytes=sum(_num_bytes(field) for field in row),
            excerpt=" ".join(row)[:400],
        )
    title = row[columns.title].strip() if columns.title is not None else None
    try:
        group = None if columns.group is None else group_of(row[columns.group], columns.group)
    except BadField as error:
        return Rejected(
            index=index,
            reason=error.reason,
            detail=f"Row {index + 1}: {error}",
            num_bytes=sum(_num_bytes(field) for field in row),
            excerpt=" ".join(row)[:400],
        )
    return Document(
        index=index,
        text=join.join(piece for place in columns.text if (piece := row[place])),
        title=title or None,
        target=row[columns.target] if columns.target is not None else None,
        group=group,
    )


def _num_bytes(text: str) -> int:
    return len(text.encode("utf-8", "surrogatepass"))
