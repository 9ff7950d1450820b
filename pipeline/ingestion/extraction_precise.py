"""The main text of a web page by trafilatura: slower, and closer to what people mark as the text (Barbaresi 2021).

A module of its own, because trafilatura takes a second to import.
"""

from __future__ import annotations

import logging

import trafilatura
from resiliparse.parse.html import HTMLTree

from pipeline.ingestion.extraction import Extracted, Page, decode_page, title_of

logging.getLogger("trafilatura").setLevel(logging.CRITICAL)


def extract_precisely(page: Page) -> Extracted:
    """The main content without the comments of readers; empty where trafilatura finds none."""
    html, encoding = decode_page(page)
    text = trafilatura.extract(html, include_comments=False) if html.strip() else None
    return Extracted(title=title_of(HTMLTree.parse(html)), text=text or "", encoding=encoding)
