"""Lines and array elements out of a stream of chunks, with a cap on each, so that memory is bounded by the cap."""

from __future__ import annotations

import codecs
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from pipeline.ingestion.items import MAX_DOCUMENT_BYTES
from pipeline.ingestion.json_values import JsonParser

_BEGINNING_BYTES = 400
_LONGEST_WORD = 16
"""Characters within which a cut can turn right into wrong: `-Infinity`, a pair of `\\uXXXX`."""
_BLANK = " \t\r\n"
_AFTER_ELEMENT = ",]" + _BLANK


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One line without its end."""

    index: int
    data: bytes | None
    """None where the line is longer than the cap."""
    num_bytes: int
    beginning: bytes = b""

    @property
    def is_blank(self) -> bool:
        return self.data is not None and not self.data.strip()


def split_lines(chunks: Iterable[bytes], *, max_bytes: int = MAX_DOCUMENT_BYTES) -> Iterator[Line]:
    """The lines of a stream; of one that is too long only the beginning is kept."""
    index = 0
    pending: list[bytes] = []
    num_pending = 0
    beginning = b""

    def line() -> Line:
        if num_pending > max_bytes:
            return Line(index=index, data=None, num_bytes=num_pending, beginning=beginning)
        return Line(index=index, data=b"".join(pending), num_bytes=num_pending)

    for chunk in chunks:
        *whole, rest = chunk.split(b"\n")
        for piece in whole:
            if num_pending:
                num_pending += len(piece)
                pending.append(piece)
                if num_pending > max_bytes:
                    beginning = beginning or b"".join(pending)[:_BEGINNING_BYTES]
                yield line()
                pending, num_pending, beginning = [], 0, b""
            elif len(piece) > max_bytes:
                yield Line(index=index, data=None, num_bytes=len(piece), beginning=piece[:_BEGINNING_BYTES])
            else:
                yield Line(index=index, data=piece, num_bytes=len(piece))
            index += 1
        num_pending += len(rest)
        if num_pending > max_bytes:
            beginning = beginning or b"".join([*pending, rest])[:_BEGINNING_BYTES]
            pending = []
        elif rest:
            pending.append(rest)
    if num_pending:
        yield line()


@dataclass(frozen=True, slots=True, kw_only=True)
class Element:
    """One element of a JSON array, or the place from which the array cannot be read."""

    raw: str
    value: Any = None
    error: ValueError | RecursionError | None = None
    """What is wrong with it."""
    num_bytes: int | None = None
    """Of the rest of the file, where the error ends the array."""


class _Buffer:
    """Text read ahead; bytes that are no UTF-8 become lone surrogates, which no document may hold."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = iter(chunks)
        self._decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")
        self.text = ""
        self.position = 0
        self.ended = False

    def grow(self) -> None:
        """Drops what was used and at least doubles what is ahead."""
        pieces = [self.text[self.position :]]
        wanted = 2 * len(pieces[0]) + 1
        have = len(pieces[0])
        while have < wanted and not self.ended:
            chunk = next(self._chunks, None)
            self.ended = chunk is None
            pieces.append(self._decoder.decode(chunk or b"", final=chunk is None))
            have += len(pieces[-1])
        self.text, self.position = "".join(pieces), 0

    def skip_blanks(self) -> str:
        """The next character that is not white space, or nothing at the end."""
        while True:
            while self.position < len(self.text):
                if self.text[self.position] not in _BLANK:
                    return self.text[self.position]
                self.position += 1
            if self.ended:
                return ""
            self.grow()

    def count_rest(self) -> int:
        """UTF-8 bytes from here to the end; reads, but does not keep, all of it."""
        num_bytes = len(self.text[self.position :].encode("utf-8", "surrogateescape"))
        return num_bytes + sum(len(chunk) for chunk in self._chunks)


def array_elements(chunks: Iterable[bytes], parser: JsonParser, *, max_characters: int) -> Iterator[Element]:
    """The elements of the array that a stream holds; where it is broken, one element with the error ends it."""
    buffer = _Buffer(chunks)
    assert buffer.skip_blanks() == "[", "the caller has seen the opening bracket"
    buffer.position += 1

    def broken(error: ValueError | RecursionError) -> Element:
        raw = buffer.text[buffer.position : buffer.position + _BEGINNING_BYTES]
        return Element(raw=raw, error=error, num_bytes=buffer.count_rest())

    if buffer.skip_blanks() == "]":
        buffer.position += 1
    else:
        while True:
            buffer.skip_blanks()
            element = _next_element(buffer, parser, max_characters)
            if isinstance(element, Exception):
                yield broken(element)
                return
            yield element
            separator = buffer.skip_blanks()
            if separator not in (",", "]"):
                yield broken(ValueError(f"{separator!r} stands where ',' or ']' is expected" if separator else _CUT))
                return
            buffer.position += 1
            if separator == "]":
                break
    if buffer.skip_blanks():
        yield broken(ValueError("there is more after the array's end"))


_CUT = "the file ends inside the array"


def _next_element(buffer: _Buffer, parser: JsonParser, max_characters: int) -> Element | ValueError | RecursionError:
    """The element at the buffer's position, or why there is none.

    An element cut by the buffer's end fails to parse, or, a number (`0` of `0.5`), parses short; so more is read and it
    is tried again. An error far from the buffer's end is final, except for strings, whose error is at their beginning.
    """
    while True:
        start = buffer.position
        try:
            value, end, oddity = parser.parse_at(buffer.text, start)
        except json.JSONDecodeError as error:
            is_far = len(buffer.text) - error.pos > _LONGEST_WORD
            is_final = is_far and not error.msg.startswith("Unterminated string")
            if is_final or buffer.ended:
                return error if not buffer.ended or is_final else ValueError(f"{error} ({_CUT})")
            if len(buffer.text) - start > max_characters:
                return ValueError(f"an element is longer than {max_characters} characters")
            buffer.grow()
        except RecursionError as error:
            return error
        else:
            num_after = len(buffer.text) - end
            is_whole = num_after > 0 and (buffer.text[end] in _AFTER_ELEMENT or num_after > _LONGEST_WORD)
            if is_whole or buffer.ended:
                raw = buffer.text[start:end]
                buffer.position = end
                return Element(raw=raw, value=value, error=oddity)
            buffer.grow()
