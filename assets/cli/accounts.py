"""`textmill explain | diff | sql`: what became of a document, what changed in a corpus, and any question in SQL."""

from __future__ import annotations

import argparse
import csv
import json
import math
import sys
from decimal import Decimal
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from assets.cli.printable import plain
from pipeline.artifacts import ArtifactStore
from pipeline.config import Project
from pipeline.errors import InputError

DEFAULT_LIMIT = 50
MAX_CELL_CHARACTERS = 300
PIPE_COLUMNS = 400
_STYLES = {"rejected": "red", "absent": "yellow"}


def dispatch(project: Project, parsed: argparse.Namespace) -> int:
    """Answers one of the three."""
    store = ArtifactStore(project.storage_folder)
    match parsed.command:
        case "explain":
            _explain(project, store, parsed.document)
        case "diff":
            _diff(project, store, parsed)
        case "sql":
            _sql(project, store, parsed)
    return 0


def _explain(project: Project, store: ArtifactStore, word: str) -> None:
    from pipeline.accounts.explain import explain

    way = explain(project, store, word)
    console = _console()
    console.print(Text(way.id or "a document without readable text", style="bold"))
    if way.excerpt:
        console.print(Text(plain(" ".join(way.excerpt.split())), style="dim"))
    for step in way.steps:
        console.print()
        console.print(Text(step.asset) + Text("  ") + Text(step.verdict, style=_STYLES.get(step.verdict, "green")))
        for name, value in step.facts.items():
            console.print(Text(f"  {name + ':':<12}{plain(value)}"))
        if step.signals:
            named = ", ".join(f"{name} {value:.4g}" for name, value in step.signals.items())
            console.print(Text(f"  {'signals:':<12}{named}"))


def _diff(project: Project, store: ArtifactStore, parsed: argparse.Namespace) -> None:
    from pipeline.accounts.diff import diff

    found = diff(project, store, parsed.corpus, parsed.old, parsed.new)
    console = _console()
    console.print(Text(f"{found.old} -> {found.new.version}", style="bold"))
    for cause in found.causes:
        console.print(Text(f"  {plain(cause)}"))
    if found.rows:
        columns = list(found.rows[0])
        console.print(_table(columns, [tuple(row[column] for column in columns) for row in found.rows]))
    console.print(f"{found.num_unchanged:,} documents are as they were.", highlight=False)


def _sql(project: Project, store: ArtifactStore, parsed: argparse.Namespace) -> None:
    from pipeline.accounts.query import query

    limit: int | None = parsed.limit
    if limit is not None and limit < 0:
        raise InputError(f"sql: --limit is {limit}; give 0 or more.")
    if limit is None and not (parsed.csv or parsed.json):
        limit = DEFAULT_LIMIT
    answer = query(project, store, parsed.statement, limit=limit)
    if parsed.csv:
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow(answer.columns)
        writer.writerows([for_stream(value) for value in row] for row in answer.rows)
        return
    if parsed.json:
        for row in answer.rows:
            values = map(_json_value, row)
            print(
                for_stream(json.dumps(dict(zip(answer.columns, values, strict=True)), ensure_ascii=False, default=str))
            )
        return
    console = _console()
    console.print(_table(answer.columns, answer.rows))
    if answer.is_cut:
        console.print(f"The first {limit} rows; --limit shows more.", highlight=False)


def for_stream(value: Any) -> Any:
    """The value as it is; on a terminal, text that does it no harm."""
    return plain(value) if isinstance(value, str) and sys.stdout.isatty() else value


def _json_value(value: Any) -> Any:
    """Numbers as JSON has them: a decimal is one, and what is none is null."""
    if isinstance(value, Decimal):
        return float(value)
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _console() -> Console:
    """As wide as the terminal; into a pipe or a file, wide enough for a row to stay on its line."""
    return Console() if sys.stdout.isatty() else Console(width=PIPE_COLUMNS)


def _table(columns: list[str], rows: list[tuple[Any, ...]]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for number, column in enumerate(columns):
        is_numeric = all(isinstance(row[number], int | float | Decimal | None) for row in rows)
        table.add_column(Text(plain(column)), justify="right" if is_numeric else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(_cell(value)) for value in row))
    return table


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float | Decimal):
        return f"{value:,.6g}"
    text = plain(str(value)).replace("\n", "⏎").replace("\t", "⇥")  # a row is a line
    return text if len(text) <= MAX_CELL_CHARACTERS else text[: MAX_CELL_CHARACTERS - 1] + "…"
