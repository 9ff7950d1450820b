"""Wikipedia's XML dumps: one page is one document, streamed.

In: a dump (MediaWiki export format), perhaps compressed. Out: a document for each page of the wanted namespaces with
its title, and a reject for every other page: `redirect`, `namespace`, `not_wikitext`, `too_complex`, `timeout`.
The XML parser is expat with document types and entities refused, so that no entity expands; of a page only title,
namespace and the last revision's text are held. Wikitext becomes prose in a process that is killed when it hangs.
Trade-off: broken XML ends a file, since nothing tells where the next page begins.
"""

from __future__ import annotations

import xml.parsers.expat
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mwparserfromhell.parser import ParserError

from pipeline.config.file_sources import WikipediaSource
from pipeline.ingestion.decompress import read_chunks
from pipeline.ingestion.items import MAX_DOCUMENT_BYTES, Document, FileRejected, Rejected
from pipeline.ingestion.killable import Died, KillableFunction, TimedOut
from pipeline.ingestion.wikitext import MAX_CHARACTERS, Page, TooComplex, plain_text, require_simple

PAGE_SECONDS = 4.0
"""For one page; the slowest of real ones take about half a second."""
FEED_BYTES = 1 << 16
MAX_TOKEN_BYTES = 1 << 20
"""Of one tag or comment; expat 2.5 reads an unfinished one from its beginning with every feed."""
_WIKITEXT_MODELS = ("", "wikitext")
_NAMED_NAMESPACES = (-2, 6, 14)
"""Media, File and Category, which each wiki names in its own language."""


@dataclass(slots=True, kw_only=True)
class _RawPage:
    title: str = ""
    namespace: str = "0"
    redirect: str | None = None
    model: str = ""
    wikitext: str = ""
    num_bytes: int = 0
    """Of the text, of which no more than the cap is held."""


@dataclass(slots=True)
class _Handler:
    """Collects pages from expat's events."""

    pages: list[_RawPage] = field(default_factory=list)
    names: set[str] = field(default_factory=set)
    seen_root: bool = False
    _path: list[str] = field(default_factory=list)
    _page: _RawPage | None = None
    _pieces: list[str] = field(default_factory=list)
    _num_bytes: int = 0
    _key: int | None = None

    def start(self, name: str, attributes: dict[str, str]) -> None:
        if not self.seen_root and name != "mediawiki":
            raise FileRejected("wrong_type", f"It is no MediaWiki dump: its first element is {name[:100]!r}.")
        self.seen_root = True
        self._path.append(name)
        if len(self._path) > 100:
            raise FileRejected("too_deep", "Its XML nests deeper than 100 elements.")
        self._pieces, self._num_bytes = [], 0
        if name == "page":
            self._page = _RawPage()
        elif name == "redirect" and self._page is not None:
            self._page.redirect = attributes.get("title", "")
        elif name == "namespace":
            self._key = int(key) if (key := attributes.get("key", "")).lstrip("-").isdecimal() else None

    def text(self, text: str) -> None:
        if self._path and self._path[-1] in ("title", "ns", "model", "text", "namespace"):
            self._num_bytes += len(text.encode("utf-8", "surrogatepass"))
            if self._num_bytes <= MAX_DOCUMENT_BYTES:
                self._pieces.append(text)

    def end(self, name: str) -> None:
        self._path.pop()
        page, text = self._page, "".join(self._pieces)
        if page is not None:
            if name == "title":
                page.title = text.strip()
            elif name == "ns":
                page.namespace = text.strip()[:20]
            elif name == "model":
                page.model = text.strip()
            elif name == "text":
                page.wikitext, page.num_bytes = text, self._num_bytes
            elif name == "page":
                self.pages.append(page)
                self._page = None
        elif name == "namespace" and self._key in _NAMED_NAMESPACES and text.strip():
            self.names.add(text.strip().lower())
        self._pieces, self._num_bytes = [], 0


