"""Plain text files: whole, cut at a separator, or opened by headings.

In: a file, perhaps compressed. Out: its documents in order. Header and footer (`start_after`, `stop_before`) belong to
no document. A piece between two separators is a record even when it is blank or too short: it becomes a reject.
Trade-off: the file is read in one piece, since a heading's expression may span lines; larger ones belong into JSON
Lines or Parquet, which stream.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import regex

from pipeline.config.data import TextSource
from pipeline.ingestion.decompress import read_chunks
from pipeline.ingestion.items import MAX_DOCUMENT_BYTES, MAX_TEXT_FILE_BYTES, Document, FileRejected, Rejected
from pipeline.ingestion.ranges import Range, read_range
from pipeline.ingestion.text_stream import whole_text

MAX_TITLE_CHARACTERS = 200
SEARCH_SECONDS = 3.0
"""Processor time that an expression of the user's may take over a file, and more for a long one: some take 2**n steps."""
_CHARACTERS_PER_SECOND = 5_000_000


def read_text(
    path: Path, config: TextSource, facts: Counter[str], part: Range | None = None
) -> Iterator[Document | Rejected]:
    """The file's documents and rejects; with `part`, those of its pieces alone.

    Raises:
        FileRejected: it cannot be decompressed or decoded, is too large, or an expression takes too long over it.
    """
    divided = config.separator is not None or config.heading is not None
    limit = MAX_TEXT_FILE_BYTES if divided else MAX_DOCUMENT_BYTES
    text = whole_text(
        read_chunks(path) if part is None else read_range(path, part),
        encoding=config.encoding,
        max_bytes=limit,
        facts=facts,
        remedy="Split the file" if divided else "Set `separator` or `heading` to divide it",
    )
    if part is not None and not part.is_last and config.separator is not None:
        text = text.removesuffix(config.separator)  # it stands between this part's last piece and the next part
    first_index = 0 if part is None else part.first_index
    body = _body(text, config, facts)
    for index, (title, piece) in enumerate(_divide(body, config), start=first_index):
        num_bytes = len(piece.encode("utf-8", "surrogatepass"))
        if not piece.strip():
            yield Rejected(index=index, reason="empty", detail="It holds white space only.", num_bytes=num_bytes)
        elif len(piece) < config.min_document_characters:
            yield Rejected(
                index=index,
                reason="too_short",
                detail=f"It has {len(piece)} characters of at least {config.min_document_characters}.",
                num_bytes=num_bytes,
                excerpt=piece,
                value=len(piece),
                threshold=config.min_document_characters,
            )
        else:
            yield Document(index=index, title=title, text=piece)


def _body(text: str, config: TextSource, facts: Counter[str]) -> str:
    """The text between header and footer."""
    if config.start_after is not None:
        start = next(_matches("start_after", config.start_after, text), None)
        if start is None:
            facts["no match of start_after"] += 1
        else:
            text = text[start.end() :]
    if config.stop_before is not None:
        matches = list(_matches("stop_before", config.stop_before, text))
        if matches:
            text = text[: matches[-1].start()]
        else:
            facts["no match of stop_before"] += 1
    return text


def _divide(text: str, config: TextSource) -> Iterator[tuple[str | None, str]]:
    """Title and text of each piece.

    With heading `^Chapter .*`: "Preface\\nChapter 1\\nIt" -> (None, "Preface\\n"), ("Chapter 1", "Chapter 1\\nIt")
    """
    if config.separator is not None:
        for piece in text.split(config.separator):
            yield None, piece
        return
    if config.heading is None:
        yield None, text
        return
    starts: dict[int, str] = {}
    for match in _matches("heading", config.heading, text):
        line_start = text.rfind("\n", 0, match.start()) + 1
        starts.setdefault(line_start, " ".join(match.group().split())[:MAX_TITLE_CHARACTERS])
    bounds = [*sorted(starts), len(text)]
    if text[: bounds[0]].strip() or not starts:
        yield None, text[: bounds[0]]
    for start, end in itertools.pairwise(bounds):
        yield starts[start] or None, text[start:end]


def _matches(key: str, expression: str, text: str) -> Iterator[Any]:
    """The matches of an expression of the user's, `key` in the project file.

    Raises:
        FileRejected: they take too long to find.
    """
    seconds = SEARCH_SECONDS + len(text) / _CHARACTERS_PER_SECOND
    try:
        yield from regex.finditer(expression, text, regex.MULTILINE, timeout=seconds)
    except TimeoutError as error:
        raise FileRejected(
            "timeout",
            f"`{key}: {expression[:200]}` was stopped after {seconds:.1f} seconds over its {len(text)} characters. "
            "Simplify it; a repetition within a repetition, such as `(a+)+`, can take for ever.",
        ) from error
