"""Repairs text that was decoded with the wrong encoding (`â€œ` for `“`), by ftfy, behind a cheap gate.

ftfy decides; the gate only spares it the lines that cannot be mojibake. A line can be where it holds a C1 control
character, or two neighbours that some one-byte encoding gives to the first and the next byte of a UTF-8 sequence.
All of ftfy's other fixes are off: they would turn Chinese punctuation into ASCII, curly quotes into straight ones and
`&lt;` into `<`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from pipeline.cleaning.characters import beyond_ascii

_ENCODINGS = ("latin-1", "cp1252", "cp1251", "cp1250", "cp1253", "cp1254", "cp1257", "iso-8859-2", "mac-roman", "cp437")
"""Those that ftfy undoes."""
_BEFORE_LOST_SPACE = "ÂÃÅÎÐÙâãð"
"""Before a no-break space that became a plain one, as ftfy expects it."""
MAX_LINE_CHARACTERS = 1_000_000
"""A longer line stays as it is: ftfy looks at a line as a whole, many times."""
_C1_CONTROL = re.compile("[\x80-\x9f]")


def repair(text: str) -> tuple[str, bool]:
    """The text with mojibake undone, and whether there was any.

    "It â€™s" -> ("It ’s", True); "It’s" -> ("It’s", False)
    """
    if text.isascii():
        return text, False
    lines = _suspicious_lines(text)
    if not lines:
        return text, False
    from ftfy import fix_encoding

    config = _config()
    pieces, end = [], 0
    for start, stop in lines:
        pieces += [text[end:start], fix_encoding(text[start:stop], config)]
        end = stop
    fixed = "".join([*pieces, text[end:]])
    return fixed, fixed != text


def _suspicious_lines(text: str) -> list[tuple[int, int]]:
    """Start and end of each line that could hold mojibake."""
    # neighbours in the text are neighbours in these few characters too
    few = beyond_ascii(text)
    if not _C1_CONTROL.search(few) and not _places(few):
        return []
    places = _places(text)
    places += [match.start() for match in _C1_CONTROL.finditer(text)]
    lines: list[tuple[int, int]] = []
    for place in sorted(places):
        if not lines or place >= lines[-1][1]:
            stop = text.find("\n", place)
            lines.append((text.rfind("\n", 0, place) + 1, len(text) if stop < 0 else stop))
    return [(start, stop) for start, stop in lines if stop - start <= MAX_LINE_CHARACTERS]


def _places(text: str) -> list[int]:
    """Where a first character stands before a next one."""
    gate = _gate()
    return [match.start() for match in gate.candidates.finditer(text) if match.group() + match[1] in gate.pairs]


@dataclass(frozen=True, slots=True)
class _Gate:
    candidates: re.Pattern[str]
    """Any first character before any next one, of whatever encodings: fast to search for."""
    pairs: frozenset[str]
    """Those of one encoding: few of the candidates in text that is whole."""


@lru_cache(maxsize=1)
def _gate() -> _Gate:
    pairs = {lead + " " for lead in _BEFORE_LOST_SPACE}
    for encoding in _ENCODINGS:
        leads, continuations = _decoded(range(0xC2, 0xF5), encoding), _decoded(range(0x80, 0xC0), encoding)
        pairs |= {lead + continuation for lead in leads for continuation in continuations}
    leads, continuations = ("".join(sorted({pair[place] for pair in pairs})) for place in (0, 1))
    return _Gate(re.compile(f"[{re.escape(leads)}](?=([{re.escape(continuations)}]))"), frozenset(pairs))


def _decoded(values: range, encoding: str) -> str:
    return bytes(values).decode(encoding, "ignore")


@lru_cache(maxsize=1)
def _config() -> Any:
    from ftfy import TextFixerConfig

    return TextFixerConfig(
        unescape_html=False,
        remove_terminal_escapes=False,
        fix_latin_ligatures=False,
        fix_character_width=False,
        uncurl_quotes=False,
        fix_line_breaks=False,
        fix_surrogates=False,
        remove_control_chars=False,
        normalization=None,
        explain=False,
    )
