"""WARC archives (ISO 28500), record by record: the pages of a crawl, or their text in WET archives.

In: an archive, perhaps compressed. Out: a document for each HTML page and each text conversion, named by its address
below the archive's name; a reject for every other response and for damage. What the format itself needs (`warcinfo`,
requests, metadata) holds no document and is counted as a fact.
Trade-off: after damage nothing tells where the next record begins, so the rest of the file is one reject.
"""

from __future__ import annotations

import io
import zlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import brotli
from warcio.archiveiterator import ArchiveIterator
from warcio.exceptions import ArchiveLoadFailed
from warcio.statusandheaders import StatusAndHeadersParserException

from pipeline.config.web_sources import WarcSource
from pipeline.ingestion.decompress import read_chunks
from pipeline.ingestion.extraction import Page
from pipeline.ingestion.html import from_page
from pipeline.ingestion.items import MAX_DOCUMENT_BYTES, Document, FileRejected, Rejected

HTML_TYPES = ("text/html", "application/xhtml+xml")
MAX_ADDRESS_CHARACTERS = 500
_PAGES = ("response", "resource", "conversion")
_OK = "200"
_BUFFER_BYTES = 1 << 16
_BROKEN = (
    ArchiveLoadFailed,
    StatusAndHeadersParserException,
    AttributeError,  # a record without address
    EOFError,
    ValueError,
    zlib.error,
    brotli.error,
)
"""What the parser raises over damaged archives and answers."""


class _Damaged(Exception):
    """From here on nothing can be told apart."""


class _Chunks(io.RawIOBase):
    """Decompressed chunks as the file that the parser reads."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._rest = memoryview(b"")
        self.num_bytes = 0
        """Read so far."""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        """Fills at most the buffer; 0 at the end."""
        if not self._rest:
            self._rest = memoryview(next(self._chunks, b""))
        size = min(len(buffer), len(self._rest))
        buffer[:size], self._rest = self._rest[:size], self._rest[size:]
        self.num_bytes += size
        return size


def read_warc(path: Path, config: WarcSource, facts: Counter[str]) -> Iterator[Document | Rejected]:
    """The archive's documents and rejects.

    Raises:
        FileRejected: it cannot be decompressed, or does not begin like a WARC archive.
    """
    chunks = _Chunks(read_chunks(path))
    index = start = 0
    try:
        for record in ArchiveIterator(io.BufferedReader(chunks, _BUFFER_BYTES)):
            item = _from_record(record, index, config, facts)
            if item is not None:
                yield item
            index, start = index + 1, chunks.num_bytes
    except (_Damaged, *_BROKEN) as error:
        words = str(error).strip().split("\n")[0][:200]
        if not index:
            raise FileRejected("invalid_warc", f"It is no WARC archive: {words}.") from error
        while chunks.readinto(bytearray(_BUFFER_BYTES)):
            pass
        detail = f"From about byte {start} on it is no WARC archive: {words}."
        num_bytes = max(chunks.num_bytes - start, 0)
        yield Rejected(index=index, reason="invalid_warc", detail=detail, num_bytes=num_bytes)
    if not index:
        raise FileRejected("invalid_warc", "It holds no WARC record.")


def _from_record(record: Any, index: int, config: WarcSource, facts: Counter[str]) -> Document | Rejected | None:
    """What one record gives; None of those that hold no document by their nature.

    Raises:
        _Damaged: nothing says how long it is.
    """
    length = record.length
    if length is None or length < 0:
        raise _Damaged("a record without Content-Length")
    if record.rec_type not in _PAGES:
        facts[f"{str(record.rec_type)[:20]} records"] += 1
        return None
    address = (record.rec_headers.get_header("WARC-Target-URI") or "").strip("<>")[:MAX_ADDRESS_CHARACTERS] or None

    def reject(reason: str, detail: str) -> Rejected:
        return Rejected(index=index, reason=reason, detail=detail, num_bytes=length, path=address)

    if length > MAX_DOCUMENT_BYTES:
        return reject("too_large", f"Its record has {length} bytes; the limit is {MAX_DOCUMENT_BYTES}.")
    try:
        data = record.content_stream().read(MAX_DOCUMENT_BYTES + 1)
    except _BROKEN as error:
        return reject("invalid_http", f"Its content cannot be decoded: {str(error)[:200]}.")
    while record.raw_stream.read(_BUFFER_BYTES):
        pass
    if record.raw_stream.limit > 0:
        return reject("truncated", f"It ends {record.raw_stream.limit} bytes before its {length} bytes do.")
    if len(data) > MAX_DOCUMENT_BYTES:
        return reject("too_large", f"The page has more than {MAX_DOCUMENT_BYTES} bytes.")
    if record.rec_type == "conversion":
        text = data.decode("utf-8", "replace")
        return Document(index=index, text=text, path=address)
    headers = record.http_headers or record.rec_headers
    if record.rec_type == "response" and headers.get_statuscode() != _OK:
        return reject("http_status", f"The server answered {str(headers.get_statuscode())[:20]!r}.")
    content_type, _, parameters = (headers.get_header("Content-Type") or "").lower().partition(";")
    if content_type.strip() not in HTML_TYPES:
        return reject("not_html", f"Its type is {content_type.strip()[:100]!r}.")
    charset = parameters.partition("charset=")[2].split(";")[0].strip(" \"'") or None
    return from_page(Page(data=data, charset=charset, url=address), index, config, facts)
