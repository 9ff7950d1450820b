"""Text, title, target and group out of a record with named fields, shared by the JSON and Parquet readers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pipeline.config.data import JsonSource, ParquetSource
from pipeline.records import document_id

_MAX_NAMES_CHARACTERS = 200


class BadField(Exception):
    """A record whose text cannot be had."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason, self.detail = reason, detail


def text_fields(config: JsonSource | ParquetSource) -> tuple[str, ...]:
    """The names of the text fields, in order."""
    return (config.text,) if isinstance(config.text, str) else config.text


@dataclass(frozen=True, slots=True, kw_only=True)
class Fields:
    """What a record says."""

    text: str
    title: str | None
    target: str | None
    group: str | None


def read_fields(record: Mapping[str, Any], config: JsonSource | ParquetSource) -> Fields:
    """The record's text, its fields joined (empty ones left out), its title, the other half of a pair, and its group.

    With `text: [title, lines]`: {"title": "Moon", "lines": ["a", "b"]} -> text "Moon\\na\\nb"

    Raises:
        BadField: `missing_text`, `wrong_type`, `empty` or `missing_group`.
    """
    pieces = [_text_of(record, name) for name in text_fields(config)]
    text = config.join.join(piece for piece in pieces if piece)
    if not text.strip():
        raise BadField("empty", "Its text holds nothing but white space.")
    title = value_of(record, config.title) if config.title is not None else None
    return Fields(
        text=text,
        title=title if isinstance(title, str) and title.strip() else None,
        target=_text_of(record, config.target) if config.target is not None else None,
        group=group_of(value_of(record, config.group), config.group) if config.group is not None else None,
    )


def group_of(value: Any, name: str | int) -> str:
    """What stands for the value of the field or column `name`, of any type: equal values, equal groups.

    Raises:
        BadField: `missing_group`; without one, the record might stand in another split than its like.
    """
    if value is None or value == "":
        raise BadField("missing_group", f"It has no value in {name!r}, by which it is grouped.")
    return document_id(json.dumps(value, ensure_ascii=False, sort_keys=True, default=str))


def value_of(record: Mapping[str, Any], name: str) -> Any:
    """The value of a field; where the record has none of that name, `a.b` is `b` of `a`, or of each element of it.

    {"a": {"b": "x"}}, "a.b" -> "x"; {"a": [{"b": "x"}, {"b": "y"}]}, "a.b" -> ["x", "y"]
    """
    if name in record or "." not in name:
        return record.get(name)
    values: Any = record
    for step in name.split("."):
        if isinstance(values, list):
            found = [value.get(step) if isinstance(value, dict) else None for value in values]
            values = [item for value in found for item in (value if isinstance(value, list) else [value])]
        elif isinstance(values, Mapping):
            values = values.get(step)
        else:
            return None
    return values


def _text_of(record: Mapping[str, Any], name: str) -> str:
    value = value_of(record, name)
    if isinstance(value, str):
        return value
    if value is None:
        if name in record:
            raise BadField("missing_text", f"The field {name!r} is null.")
        raise BadField("missing_text", f"It has no text in {name!r}; it has {_names(record)}.")
    if isinstance(value, list):
        for item in value:
            if not isinstance(item, str):
                raise BadField("wrong_type", f"The list {name!r} holds {_kind(item)} where lines of text are expected.")
        return "\n".join(value)
    raise BadField("wrong_type", f"The field {name!r} is {_kind(value)}, not text or a list of lines.")


def _names(record: Mapping[str, Any]) -> str:
    return ", ".join(record)[:_MAX_NAMES_CHARACTERS] or "no field"


def _kind(value: Any) -> str:
    names = {bool: "a boolean", int: "a number", float: "a number", dict: "an object", list: "a list"}
    return names.get(type(value), "null" if value is None else f"a {type(value).__name__}")
