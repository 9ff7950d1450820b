"""Stretches of text with enough digits for a number of a person; prose has few, and only they are looked at closely."""

from __future__ import annotations

import re
from collections.abc import Iterator

_STRETCH = re.compile(r"[0-9][0-9 .()/\-\u00a0\u2010\u2011\u2013]{6,}+")
_MARGIN = 6
"""Characters before a stretch that belong to a number: `+`, `(`."""
_TAIL = 12
"""Characters after it: an extension, a last `X`."""


_NOT_DIGITS = bytes(code for code in range(256) if not 48 <= code <= 57)


def count_digits(text: str) -> int:
    """ASCII digits; many times faster than a regular expression, so it decides whether one is needed."""
    return len(text.encode("utf-8", "surrogatepass").translate(None, _NOT_DIGITS))


def find_stretches(text: str) -> Iterator[tuple[int, int]]:
    """Start and end of each stretch with a margin around it, so that a search may begin and end there; none overlap."""
    start = end = -1
    for match in _STRETCH.finditer(text):
        if match.start() - _MARGIN > end:
            if end >= 0:
                yield max(start, 0), min(end, len(text))
            start = match.start() - _MARGIN
        end = match.end() + _TAIL
    if end >= 0:
        yield max(start, 0), min(end, len(text))
