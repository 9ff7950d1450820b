"""WARC archives: every record is a document, a reject, or of a kind that holds none."""

from __future__ import annotations

import gzip
from collections import Counter
from pathlib import Path

import pytest
import zstandard
from test_html_reader import ARTICLE

from pipeline.config.web_sources import WarcSource
from pipeline.ingestion.items import Document, FileRejected, Rejected
from pipeline.ingestion.warc import read_warc


def record(kind: str, body: bytes, address: str = "http://host/page", content_type: str = "text/plain") -> bytes:
    head = (
        f"WARC/1.0\r\nWARC-Type: {kind}\r\nWARC-Target-URI: {address}\r\nContent-Type: {content_type}\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body + b"\r\n\r\n"


def response(
    page: bytes,
    status: str = "200 OK",
    content_type: str = "text/html",
    headers: str = "",
    address: str = "http://host/p",
) -> bytes:
    head = f"HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\n{headers}\r\n".encode()
    return record("response", head + page, address, "application/http; msgtype=response")


PAGE = ARTICLE.encode()
CHUNKED = f"{len(PAGE[:100]):x}\r\n".encode() + PAGE[:100] + f"\r\n{len(PAGE[100:]):x}\r\n".encode() + PAGE[100:]
ARCHIVE = (
    record("warcinfo", b"software: x\r\n")
    + record("request", b"GET / HTTP/1.1\r\n\r\n")
    + response(PAGE, address="http://host/one")
    + response(gzip.compress(PAGE), headers="Content-Encoding: gzip\r\n", address="http://host/two")
    + response(CHUNKED + b"\r\n0\r\n\r\n", headers="Transfer-Encoding: chunked\r\n", address="http://host/three")
    + response(ARTICLE.encode("latin-1"), content_type="text/html; charset=latin1", address="http://host/four")
    + response(b"{}", content_type="application/json")
    + response(PAGE, status="404 Not Found")
    + record("conversion", b"Text of a page.\n", address="http://host/five")
    + record("metadata", b"x: y\r\n")
)


def read(folder: Path, data: bytes, facts: Counter[str] | None = None) -> list[Document | Rejected]:
    (folder / "a.warc").write_bytes(data)
    config = WarcSource(reader="warc", path="x", extraction="fast")
    return list(read_warc(folder / "a.warc", config, Counter() if facts is None else facts))


@pytest.mark.parametrize("pack", [bytes, gzip.compress, zstandard.compress], ids=["plain", "gzip", "zstd"])
def test_every_record_is_accounted_for(tmp_path: Path, pack: type[bytes]) -> None:
    facts: Counter[str] = Counter()
    items = read(tmp_path, pack(ARCHIVE), facts)
    documents = [item for item in items if isinstance(item, Document)]
    assert [item.path for item in documents] == [
        f"http://host/{name}" for name in ("one", "two", "three", "four", "five")
    ]
    assert all(item.text.count("Grüße") == 3 and item.title == "The Moon" for item in documents[:4])
    assert documents[4].text == "Text of a page.\n"
    assert [item.reason for item in items if isinstance(item, Rejected)] == ["not_html", "http_status"]
    assert sum(facts[f"{kind} records"] for kind in ("warcinfo", "request", "metadata")) + len(items) == 10


def test_damage_loses_nothing_before_it(tmp_path: Path) -> None:
    whole = response(PAGE)
    first, second = read(tmp_path, whole + b"no record\r\n" * 3 + whole)
    assert isinstance(first, Document)
    assert isinstance(second, Rejected)
    assert second.reason == "invalid_warc"
    first, cut = read(tmp_path, whole + whole[:-100])
    assert isinstance(cut, Rejected)
    assert cut.reason == "truncated"


def test_what_is_no_archive_is_refused(tmp_path: Path) -> None:
    for data in (b"", b"hello\n" * 100, b"WARC/9.9"):
        with pytest.raises(FileRejected, match="WARC"):
            read(tmp_path, data)
    with pytest.raises(FileRejected, match="ends before"):
        read(tmp_path, gzip.compress(ARCHIVE)[:-20])


def test_a_compressed_answer_cannot_fill_the_memory(tmp_path: Path) -> None:
    bomb = gzip.compress(bytes(60_000_000))
    (item,) = read(tmp_path, response(bomb, headers="Content-Encoding: gzip\r\n"))
    assert isinstance(item, Rejected)
    assert item.reason == "too_large"


def test_real_archives_are_read_whole(corpora: Path) -> None:
    """A WARC of four records with one page, and a WET of two with its text."""
    config = WarcSource(reader="warc", path="x")
    facts: Counter[str] = Counter()
    (page,) = read_warc(corpora / "messy" / "warc" / "whirlwind.warc.gz", config, facts)
    assert isinstance(page, Document)
    assert (facts["warcinfo records"], facts["request records"], facts["metadata records"]) == (1, 1, 1)
    assert page.path is not None
    assert page.path.startswith("https://an.wikipedia.org/wiki/")
    (text,) = read_warc(corpora / "messy" / "warc" / "whirlwind.warc.wet.gz", config, Counter())
    assert isinstance(text, Document)
    assert text.path == page.path
