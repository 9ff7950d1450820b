"""Cron expressions of schedules: what Dagster would refuse, and times that never come, are refused when the file is read."""

from __future__ import annotations

import re

_FIELDS = {
    "minute": range(60),
    "hour": range(24),
    "day": range(1, 32),
    "month": range(1, 13),
    "weekday": range(8),  # 0 and 7 are Sunday
}
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_WEEKDAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_NAMED = {
    "month": {name: number for number, name in enumerate(_MONTHS, start=1)},
    "weekday": {name: number for number, name in enumerate(_WEEKDAYS)},
}
_MOST_DAYS = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
_LAST_DAY = "l"
_VALUE = r"\d{1,2}|[a-z]{3}"
_PART = re.compile(rf"(?:\*|({_VALUE})(?:-({_VALUE}))?)(?:/(\d{{1,2}}))?", re.ASCII)


def check_cron(text: str) -> str:
    """The expression, whose five fields are lists of values, ranges and steps, and whose day is one of its months'.

    Raises:
        ValueError: it is none, in words that follow the key's name.
    """
    written = text.split()
    if len(written) != len(_FIELDS):
        raise ValueError("has no five cron fields (minute hour day month weekday). Example: 0 2 * * *")
    values = {field: _values(field, parts) for field, parts in zip(_FIELDS, written, strict=True)}
    if min(values["day"]) > max(_MOST_DAYS[month - 1] for month in values["month"]):
        raise ValueError(f"is {text!r}, and no such month has such a day. Correct the day or the month")
    return text


def _values(field: str, parts: str) -> set[int]:
    """The numbers that a field stands for.

    Raises:
        ValueError: a part of it is nothing that the field can be.
    """
    found: set[int] = set()
    for part in parts.lower().split(","):
        numbers = _numbers(field, part)
        if numbers is None:
            low, high = _FIELDS[field][0], _FIELDS[field][-1]
            raise ValueError(
                f"has the {field} {part!r}. Write numbers from {low} to {high}, ranges such as {low + 1}-{low + 3} or steps "
                "such as */2"
            )
        found.update(numbers)
    return found


def _numbers(field: str, part: str) -> range | None:
    """Those of a single value, range or step, or None; a range that falls goes on at the beginning, such as fri-mon."""
    allowed = _FIELDS[field]
    if part == _LAST_DAY and field == "day":
        return range(1, 2)  # as of its first, every month has one
    match = _PART.fullmatch(part)
    if match is None:
        return None
    low, high, step = match.groups()
    is_one = low is not None and high is None and step is None
    first = allowed[0] if low is None else _number(field, low)
    last = first if is_one else allowed[-1] if high is None else _number(field, high)
    every = int(step or 1)
    if first not in allowed or last not in allowed or not 1 <= every <= max(last, 1):
        return None
    return range(first, last + 1, every) if first <= last else allowed


def _number(field: str, value: str) -> int:
    """-1 where a name is none of the field's."""
    return int(value) if value.isdecimal() else _NAMED.get(field, {}).get(value, -1)
