"""Markdown files: front matter off, cut at headings if asked, code blocks kept or dropped; the text stays Markdown.

In: a file. Out: its documents. Headings and fences are found by markdown-it (CommonMark), so that a `#` in a code block
is no heading. The title is the front matter's, else the first heading's.
"""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import yaml
from markdown_it import MarkdownIt
from markdown_it.token import Token

from pipeline.config.file_sources import MarkdownSource
from pipeline.ingestion.decompress import read_chunks
from pipeline.ingestion.items import MAX_DOCUMENT_BYTES, Document, FileRejected, Rejected
from pipeline.ingestion.text_stream import whole_text

MAX_TITLE_CHARACTERS = 200
MAX_LINE_CHARACTERS = 1_000_000
"""A longer line is no prose, and block parsers look at a line many times."""
MAX_FRONT_MATTER_CHARACTERS = 65_536

_FRONT_MATTER = re.compile(r"\A(---|\+\+\+)[ \t]*\n(.*?)^(?:\1|\.\.\.)[ \t]*(?:\n|\Z)", re.MULTILINE | re.DOTALL)
_YAML_STRING = "tag:yaml.org,2002:str"
_TOML_TITLE = re.compile(r"""^title\s*=\s*(["'])(.*)\1\s*$""", re.MULTILINE)


def read_markdown(path: Path, config: MarkdownSource, facts: Counter[str]) -> Iterator[Document | Rejected]:
    """The file's documents and rejects.

    Raises:
        FileRejected: it cannot be decompressed or decoded, or is too large.
    """
    text = whole_text(
        read_chunks(path),
        encoding=config.encoding,
        max_bytes=MAX_DOCUMENT_BYTES,
        facts=facts,
        remedy="Split the file",
    )
    if max(map(len, text.split("\n"))) > MAX_LINE_CHARACTERS:
        raise FileRejected("line_too_long", f"It has a line of more than {MAX_LINE_CHARACTERS} characters.")
    title, body = split_front_matter(text)
    for index, (heading, piece) in enumerate(_divide(body, config)):
        num_bytes = len(piece.encode("utf-8", "surrogatepass"))
        if len(piece.strip()) < config.min_document_characters:
            yield Rejected(
                index=index,
                reason="too_short",
                detail=f"It has {len(piece.strip())} characters of at least {config.min_document_characters}.",
                num_bytes=num_bytes,
                excerpt=piece,
                value=len(piece.strip()),
                threshold=config.min_document_characters,
            )
        else:
            yield Document(
                index=index, title=(title or heading) if config.split_level is None else (heading or title), text=piece
            )


def split_front_matter(text: str) -> tuple[str | None, str]:
    """The title that the front matter gives, and the text without it.

    "---\\ntitle: Moon\\n---\\nIt rose." -> ("Moon", "It rose.")
    """
    match = _FRONT_MATTER.match(text)
    if match is None:
        return None, text
    if match[1] == "+++":
        found = _TOML_TITLE.search(match[2])
        title = found[2] if found else ""
    else:
        fields = _yaml_fields(match[2])
        if fields is None:
            return None, text
        title = fields.get("title", "")
    return " ".join(title.split())[:MAX_TITLE_CHARACTERS] or None, text[match.end() :]


def _yaml_fields(block: str) -> dict[str, str] | None:
    """The strings of a YAML mapping by their names; None where the block is something else, as text between two
    horizontal rules is."""
    if not block.strip():
        return {}
    if len(block) > MAX_FRONT_MATTER_CHARACTERS:
        return None
    try:
        node = yaml.compose(block, Loader=yaml.SafeLoader)
    except (yaml.YAMLError, ValueError, RecursionError):
        return None
    if not isinstance(node, yaml.MappingNode):
        return None
    return {str(key.value): value.value for key, value in node.value if value.tag == _YAML_STRING}


def _divide(text: str, config: MarkdownSource) -> Iterator[tuple[str | None, str]]:
    """Heading and text of each document."""
    lines = re.findall(r"[^\n]*\n|[^\n]+", text)  # as the parser counts them; splitlines knows more line ends
    tokens = _parser().parse(text)
    dropped: set[int] = set()
    starts: dict[int, str] = {}
    first_heading: str | None = None
    for token, content in itertools.pairwise([*tokens, Token("end", "", 0)]):
        if token.map is None:
            continue
        if token.type == "fence" and config.code == "drop":
            dropped.update(range(*token.map))
        if token.type == "heading_open":
            heading = " ".join(content.content.split())[:MAX_TITLE_CHARACTERS]
            first_heading = first_heading or heading
            if config.split_level is not None and token.level == 0 and int(token.tag[1:]) <= config.split_level:
                starts[token.map[0]] = heading

    def piece(start: int, stop: int) -> str:
        return "".join(line for number, line in enumerate(lines[start:stop], start) if number not in dropped)

    if not starts:
        yield first_heading, piece(0, len(lines))
        return
    bounds = [*sorted(starts), len(lines)]
    if before := piece(0, bounds[0]).strip():
        yield None, before
    for start, stop in itertools.pairwise(bounds):
        yield starts[start] or None, piece(start, stop)


@lru_cache(maxsize=1)
def _parser() -> MarkdownIt:
    """Blocks only: what stands within a paragraph is not looked at."""
    parser = MarkdownIt("commonmark")
    parser.core.ruler.enableOnly(["normalize", "block"])
    return parser
