"""HTML files: one page is one document, its main text, in a process that is killed when a page takes too long."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

from pipeline.config.web_sources import HtmlSource, WebSource
from pipeline.ingestion.decompress import read_chunks
from pipeline.ingestion.extraction import Extracted, Page, extract
from pipeline.ingestion.items import MAX_DOCUMENT_BYTES, Document, FileRejected, Rejected
from pipeline.ingestion.killable import Died, KillableFunction, TimedOut

PAGE_SECONDS = 4.0
"""For one page; the slowest of real ones takes about half a second."""
EXCERPT_BYTES = 400


def read_html(path: Path, config: HtmlSource, facts: Counter[str]) -> Iterator[Document | Rejected]:
    """The file's one document or reject.

    Raises:
        FileRejected: it cannot be decompressed, or is too large.
    """
    data = bytearray()
    for chunk in read_chunks(path):
        data += chunk
        if len(data) > MAX_DOCUMENT_BYTES:
            raise FileRejected("too_large", f"The page has more than {MAX_DOCUMENT_BYTES} bytes.")
    yield from_page(Page(data=bytes(data)), 0, config, facts)


@lru_cache(maxsize=2)
def _extractor(extraction: str) -> KillableFunction[Page, Extracted]:
    """The chosen way to the main text, in a process that serves every page of this one and ends with it: it takes a second
    to start, and a folder may hold thousands of pages."""
    if extraction == "fast":
        return KillableFunction(extract, timeout_seconds=PAGE_SECONDS)
    from pipeline.ingestion.extraction_precise import extract_precisely

    return KillableFunction(extract_precisely, timeout_seconds=PAGE_SECONDS)


def from_page(page: Page, index: int, config: WebSource, facts: Counter[str]) -> Document | Rejected:
    """A page's document, or why there is none."""
    if not page.data.strip(b"\0 \t\r\n"):
        return _reject(page, index, "empty", "It holds white space only.")
    try:
        found = _extractor(config.extraction)(page)
    except TimedOut as error:
        advice = " `extraction: fast` may read it." if config.extraction == "precise" else ""
        return _reject(page, index, "timeout", f"{error}{advice}")
    except (Died, RecursionError) as error:
        return _reject(page, index, "too_complex", f"The HTML parser gave up: {error}")
    facts[f"{found.encoding} pages"] += 1
    text = found.text.strip()
    if not text:
        return _reject(page, index, "no_main_text", "No main text was found in it.")
    if len(text) < config.min_document_characters:
        return Rejected(
            index=index,
            reason="too_short",
            detail=f"Its main text has {len(text)} characters of at least {config.min_document_characters}.",
            num_bytes=len(page.data),
            excerpt=text,
            path=page.url,
            value=len(text),
            threshold=config.min_document_characters,
        )
    return Document(index=index, title=found.title, text=text, path=page.url)


def _reject(page: Page, index: int, reason: str, detail: str) -> Rejected:
    excerpt = page.data[:EXCERPT_BYTES].decode("utf-8", "replace")
    return Rejected(index=index, reason=reason, detail=detail, num_bytes=len(page.data), excerpt=excerpt, path=page.url)