def read_wikipedia(path: Path, config: WikipediaSource) -> Iterator[Document | Rejected]:
    """The file's documents and rejects.

    Raises:
        FileRejected: it cannot be decompressed, is no MediaWiki dump, or declares a document type or entities.
    """
    handler = _Handler()
    with KillableFunction(plain_text, timeout_seconds=PAGE_SECONDS) as convert:
        for index, page in enumerate(_pages(read_chunks(path), handler)):
            if isinstance(page, _RawPage):
                yield _from_page(page, index, config, handler.names, convert)
            else:
                yield Rejected(index=index, reason="invalid_xml", detail=page.detail, num_bytes=page.num_bytes)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Broken:
    detail: str
    num_bytes: int


def _pages(chunks: Iterator[bytes], handler: _Handler) -> Iterator[_RawPage | _Broken]:
    """The pages of a dump; where its XML is broken, the rest of the file as one."""
    parser = _parser(handler)
    fed = 0
    pieces = (chunk[start : start + FEED_BYTES] for chunk in chunks for start in range(0, len(chunk), FEED_BYTES))
    try:
        for piece in pieces:
            fed += len(piece)
            parser.Parse(piece, False)
            yield from handler.pages
            handler.pages.clear()
            if fed - max(parser.CurrentByteIndex, 0) > MAX_TOKEN_BYTES:
                raise FileRejected("invalid_xml", f"It has a tag or comment of more than {MAX_TOKEN_BYTES} bytes.")
        parser.Parse(b"", True)
        yield from handler.pages
    except (xml.parsers.expat.ExpatError, ValueError) as error:
        if not handler.seen_root:
            raise FileRejected("invalid_xml", f"It is no XML: {error}.") from error
        yield from handler.pages
        rest = fed - max(parser.ErrorByteIndex, 0) + sum(map(len, pieces))
        yield _Broken(detail=f"From here on it is no XML: {error}.", num_bytes=rest)


def _parser(handler: _Handler) -> xml.parsers.expat.XMLParserType:
    parser = xml.parsers.expat.ParserCreate()
    parser.buffer_text = True
    parser.StartElementHandler = handler.start
    parser.EndElementHandler = handler.end
    parser.CharacterDataHandler = handler.text
    parser.StartDoctypeDeclHandler = _refuse
    parser.EntityDeclHandler = _refuse
    return parser


def _refuse(*_: Any) -> None:
    raise FileRejected("refused", "It declares a document type or entities, which dumps do not and attacks do.")


def _from_page(
    page: _RawPage,
    index: int,
    config: WikipediaSource,
    names: set[str],
    convert: Callable[[Page], str],
) -> Document | Rejected:
    reason, detail = _verdict(page, config)
    if not reason:
        try:
            require_simple(page.wikitext)
            text = convert(Page(wikitext=page.wikitext, names=sorted(names)))
            if text.strip():
                return Document(index=index, title=page.title or None, text=text)
            reason, detail = "empty", "Nothing is left of it without its markup."
        except TooComplex as error:
            reason, detail = "too_complex", str(error)
        except TimedOut as error:
            reason, detail = "timeout", str(error)
        except (Died, RecursionError, ParserError) as error:
            reason, detail = "too_complex", f"The wikitext parser gave up: {error}"
    return Rejected(
        index=index,
        reason=reason,
        detail=f"{page.title[:200]!r}: {detail}",
        num_bytes=page.num_bytes,
        excerpt=page.wikitext[:400],
    )


def _verdict(page: _RawPage, config: WikipediaSource) -> tuple[str, str]:
    """Why a page is rejected before its text is looked at; an empty reason where it is not."""
    if page.namespace not in map(str, config.namespaces):
        return "namespace", f"It is of namespace {page.namespace}; kept are {', '.join(map(str, config.namespaces))}."
    if page.redirect is not None:
        return "redirect", f"It redirects to {page.redirect[:200]!r}."
    if page.model not in _WIKITEXT_MODELS:
        return "not_wikitext", f"Its content model is {page.model[:100]!r}."
    if page.num_bytes > MAX_DOCUMENT_BYTES or len(page.wikitext) > MAX_CHARACTERS:
        return "too_large", f"Its wikitext has {page.num_bytes} bytes; the limit is {MAX_CHARACTERS} characters."
    return "", ""
