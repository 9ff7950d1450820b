"""Stretches of text with enough digits for a number of a person; prose has few, and only they are looked at closely."""

from __future__ import annotations

import re
from collections.abc import Iterator

_SHAPE = re.compile(rb"0[0.\-]{6,}+")
_STRETCH = re.compile(r"[0-9][0-9 .()/\-\u00a0\u2010\u2011\u2013]{6,}+")
_MARGIN = 6
"""Characters before a stretch that belong to a number: `+`, `(`."""
_TAIL = 12
"""Characters after it: an extension, a last `X`."""


def count_digits(text: str) -> int:
    """ASCII digits."""
    return sum("0" <= character <= "9" for character in text)


def find_stretches(text: str, shape: bytes) -> Iterator[tuple[int, int]]:
    """Start and end of each stretch of a text of this shape, with a margin around it, so that a search may begin and end
    there; none overlap."""
    start = end = -1
    stretches = (match for place in _SHAPE.finditer(shape) for match in _STRETCH.finditer(text, *place.span()))
    for match in stretches:
        if match.start() - _MARGIN > end:
            if end >= 0:
                yield max(start, 0), min(end, len(text))
            start = match.start() - _MARGIN
        end = match.end() + _TAIL
    if end >= 0:
        yield max(start, 0), min(end, len(text))
