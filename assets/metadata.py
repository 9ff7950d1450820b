"""An artifact's report as Dagster metadata: figures, tables, pictures, samples, and where it lies.

Text from documents is untrusted: table cells and samples are escaped, and samples stand in fences longer than any they hold.
"""

from __future__ import annotations

import base64
import html
import re
from collections.abc import Mapping, Sequence
from typing import Any

import dagster as dg

from pipeline.artifacts import Artifact, Report

MAX_ROWS = 25
MAX_SAMPLE_CHARACTERS = 3_000


def artifact_metadata(artifact: Artifact, report: Report, *, reused: bool) -> dict[str, dg.MetadataValue]:
    """What an asset page shows of an artifact; one name keeps one type."""
    manifest = artifact.manifest
    metadata: dict[str, dg.MetadataValue] = {
        "dagster/uri": dg.MetadataValue.text(artifact.folder.resolve().as_uri()),
        "folder": dg.MetadataValue.path(str(artifact.folder)),
        "version": dg.MetadataValue.text(manifest.version),
        "reused": dg.MetadataValue.bool(reused),
        "build_seconds": dg.MetadataValue.float(round(manifest.seconds, 3)),
        "git_revision": dg.MetadataValue.text(manifest.git_revision or "none"),
    }
    num_rows = sum(entry.num_rows or 0 for entry in manifest.files if entry.path.startswith("documents/"))
    if num_rows:
        metadata["dagster/row_count"] = dg.MetadataValue.int(num_rows)
    for name, value in report.figures.items():
        metadata[name] = _figure(value)
    for note in report.notes[:5]:
        metadata[f"note {len([key for key in metadata if key.startswith('note ')]) + 1}"] = dg.MetadataValue.text(note)
    for title, file in report.plots.items():
        picture = base64.b64encode(artifact.file(file).read_bytes()).decode()
        shown_as = f"{title}, plot" if title in report.tables else title  # a table of that name has an entry of its own
        metadata[shown_as] = dg.MetadataValue.md(f"![{title}](data:image/png;base64,{picture})")
    for title, rows in report.tables.items():
        if rows:
            metadata[title] = dg.MetadataValue.md(markdown_table(rows[:MAX_ROWS]))
    for title, text in report.samples.items():
        metadata[title] = dg.MetadataValue.md(fenced(text[:MAX_SAMPLE_CHARACTERS]))
    return metadata


def _figure(value: int | float | str) -> dg.MetadataValue:
    if isinstance(value, bool):
        return dg.MetadataValue.bool(value)
    if isinstance(value, int):
        return dg.MetadataValue.int(value)
    if isinstance(value, float):
        return dg.MetadataValue.float(value)
    return dg.MetadataValue.text(str(value))


def markdown_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows as a Markdown table whose cells cannot break out of it.

    >>> print(markdown_table([{"word": "a|b", "count": 1200}]))
    | word | count |
    |---|---|
    | a&#124;b | 1,200 |
    """
    columns = list(dict.fromkeys(column for row in rows for column in row))
    lines = ["| " + " | ".join(map(_cell, columns)) + " |", "|" + "---|" * len(columns)]
    lines += ["| " + " | ".join(_cell(row.get(column)) for column in columns) + " |" for row in rows]
    return "\n".join(lines)


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.4g}"
    text = html.escape(" ".join(str(value).split()))
    return re.sub(r"[|`*_\[\]\\]", lambda match: f"&#{ord(match.group())};", text)


def fenced(text: str) -> str:
    """Text in a code fence longer than any run of backticks in it."""
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}text\n{text}\n{fence}"
