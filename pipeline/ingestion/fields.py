"""Text and title out of a record with named fields, shared by the JSON and Parquet readers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipeline.config.data import JsonSource, ParquetSource


class BadField(Exception):
    """A record whose text cannot be had."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason, self.detail = reason, detail


def text_fields(config: JsonSource | ParquetSource) -> tuple[str, ...]:
    """The names of the text fields, in order."""
    return (config.text,) if isinstance(config.text, str) else config.text


def text_and_title(record: Mapping[str, Any], config: JsonSource | ParquetSource) -> tuple[str, str | None]:
    """The record's text, its fields joined (empty ones left out), and its title.

    With `text: [title, lines]`: {"title": "Moon", "lines": ["a", "b"]} -> ("Moon\\na\\nb", None)

    Raises:
        BadField: `missing_text`, `wrong_type` or `empty`.
    """
    pieces = [_text_of(record, name) for name in text_fields(config)]
    text = config.join.join(piece for piece in pieces if piece)
    if not text.strip():
        raise BadField("empty", "Its text holds nothing but white space.")
    title = record.get(config.title) if config.title is not None else None
    return text, title if isinstance(title, str) and title.strip() else None


def _text_of(record: Mapping[str, Any], name: str) -> str:
    value = record.get(name)
    if isinstance(value, str):
        return value
    if value is None:
        raise BadField("missing_text", f"The field {name!r} is {'null' if name in record else 'missing'}.")
    if isinstance(value, list):
        for item in value:
            if not isinstance(item, str):
                raise BadField("wrong_type", f"The list {name!r} holds {_kind(item)} where lines of text are expected.")
        return "\n".join(value)
    raise BadField("wrong_type", f"The field {name!r} is {_kind(value)}, not text or a list of lines.")


def _kind(value: Any) -> str:
    names = {bool: "a boolean", int: "a number", float: "a number", dict: "an object", list: "a list"}
    return names.get(type(value), "null" if value is None else f"a {type(value).__name__}")
