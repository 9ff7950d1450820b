"""One document's text, made plain: NFC, `\\n` line ends, no control characters, no stray blanks, mojibake repaired.

In: a string. Out: the cleaned string and what was done. Content and inner indentation stay; what goes is what no
reader sees. Zero-width joiners and direction marks stay, since many scripts are wrong without them; the byte order
mark and the soft hyphen go wherever they stand.
Trade-off: a run of more than two blank lines becomes two, so that page layout is not learnt; verse and paragraphs keep
theirs.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass

from pipeline.cleaning.characters import beyond_ascii
from pipeline.cleaning.mojibake import repair

_OTHER_LINE_ENDS = re.compile("\r\n?|[\x0b\x0c\x85\u2028\u2029]")
_INVISIBLE = re.compile("[\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f\xad\ufeff\ufff9-\ufffb\ufdd0-\ufdef\ufffe\uffff]")
_CONTROL = re.compile("[\x00-\x08\x0e-\x1f\x7f\x80-\x84\x86-\x9f\ufffd]")
_MANY_BLANK_LINES = re.compile("\n{4,}")
_ODD = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u2028\u2029\ufeff\ufff9-\ufffd\ufdd0-\ufdef\ufffe\uffff]")
"""Whatever one of the first three matches; most texts have none of it, and one look spares three passes."""
_ODD_ASCII = bytes(code for code in range(128) if _ODD.match(chr(code)))


@dataclass(frozen=True, slots=True, kw_only=True)
class CleanText:
    """A cleaned text and what was found on the way."""

    text: str
    repaired: bool
    """Mojibake was repaired."""
    num_unreadable: int
    """Control characters and replacement characters after the repair: traces of binary data or of a lost encoding."""


def clean_text(raw: str) -> CleanText:
    """The text as the rest of the chain sees it.

    "Cafe\\u0301 \\r\\n\\n\\n\\n\\n  x\\x00" -> "Café\\n\\n\\n  x"
    """
    text, repaired = repair(raw)
    num_unreadable = 0
    if _has_odd(text):
        num_unreadable = len(_CONTROL.findall(text))
        text = _OTHER_LINE_ENDS.sub("\n", text)
        text = _INVISIBLE.sub("", text)
    if not text.isascii():
        text = unicodedata.normalize("NFC", text)
    # a list of lines, not a substitution of "[ \t]+\n", which takes quadratic time on a megabyte of blanks
    text = "\n".join([line.rstrip() for line in text.split("\n")])
    if "\n\n\n\n" in text:
        text = _MANY_BLANK_LINES.sub("\n\n\n", text)
    return CleanText(text=text.strip("\n"), repaired=repaired, num_unreadable=num_unreadable)


def _has_odd(text: str) -> bool:
    data = text.encode("utf-8", "surrogatepass")
    if len(data.translate(None, _ODD_ASCII)) < len(data):
        return True
    return not text.isascii() and _ODD.search(beyond_ascii(text)) is not None


def clean_title(raw: str | None) -> str | None:
    """The title on one line, or None where nothing is left of it."""
    return (" ".join(clean_text(raw).text.split()) or None) if raw is not None else None
