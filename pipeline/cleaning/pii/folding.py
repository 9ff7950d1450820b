"""Digits of other scripts and full-width forms as ASCII, so that every kind is found however it is written."""

from __future__ import annotations

import re
import string
import unicodedata
from functools import lru_cache

_KEPT = string.digits + string.ascii_letters + "+-.()@_%"
_WIDE = {0xFEE0 + ord(character): ord(character) for character in _KEPT} | {0x3000: ord(" "), 0x2212: ord("-")}
"""Full-width forms of what numbers and addresses are written with, the wide space, and the minus sign. A wide colon or comma
stays: it stands before a number, where a narrow one would stand within another."""
_END_OF_DIGITS = 0x10000
"""Digits beyond it are of scripts that hardly anybody writes; classes of characters below it are searched many times as fast."""
_ASCII = bytes(range(128))


def fold(text: str) -> str:
    """The text with runs of wide characters and foreign digits in ASCII, character by character, so that places stay; only
    runs that hold a digit or an `@` are changed.

    "電話：０３－１２３４ ＯＫ" -> "電話：03-1234 ＯＫ"
    """
    if text.isascii():
        return text
    table, runs, telling = _patterns()
    few = text.encode("utf-8", "surrogatepass").translate(None, _ASCII).decode("utf-8", "surrogatepass")
    if not telling.search(few):
        return text
    return runs.sub(lambda run: run.group().translate(table) if telling.search(run.group()) else run.group(), text)


@lru_cache(maxsize=1)
def _patterns() -> tuple[dict[int, int], re.Pattern[str], re.Pattern[str]]:
    """What becomes what, runs of it, and what of it tells of an address or a number."""
    digits = {
        code: ord("0") + unicodedata.decimal(chr(code)) for code in range(0x80, _END_OF_DIGITS) if chr(code).isdecimal()
    }
    table = _WIDE | digits
    runs = re.compile(f"[{''.join(re.escape(chr(code)) for code in table)}]+")
    return table, runs, re.compile(f"[＠{''.join(map(chr, digits))}]")
