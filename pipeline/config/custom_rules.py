"""Rules of the user's own: a DuckDB condition over one document's columns, taken apart before it is ever run.

DuckDB's own parser gives the tree, and only what computes a value from the row's columns is let through: no subquery, no
table or file, no aggregate, no function whose answer changes between runs. What runs later is the SQL that DuckDB writes
from that tree, not the text that the user wrote.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from pipeline.config.columns import RULE_COLUMNS

if TYPE_CHECKING:
    import duckdb

_ALLOWED = {
    "COMPARISON",
    "CONJUNCTION",
    "COLUMN_REF",
    "CONSTANT",
    "FUNCTION",
    "OPERATOR",
    "CAST",
    "BETWEEN",
    "CASE",
    "TYPE",
}
_MEND = 'Write one condition over the columns, such as "stop_words < 2"'


@dataclass(frozen=True, slots=True, kw_only=True)
class ParsedRule:
    """A condition that is safe to run."""

    sql: str
    """As DuckDB writes it."""
    column: str | None
    """Where it compares a column with a number: the column."""
    threshold: float | None
    """And the number."""


@lru_cache(maxsize=256)
def parse_rule(text: str) -> ParsedRule:
    """A condition, checked.

    Raises:
        ValueError: it is no single condition over the columns, in words that follow the key's name.
    """
    import duckdb

    settings: dict[str, str | bool | int | float | list[str]] = {"enable_external_access": False, "threads": 1}
    with duckdb.connect(":memory:", config=settings) as connection:
        expression, canonical = _parse(connection, text)
        for node in _nodes(expression):
            _require_allowed(connection, text, node)
        columns = ", ".join(f'"{name}" {kind}' for name, kind in RULE_COLUMNS.items())
        connection.execute(f"CREATE TABLE documents ({columns})")
        try:
            (kind,) = connection.sql(f"SELECT {canonical} FROM documents").types  # noqa: S608 - checked above
        except duckdb.Error as error:
            raise ValueError(f"is {text!r}, which DuckDB refuses ({_first_line(error)}). Correct it") from error
        if str(kind) != "BOOLEAN":
            raise ValueError(f"is {text!r}, which gives {kind} and not true or false. {_MEND}")
    column, threshold = _comparison(expression)
    return ParsedRule(sql=canonical, column=column, threshold=threshold)


def _parse(connection: duckdb.DuckDBPyConnection, text: str) -> tuple[dict[str, Any], str]:
    """The tree of the one expression, and its SQL as DuckDB writes it."""
    found = connection.execute("SELECT json_serialize_sql(?)", [f"SELECT ({text}\n)"]).fetchall()[0][0]
    answer = json.loads(found)
    if answer["error"]:
        raise ValueError(f"is {text!r}, which DuckDB cannot read ({_first_line(answer['error_message'])}). {_MEND}")
    (statement,) = answer["statements"]
    node = statement["node"]
    parts = ("where_clause", "having", "sample", "qualify", "group_expressions", "modifiers")
    if (
        node["type"] != "SELECT_NODE"
        or len(node["select_list"]) != 1
        or node["from_table"]["type"] != "EMPTY"
        or any(node.get(part) for part in parts)
    ):
        raise ValueError(f"is {text!r}, which is more than one condition. {_MEND}")
    (written,) = connection.execute("SELECT json_deserialize_sql(?)", [found]).fetchall()[0]
    return node["select_list"][0], str(written).removeprefix("SELECT ")


def _nodes(value: Any) -> Iterator[dict[str, Any]]:
    """Every expression of a tree."""
    if isinstance(value, dict):
        if "class" in value:
            yield value
        for part in value.values():
            yield from _nodes(part)
    elif isinstance(value, list):
        for part in value:
            yield from _nodes(part)


def _require_allowed(connection: duckdb.DuckDBPyConnection, text: str, node: dict[str, Any]) -> None:
    kind = node["class"]
    if kind not in _ALLOWED:
        named = kind.lower().replace("_", " ")
        raise ValueError(f"is {text!r}, which holds a {named}; a rule sees one document at a time. {_MEND}")
    if kind == "COLUMN_REF":
        name = node["column_names"][-1].lower()
        if len(node["column_names"]) != 1 or name not in RULE_COLUMNS:
            close = difflib.get_close_matches(name, RULE_COLUMNS, n=3) or ["stop_words", "num_words", "language"]
            raise ValueError(f"is {text!r}, and there is no column {name!r}. There are {', '.join(close)} and others")
    if kind == "FUNCTION":
        name = node["function_name"]
        stabilities = connection.execute(
            "SELECT DISTINCT stability FROM duckdb_functions() WHERE function_type = 'scalar' AND function_name = ?",
            [name],
        ).fetchall()
        if stabilities != [("CONSISTENT",)]:
            raise ValueError(
                f"is {text!r}, and {name} is no function of one document's columns that answers the same every time. "
                f"{_MEND}"
            )


def _comparison(expression: dict[str, Any]) -> tuple[str | None, float | None]:
    """Column and number of `column < number`; None of anything else."""
    if expression["class"] != "COMPARISON" or expression["left"]["class"] != "COLUMN_REF":
        return None, None
    literal = expression["right"].get("literal") or expression["right"].get("value") or {}
    column = expression["left"]["column_names"][0].lower()
    try:
        return column, float(literal.get("text", "")) if RULE_COLUMNS[column] != "VARCHAR" else None
    except ValueError:
        return None, None


def _first_line(error: Exception | str) -> str:
    return str(error).strip().splitlines()[0].rstrip(".")
