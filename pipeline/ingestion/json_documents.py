"""JSON Lines, a JSON array, or one JSON object a file, in bounded memory.

In: a file, perhaps compressed. Out: a document for each record, or a reject with its line (element, in an array).
Which of the three it is shows at the first byte and the first lines: `[` opens an array; a first line that is JSON by
itself means JSON Lines; otherwise the file is tried as one object. What RFC 8259 leaves open is refused by name: NaN,
duplicate keys, lone surrogates, depth.
Trade-off: a broken place in an array ends it, since nothing tells where the next element begins; JSON Lines lose one
line only.
"""

from __future__ import annotations

import codecs
import itertools
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pipeline.config.data import JsonSource
from pipeline.ingestion.decompress import read_chunks
from pipeline.ingestion.fields import BadField, read_fields
from pipeline.ingestion.items import MAX_DOCUMENT_BYTES, Document, FileRejected, Rejected
from pipeline.ingestion.json_stream import Line, array_elements, split_lines
from pipeline.ingestion.json_values import JsonParser, OddJson
from pipeline.ingestion.ranges import Range, read_range

_BLANK = b" \t\r\n"
_OTHER_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One JSON value of a file."""

    index: int
    where: str
    """`line 3`, `element 3`, or `the file`."""
    value: Any
    raw: str


def read_json(
    path: Path, config: JsonSource, facts: Counter[str], part: Range | None = None
) -> Iterator[Document | Rejected]:
    """The file's documents and rejects; with `part`, those of its lines alone.

    Raises:
        FileRejected: it cannot be decompressed, is no UTF-8 by its mark, or is no JSON at all.
    """
    for item in read_records(path, facts, part):
        yield item if isinstance(item, Rejected) else _from_record(item, config)


def read_records(path: Path, facts: Counter[str], part: Range | None = None) -> Iterator[Record | Rejected]:
    """The file's values and rejects; with `part`, those of its lines alone.

    Raises:
        FileRejected: see `read_json`.
    """
    if part is not None:
        yield from _from_lines(split_lines(_without_mark(read_range(path, part))), first=part.first_index)
        return
    chunks = _without_leading_blanks(read_chunks(path))
    first = next(chunks, None)
    if first is None:
        raise FileRejected("empty", "The file is empty.")
    if first.startswith(_OTHER_MARKS):
        raise FileRejected("unknown_encoding", "It begins with a UTF-16 mark; JSON is UTF-8. Convert it.")
    chunks = itertools.chain([first], chunks)
    if first.startswith(b"["):
        yield from _read_array(chunks)
        return
    head = _Head(chunks)
    if head.is_one_value():
        facts["one JSON object a file"] += 1
        yield _record(0, "the file", head.data, JsonParser())
        return
    yield from _from_lines(split_lines(head.all_chunks()), first=0)


def _from_lines(lines: Iterable[Line], *, first: int) -> Iterator[Record | Rejected]:
    parser = JsonParser()
    for line in lines:
        if not line.is_blank:
            yield _from_line(replace(line, index=line.index + first) if first else line, parser)


def _without_mark(chunks: Iterable[bytes]) -> Iterator[bytes]:
    for index, chunk in enumerate(chunks):
        yield chunk.removeprefix(codecs.BOM_UTF8) if index == 0 else chunk


def _without_leading_blanks(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """The chunks from the first byte that is neither a UTF-8 mark nor white space; line numbers keep their count."""
    started, newlines = False, 0
    for index, chunk in enumerate(chunks):
        if index == 0:
            chunk = chunk.removeprefix(codecs.BOM_UTF8)
        if not started:
            stripped = chunk.lstrip(_BLANK)
            newlines += chunk.count(b"\n", 0, len(chunk) - len(stripped))
            if not stripped:
                continue
            started = True
            yield stripped if stripped.startswith(b"[") else b"\n" * newlines + stripped
        else:
            yield chunk


class _Head:
    """The beginning of a file: enough to tell JSON Lines from one object spread over lines."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = iter(chunks)
        self.data = b""
        self._ended = False

    def _read(self, *, until: int) -> None:
        pieces, num_bytes = [self.data], len(self.data)
        while num_bytes < until and not self._ended:
            chunk = next(self._chunks, None)
            self._ended = chunk is None
            if chunk is not None:
                pieces.append(chunk)
                num_bytes += len(chunk)
        self.data = b"".join(pieces)

    def is_one_value(self) -> bool:
        """Whether the file is one JSON value over several lines, rather than one value a line.

        Raises:
            FileRejected: it is neither: no line is JSON, nor the whole.
        """
        self._read(until=1)
        lines = self.data.lstrip(_BLANK).split(b"\n", 1)
        if len(lines) == 2 and _is_json(lines[0]):
            return False
        self._read(until=MAX_DOCUMENT_BYTES + 1)
        if not self._ended:
            return False
        lines = [line for line in self.data.split(b"\n") if line.strip(_BLANK)]
        if len(lines) <= 1 or any(line.startswith(b"{") and _is_json(line) for line in lines):
            return False
        if _is_json(self.data):
            return True
        if sum(line.startswith(b"{") for line in lines) > 1:  # JSON Lines, every line of it broken
            return False
        raise FileRejected("invalid_json", f"It is neither JSON Lines nor one JSON value: {_problem(self.data)}.")

    def all_chunks(self) -> Iterator[bytes]:
        """The whole file, what was read ahead included."""
        yield self.data
        yield from self._chunks


