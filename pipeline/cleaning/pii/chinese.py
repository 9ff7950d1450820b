"""Numbers of the resident identity card of China (GB 11643-1999, checked) and Chinese mobile numbers."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import date

from pipeline.cleaning.pii.kinds import Span

_ID = re.compile(r"[1-8](?<![\w.\-][1-8])[0-9]{5}(?:18|19|20)[0-9]{9}[0-9Xx](?![0-9A-Za-z_])", re.ASCII)
_REGION_CODES = (
    "11 12 13 14 15 21 22 23 31 32 33 34 35 36 37 41 42 43 44 45 46 50 51 52 53 54 61 62 63 64 65 71 81 82 83"
)
_REGIONS = frozenset(_REGION_CODES.split())
"""First two digits, of GB/T 2260."""
_WEIGHTS = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
_CHECK_CHARACTERS = "10X98765432"
_MOBILE = re.compile(
    r"(?:\+86[ -]?|0086[ -]?|\(\+86\) ?)?(?<![0-9A-Za-z_.+/=\-])1[3-9][0-9](?:[0-9]{8}|([ -])[0-9]{4}\1[0-9]{4})"
    r"(?![0-9A-Za-z_]|[-.,/][0-9]|%)"
    r"|(?:\+86|0086|\(\+86\))[ -]?1[3-9][0-9](?:[0-9]{8}|([ -])[0-9]{4}\2[0-9]{4})(?![0-9A-Za-z_])",
    re.ASCII,
)


def find_chinese_ids(text: str, start: int, end: int) -> Iterator[Span]:
    """Identity numbers within a stretch: region, date of birth and check character must all be right."""
    for match in _ID.finditer(text, start, end):
        number = match.group().upper()
        if number[:2] in _REGIONS and _is_date(number[6:14]) and check_character(number[:17]) == number[17]:
            yield Span(match.start(), match.end(), "chinese_id")


def _is_date(digits: str) -> bool:
    try:
        date(int(digits[:4]), int(digits[4:6]), int(digits[6:]))
    except ValueError:
        return False
    return True


def check_character(digits: str) -> str:
    """The last character for the 17 digits before it (ISO 7064, modulus 11-2).

    "11010519491231002" -> "X"
    """
    total = sum(int(digit) * weight for digit, weight in zip(digits, _WEIGHTS, strict=True))
    return _CHECK_CHARACTERS[total % 11]


def find_chinese_mobiles(text: str, start: int, end: int) -> Iterator[Span]:
    """Mobile numbers within a stretch: 11 digits in one piece or as 3-4-4, with or without +86.

    "手机13812345678。" -> 2..13
    """
    for match in _MOBILE.finditer(text, start, end):
        yield Span(match.start(), match.end(), "chinese_mobile")
