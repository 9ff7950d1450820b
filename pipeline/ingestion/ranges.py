"""One large file as many parts: ranges of its bytes that begin and end between records.

In: a plain (not compressed) file of JSON Lines, CSV, or text with a separator. Out: ranges with the number of their
first record and a hash of their bytes, so that a file to which lines were added keeps its earlier parts. Where records
begin is found in one pass over the file, the same that hashes it: a line end for JSON Lines, one outside quotes for
CSV, a separator's end for text. Cuts depend on the file's bytes alone.
Trade-off: in CSV a line end counts as outside quotes after an even number of them, which a stray quote within an
unquoted field upsets: rows up to the next range are then rejected as broken, where one row would have been.
"""

from __future__ import annotations

import codecs
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from pipeline.config.data import JsonSource, SourceConfig, TextSource
from pipeline.config.file_sources import CsvSource
from pipeline.files import fingerprint
from pipeline.ingestion.decompress import CHUNK_BYTES, COMPRESSED_MAGICS, open_regular
from pipeline.ingestion.encoding import SAMPLE_BYTES
from pipeline.ingestion.items import FileRejected

RANGE_BYTES = 64_000_000
"""Of one range, at least; a file is divided from twice this on."""
_BLANK = b" \t\r\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Range:
    """Some records of a file, all of them whole."""

    start: int
    stop: int
    """First byte, and the one after the last."""
    first_index: int
    """Number of its first record within the file."""
    sha256: str
    """Of its bytes."""
    is_last: bool = False


def read_range(path: Path, part: Range) -> Iterator[bytes]:
    """The bytes of a range, in chunks."""
    with open_regular(path) as file:
        file.seek(part.start)
        left = part.stop - part.start
        while left > 0 and (chunk := file.read(min(CHUNK_BYTES, left))):
            left -= len(chunk)
            yield chunk


def range_content(path: Path, sha256: str, config: SourceConfig) -> str:
    """A digest of what a range is read with: its bytes, and for CSV the file's beginning, which names the columns.

    Raises:
        OSError: it cannot be read.
    """
    if not isinstance(config, CsvSource):
        return sha256
    with open_regular(path) as file:
        return fingerprint([sha256, hashlib.sha256(file.read(SAMPLE_BYTES)).hexdigest()])


def may_divide(config: SourceConfig, *, num_bytes: int) -> bool:
    """Whether a file of this size is worth looking for places to cut."""
    return num_bytes >= 2 * RANGE_BYTES and isinstance(config, JsonSource | CsvSource | TextSource)


def find_ranges(path: Path, config: SourceConfig) -> list[Range]:
    """The ranges of a file, in order; none where it has no place to cut.

    Raises:
        OSError: it cannot be read.
    """
    if not isinstance(config, JsonSource | CsvSource | TextSource):
        return []
    try:
        with open_regular(path) as file:
            cutter = _cutter(config, file.read(SAMPLE_BYTES))
            file.seek(0)
            ranges = _cut(iter(lambda: file.read(CHUNK_BYTES), b""), cutter) if cutter is not None else []
    except FileRejected:
        return []
    return [*ranges[:-1], replace(ranges[-1], is_last=True)] if len(ranges) > 1 else []


class _Cutter(Protocol):
    """Finds where records end in a stream of chunks."""

    num_records: int
    """Ends seen so far."""

    def ends(self, chunk: bytes, *, after: int) -> int | None:
        """Takes the next chunk; the place in it after the first record's end at or beyond `after`, or None.

        `num_records` counts the ends up to that place, or to the chunk's end.
        """
        ...

    def is_fit(self) -> bool:
        """Whether what was seen so far may be divided at all."""
        ...


def _cut(chunks: Iterator[bytes], cutter: _Cutter) -> list[Range]:
    ranges: list[Range] = []
    digest, start, position, first_index = hashlib.sha256(), 0, 0, 0
    for piece in chunks:
        chunk = piece
        while chunk:
            place = cutter.ends(chunk, after=start + RANGE_BYTES - position)
            taken = chunk if place is None else chunk[:place]
            digest.update(taken)
            position += len(taken)
            chunk = chunk[len(taken) :]
            if not cutter.is_fit():
                return []
            if place is not None:
                ranges.append(Range(start=start, stop=position, first_index=first_index, sha256=digest.hexdigest()))
                digest, start, first_index = hashlib.sha256(), position, cutter.num_records
    if position > start:
        ranges.append(Range(start=start, stop=position, first_index=first_index, sha256=digest.hexdigest()))
    return ranges