def _is_json(data: bytes) -> bool:
    """Whether it is one JSON value, perhaps one of those refused by name."""
    try:
        JsonParser().parse(data.decode())
    except (OddJson, RecursionError):
        return True
    except ValueError:
        return False
    return True


def _problem(data: bytes) -> str:
    try:
        JsonParser().parse(data.decode())
    except ValueError as error:
        return str(error)
    return "no problem"


def _from_line(line: Line, parser: JsonParser) -> Record | Rejected:
    if line.data is None:
        return Rejected(
            index=line.index,
            reason="line_too_long",
            detail=f"Line {line.index + 1} has {line.num_bytes} bytes; the limit is {MAX_DOCUMENT_BYTES}.",
            num_bytes=line.num_bytes,
            excerpt=line.beginning.decode("utf-8", "replace"),
        )
    return _record(line.index, f"line {line.index + 1}", line.data, parser)


def _record(index: int, where: str, data: bytes, parser: JsonParser) -> Record | Rejected:
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        return Rejected(
            index=index,
            reason="invalid_utf8",
            detail=f"{where.capitalize()} is no UTF-8 at its byte {error.start}: {error.reason}.",
            num_bytes=len(data),
            excerpt=data[:400].decode("utf-8", "replace"),
        )
    try:
        value = parser.parse(text)
    except (ValueError, RecursionError) as error:
        return _rejected(index, where, text, error)
    return Record(index=index, where=where, value=value, raw=text)


def _read_array(chunks: Iterable[bytes]) -> Iterator[Record | Rejected]:
    for index, element in enumerate(array_elements(chunks, JsonParser(), max_characters=MAX_DOCUMENT_BYTES)):
        where = f"element {index + 1}"
        if element.error is not None:
            yield _rejected(index, where, element.raw, element.error, num_bytes=element.num_bytes)
        else:
            yield Record(index=index, where=where, value=element.value, raw=element.raw)


def _rejected(
    index: int, where: str, raw: str, error: ValueError | RecursionError, *, num_bytes: int | None = None
) -> Rejected:
    where = where.capitalize()
    if isinstance(error, RecursionError):
        reason, detail = "too_deep", f"{where} nests deeper than the parser goes."
    elif isinstance(error, OddJson):
        reason, detail = error.reason, f"{where}: {error}"
    else:
        reason, detail = "invalid_json", f"{where} is no JSON: {error}."
    num_bytes = len(raw.encode("utf-8", "surrogateescape")) if num_bytes is None else num_bytes
    return Rejected(index=index, reason=reason, detail=detail, num_bytes=num_bytes, excerpt=raw[:200])


def _from_record(record: Record, config: JsonSource) -> Document | Rejected:
    try:
        if not isinstance(record.value, dict):
            raise BadField("wrong_type", "It is no JSON object.")
        fields = read_fields(record.value, config)
    except BadField as error:
        return Rejected(
            index=record.index,
            reason=error.reason,
            detail=f"{record.where.capitalize()}: {error}",
            num_bytes=len(record.raw.encode("utf-8", "surrogateescape")),
            excerpt=record.raw[:200],
        )
    return Document(index=record.index, text=fields.text, title=fields.title, target=fields.target, group=fields.group)
