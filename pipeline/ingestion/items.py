"""What every reader yields: documents and rejects, in the order of the file; and the limits all readers keep.

A reader is a generator over one file. What it cannot read in part it yields as `Rejected`; where the file as a whole
cannot be trusted it raises `FileRejected`, and nothing that was read from it before is used.
"""

from __future__ import annotations

from dataclasses import dataclass

MAX_DOCUMENT_BYTES = 20_000_000
"""Of one document's text, and of one line of JSON: longer is nearly always a broken file."""
MAX_TEXT_FILE_BYTES = 512_000_000
"""Of a plain text file, which is read in one piece; JSON Lines and Parquet stream and have no such limit."""
MAX_EXPANSION = 200
"""Decompressed bytes per compressed byte; text reaches about 20, a bomb thousands."""
EXPANSION_FLOOR_BYTES = 16_000_000
"""Below this much output no expansion counts as a bomb."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """One document as it was found."""

    index: int
    """Position within its file, rejects counted."""
    text: str
    title: str | None = None
    target: str | None = None
    """The other half of a pair."""
    group: str | None = None
    """What no split may part: a conversation, the context of several questions."""
    path: str | None = None
    """Where it differs from the part's own: a file within a package or an archive."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejected:
    """One record that became no document."""

    index: int
    reason: str
    detail: str
    num_bytes: int
    """UTF-8 bytes of its text where that could be read, else of its raw bytes."""
    excerpt: str | None = None
    id: str | None = None
    path: str | None = None
    value: float | None = None
    """What was compared with the threshold, where a number was."""
    threshold: float | None = None


class FileRejected(Exception):
    """The file as a whole is one reject."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason, self.detail = reason, detail
