"""JSON values as RFC 8259 means them, and by name what parsers disagree on: NaN, duplicate keys, endless numbers.

Trade-off: duplicate keys are noticed by a hook in Python, which makes parsing about three times slower than without;
it stays far above the speed of cleaning.
"""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

MAX_NUMBER_DIGITS = 4000


class OddJson(ValueError):
    """JSON by its grammar, but not one value to every parser."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


class JsonParser:
    """Parses one value at a time; oddities are found while parsing and raised once the value's end is known."""

    def __init__(self) -> None:
        self._oddity: OddJson | None = None
        self._decoder = json.JSONDecoder(
            object_pairs_hook=self._object, parse_constant=self._constant, parse_int=self._integer
        )

    def parse_at(self, text: str, start: int) -> tuple[Any, int, OddJson | None]:
        """The value that begins at `start`, the position after it, and what is odd about it.

        Raises:
            json.JSONDecodeError: no value begins there, or it is cut.
            RecursionError: it nests deeper than the parser goes.
        """
        self._oddity = None
        value, end = self._decoder.raw_decode(text, start)
        return value, end, self._oddity

    def parse(self, text: str) -> Any:
        """The one value of `text`.

        Raises:
            OddJson, json.JSONDecodeError, RecursionError: see above.
        """
        stripped = text.strip(" \t\r\n")
        value, end, oddity = self.parse_at(stripped, 0)
        if end != len(stripped):
            raise json.JSONDecodeError("Extra data", stripped, end)
        if oddity is not None:
            raise oddity
        return value

    def _object(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        record = dict(pairs)
        if len(record) != len(pairs):
            twice = next(key for key, count in Counter(key for key, _ in pairs).items() if count > 1)
            self._oddity = OddJson("duplicate_key", f"The key {twice!r} is given twice.")
        return record

    def _constant(self, name: str) -> None:
        self._oddity = OddJson("json_nan", f"It holds {name}, which JSON does not have.")

    def _integer(self, digits: str) -> int:
        if len(digits) > MAX_NUMBER_DIGITS:
            self._oddity = OddJson("wrong_type", f"It holds a number of {len(digits)} digits.")
            return 0
        return int(digits)
