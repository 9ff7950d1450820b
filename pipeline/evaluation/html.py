"""The one-page report of a model, for somebody who has never seen it.

In: figures, samples, plots and lineage. Out: one HTML text that needs nothing else: plots inline, no scripts, every
text escaped by the template engine and a policy in the page that forbids whatever would slip through.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from pipeline.artifacts import ArtifactRef
from pipeline.evaluation.metrics.table import METRICS

NONE = "–"


def render_report(
    *,
    name: str,
    family: str,
    training: Mapping[str, Any],
    figures: Mapping[str, Any],
    sources: Mapping[str, Mapping[str, Any]],
    cached: Mapping[str, Any],
    task: str,
    task_rows: Sequence[Mapping[str, Any]],
    benchmarks: Mapping[str, Mapping[str, Any]],
    samples: Sequence[Mapping[str, str]],
    plots: Mapping[str, bytes],
    lineage: Mapping[str, ArtifactRef],
    notes: Sequence[str],
) -> str:
    """The page; `plots` are PNG bytes by title, `training` the counts of the trained model, `cached` the figures with a cache or
    none."""
    environment = Environment(
        loader=PackageLoader("pipeline.evaluation", ""),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"large": large, "decimal": decimal, "percent": percent}
    return environment.get_template("report.html").render(
        name=name,
        family=family,
        training=training,
        figures=figures,
        sources=sources,
        cached=cached,
        task=task,
        task_table=_by_metric(task_rows),
        writers=list(dict.fromkeys(row["by"] for row in task_rows)),
        benchmarks=benchmarks,
        samples=samples,
        plots={title: base64.b64encode(data).decode() for title, data in plots.items()},
        lineage=lineage,
        notes=notes,
        saved=_saved(figures),
    )


def _by_metric(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """A line a metric: its label, who wrote, and each one's value with its interval."""
    lines: dict[str, dict[str, Any]] = {}
    for row in rows:
        label = METRICS[row["metric"]].label if row["metric"] in METRICS else "bits per byte"
        line = lines.setdefault(row["metric"], {"label": label, "signature": row["signature"], "by": {}})
        line["by"][row["by"]] = row
    return list(lines.values())


def large(value: float | None) -> str:
    """A count as a person says it: `large(1_234_567) == "1.2 million"`."""
    if value is None:
        return NONE
    for size, word in ((1e9, "billion"), (1e6, "million")):
        if value >= size:
            return f"{value / size:.1f} {word}"
    return f"{value:,.0f}"


def decimal(value: float | None) -> str:
    """Three digits after the point, fewer where the number is large: `decimal(2.0) == "2.000"`."""
    if value is None:
        return NONE
    return f"{value:.3f}" if value < 100 else f"{value:,.1f}" if value < 1e7 else f"{value:.2e}"


def percent(value: float | None) -> str:
    """A fraction in percent: `percent(0.5) == "50.0 %"`."""
    return NONE if value is None else f"{100 * value:.1f} %"


def _saved(figures: Mapping[str, Any]) -> float | None:
    """How much smaller than the baseline's the model's bits are, 0 to 1."""
    model, unigram = figures["bits_per_byte"], figures["unigram_bits_per_byte"]
    return 1 - model / unigram if model is not None and unigram else None