def _cutter(config: JsonSource | CsvSource | TextSource, head: bytes) -> _Cutter | None:
    """How records of this file end; None where it cannot be divided."""
    if head.startswith((*COMPRESSED_MAGICS, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return None
    if isinstance(config, JsonSource):
        is_array = head.removeprefix(codecs.BOM_UTF8).lstrip(_BLANK).startswith(b"[")
        return None if is_array else _Lines(quote=None)
    if config.encoding not in ("detect", "utf-8", "utf-8-sig") or not _is_utf8(head):
        return None
    if isinstance(config, CsvSource):
        return _Lines(quote=config.quote.encode() if config.quote is not None else None)
    if config.separator is None or config.start_after is not None or config.stop_before is not None:
        return None
    return _Separators(config.separator.encode())


def _is_utf8(head: bytes) -> bool:
    try:
        codecs.getincrementaldecoder("utf-8")().decode(head)
    except UnicodeDecodeError:
        return False
    return True


class _Lines:
    """Records that end with a line, outside quotes if there are any."""

    def __init__(self, *, quote: bytes | None) -> None:
        self.num_records = 0
        self._quote = quote
        self._quoted = False
        self._last = b""
        self._lone_return = False

    def ends(self, chunk: bytes, *, after: int) -> int | None:
        num_returns = chunk.count(b"\r")
        if num_returns or self._last == b"\r":
            pairs = (self._last + chunk).count(b"\r\n") + chunk.endswith(b"\r")
            self._lone_return |= pairs != num_returns + (self._last == b"\r")
        place = self._first_end(chunk, after) if after < len(chunk) else None
        taken = chunk if place is None else chunk[:place]
        self._count(taken)
        self._last = taken[-1:]
        return place

    def _first_end(self, chunk: bytes, after: int) -> int | None:
        """The place after the first record's end at or beyond `after`."""
        start = max(after, 0)
        quoted = self._quoted
        if self._quote is not None:
            quoted ^= bool(chunk.count(self._quote, 0, start) % 2)
        while True:
            newline = chunk.find(b"\n", start)
            if newline < 0:
                return None
            if self._quote is not None:
                quoted ^= bool(chunk.count(self._quote, start, newline) % 2)
            start = newline + 1
            if not quoted:
                return start

    def _count(self, taken: bytes) -> None:
        if self._quote is None:
            self.num_records += taken.count(b"\n")
            return
        outside = taken.split(self._quote)[int(self._quoted) :: 2]
        self.num_records += sum(piece.count(b"\n") for piece in outside)
        self._quoted ^= bool(taken.count(self._quote) % 2)

    def is_fit(self) -> bool:
        """A return without a newline ends a line too, in CSV; JSON Lines have newlines alone, and none cuts a value."""
        return self._quote is None or not self._lone_return


class _Separators:
    """Records that end with a literal text; the file must be UTF-8 with newlines as its only line ends."""

    def __init__(self, separator: bytes) -> None:
        self.num_records = 0
        self._separator = separator
        self._decoder = codecs.getincrementaldecoder("utf-8")()
        self._carried = b""
        self._fit = True

    def ends(self, chunk: bytes, *, after: int) -> int | None:
        num_carried = len(self._carried)
        text = self._carried + chunk
        place, end = None, 0
        while (found := text.find(self._separator, end)) >= 0:
            end = found + len(self._separator)
            self.num_records += 1
            if end - num_carried >= max(after, 1):
                place = end - num_carried
                break
        taken = chunk if place is None else chunk[:place]
        keep = len(self._separator) - 1
        self._carried = b"" if place is not None or not keep else text[max(end, len(text) - keep) :]
        self._check(taken)
        return place

    def _check(self, taken: bytes) -> None:
        """A whole file of another encoding, or of other line ends, is read in one piece, as its decoding needs it."""
        try:
            self._decoder.decode(taken)
        except UnicodeDecodeError:
            self._fit = False
        self._fit &= b"\r" not in taken

    def is_fit(self) -> bool:
        return self._fit
