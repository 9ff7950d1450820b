"""Readers of web pages: HTML files and WARC archives, of which the main text is kept."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from pipeline.config.file_sources import FileSource


class WebSource(FileSource):
    """What every source of web pages takes."""

    extraction: Literal["precise", "fast"] = "precise"
    """How the main text is told from navigation and advertisements: `precise` by trafilatura, `fast` by resiliparse, some
    ten times as fast and with more of what surrounds the text."""
    min_document_characters: Annotated[int, Field(ge=0)] = 0
    """A shorter main text is a reject with the reason `too_short`."""


class HtmlSource(WebSource):
    """HTML files: one page is one document, with its title; the encoding is what the page declares, else detected."""

    reader: Literal["html"]
    """Names this kind of source."""


class WarcSource(WebSource):
    """WARC archives of crawled pages and WET archives of their text, `.gz` or `.zst` too: one page is one document."""

    reader: Literal["warc"]
    """Names this kind of source."""
