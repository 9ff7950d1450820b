"""Lines of text out of a file of any encoding, in bounded memory.

In: chunks of bytes. Out: lines without their ends (`\\n`, `\\r\\n` and, unless the reader says otherwise, `\\r`). The encoding
is told by the first bytes; in UTF-8, bytes that are none become lone surrogates, which no document may hold, so one bad line
is one reject.
"""

from __future__ import annotations

import codecs
import io
import itertools
from collections import Counter
from collections.abc import Iterable, Iterator

from pipeline.ingestion.encoding import SAMPLE_BYTES, decode, detect
from pipeline.ingestion.items import MAX_DOCUMENT_BYTES, FileRejected

_BEGINNING_CHARACTERS = 400
_UTF8 = ("utf-8", "utf-8-sig")


class LongLine:
    """A line above the cap, of which only the beginning is kept."""

    __slots__ = ("beginning", "num_bytes")

    def __init__(self, beginning: str, num_bytes: int) -> None:
        self.beginning, self.num_bytes = beginning, num_bytes


def read_head(chunks: Iterator[bytes]) -> tuple[bytes, Iterator[bytes]]:
    """The first `SAMPLE_BYTES` of a stream (less at its end), and the whole stream again."""
    pieces: list[bytes] = []
    num_bytes = 0
    while num_bytes < SAMPLE_BYTES and (chunk := next(chunks, None)) is not None:
        pieces.append(chunk)
        num_bytes += len(chunk)
    return b"".join(pieces)[:SAMPLE_BYTES], itertools.chain(pieces, chunks)


def head_encoding(head: bytes, *, encoding: str, facts: Counter[str]) -> str:
    """The codec of a file that begins with `head`; a character that the head cuts is no fault.

    Raises:
        FileRejected: `unknown_encoding` or `binary`.
    """
    if encoding != "detect":
        return encoding
    if not head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        try:
            codecs.getincrementaldecoder("utf-8")().decode(head)
            return "utf-8-sig"
        except UnicodeDecodeError:
            pass
    try:
        name = detect(head)
    except FileRejected as error:
        if error.reason == "invalid_utf8":  # some lines of it are; those that are not become rejects
            return "utf-8-sig"
        raise
    if name not in _UTF8:
        facts[f"encoding {name}"] += 1
    return name


def text_lines(
    chunks: Iterable[bytes],
    *,
    encoding: str,
    errors: str | None = None,
    max_characters: int = MAX_DOCUMENT_BYTES,
    returns_end_lines: bool = True,
) -> Iterator[str | LongLine]:
    """The lines of a stream; of one that is too long only the beginning is kept.

    `errors` is the codec's error handler; None keeps bytes that are no UTF-8 as surrogates and is strict elsewhere. Without
    `returns_end_lines` a `\\r` is a character of its line, also before `\\n`.

    Raises:
        FileRejected: `undecodable`, in encodings other than UTF-8.
    """
    pending: list[str] = []
    num_pending = num_bytes = 0
    for text in _decoded(chunks, encoding, errors, returns_end_lines=returns_end_lines):
        *whole, rest = text.split("\n")
        for line in whole:
            if not pending and len(line) <= max_characters:
                yield line
                continue
            pending.append(line)
            yield _line(pending, num_pending + len(line), num_bytes + _num_bytes(line), max_characters)
            pending, num_pending, num_bytes = [], 0, 0
        if rest:
            num_pending += len(rest)
            num_bytes += _num_bytes(rest)
            pending.append(rest)
            if num_pending > max_characters:
                pending = ["".join(pending)[:_BEGINNING_CHARACTERS]]
    if pending:
        yield _line(pending, num_pending, num_bytes, max_characters)


def _line(pieces: list[str], num_characters: int, num_bytes: int, max_characters: int) -> str | LongLine:
    line = "".join(pieces)
    return line if num_characters <= max_characters else LongLine(line[:_BEGINNING_CHARACTERS], num_bytes)


def _num_bytes(text: str) -> int:
    return len(text.encode("utf-8", "surrogatepass"))


def _decoded(chunks: Iterable[bytes], encoding: str, errors: str | None, *, returns_end_lines: bool) -> Iterator[str]:
    """The text of a stream without byte order mark and, where returns end lines, with `\\n` as its only line end."""
    errors = errors or ("surrogateescape" if encoding.lower() in _UTF8 else "strict")
    decoder = io.IncrementalNewlineDecoder(codecs.getincrementaldecoder(encoding)(errors), translate=returns_end_lines)
    started = False
    try:
        for chunk in itertools.chain(chunks, [None]):
            text = decoder.decode(b"", final=True) if chunk is None else decoder.decode(chunk)
            if text:
                yield text if started else text.removeprefix("\ufeff")
                started = True
    except UnicodeError as error:
        raise FileRejected(
            "undecodable", f"It is not {encoding}: {error}. Set the source's `encoding` or repair the file."
        ) from error


def whole_text(chunks: Iterable[bytes], *, encoding: str, max_bytes: int, facts: Counter[str], remedy: str) -> str:
    """The decoded text of a file that is read in one piece.

    Raises:
        FileRejected: `too_large`, or what `decode` refuses.
    """
    pieces, num_bytes = [], 0
    for chunk in chunks:
        pieces.append(chunk)
        num_bytes += len(chunk)
        if num_bytes > max_bytes:
            raise FileRejected("too_large", f"It holds more than {max_bytes} bytes in one piece. {remedy}.")
    return decode(b"".join(pieces), encoding=encoding, facts=facts)
