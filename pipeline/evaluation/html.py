"""The one-page report of a model, for somebody who has never seen it.

In: figures, samples, plots and lineage. Out: one HTML text that needs nothing else: plots inline, no scripts, every
text escaped by the template engine and a policy in the page that forbids whatever would slip through.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from pipeline.artifacts import ArtifactRef
from pipeline.evaluation.by_heart import ByHeart
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
    by_heart: ByHeart | None,
    task: str,
    task_metric: str,
    task_rows: Sequence[Mapping[str, Any]],
    benchmarks: Mapping[str, Mapping[str, Any]],
    samples: Sequence[Mapping[str, str]],
    plots: Mapping[str, bytes],
    lineage: Mapping[str, ArtifactRef],
    notes: Sequence[str],
) -> str:
    """The page; `plots` are PNG bytes by title, `training` the counts of the trained model, `cached` the figures with a cache or
    none, `by_heart` what was asked for of the training text."""
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
        by_heart=by_heart,
        task=task,
        task_table=_by_metric(task_rows),
        writers=list(dict.fromkeys(row["by"] for row in task_rows)),
        benchmarks=benchmarks,
        samples=samples,
        plots={title: base64.b64encode(data).decode() for title, data in plots.items()},
        lineage=lineage,
        notes=notes,
        cards=[*_task_cards(task_metric, task_rows), *_cards(figures)],
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """A figure that catches the eye, and what it is."""

    value: str
    label: str
    note: str


def _task_cards(metric: str, rows: Sequence[Mapping[str, Any]]) -> list[Card]:
    """What the task is measured by, beside the best that needs no model; bits per byte have a card of every model."""
    if metric not in METRICS:
        return []
    values = {row["by"]: row for row in rows if row["metric"] == metric}
    own, better = values.pop("model"), METRICS[metric].higher_is_better
    note = f"95 % between {decimal(own['low'])} and {decimal(own['high'])}"
    if values and better is not None:
        best = (max if better else min)(values.values(), key=lambda row: row["value"])
        note += f"; {best['by']} {decimal(best['value'])}"
    return [Card(value=decimal(own["value"]), label=METRICS[metric].label, note=note)]


def _cards(figures: Mapping[str, Any]) -> list[Card]:
    """What every model is, as far as it was measured."""
    saved = _saved(figures)
    unigram = f"unigram baseline {decimal(figures['unigram_bits_per_byte'])}"
    bits = unigram if saved is None else f"{unigram}, {percent(saved)} fewer"
    known: list[tuple[str, Callable[[float | None], str], str, str]] = [
        ("bits_per_byte", decimal, "bits per byte", bits),
        ("byte_perplexity", decimal, "perplexity per byte", "256 would be no knowledge at all"),
        ("token_perplexity", decimal, "perplexity per token", "for this tokenizer only"),
        ("word_perplexity", decimal, "perplexity per word", "words between white space"),
        ("top1_accuracy", percent, "next token right", f"{percent(figures['top5_accuracy'])} among its five best"),
        ("expected_calibration_error", percent, "calibration error", "how far confidence is from accuracy"),
    ]
    return [
        Card(value=said(figures[name]), label=label, note=note)
        for name, said, label, note in known
        if figures[name] is not None
    ]


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
    """Four digits, more only before the point: `decimal(2.0) == "2.000"`."""
    if value is None:
        return NONE
    if value >= 1e7:
        return f"{value:.2e}"
    return f"{value:.3f}" if value < 10 else f"{value:.2f}" if value < 100 else f"{value:,.1f}"


def percent(value: float | None) -> str:
    """A fraction in percent: `percent(0.5) == "50.0 %"`."""
    return NONE if value is None else f"{100 * value:.1f} %"


def _saved(figures: Mapping[str, Any]) -> float | None:
    """How much smaller than the baseline's the model's bits are, 0 to 1."""
    model, unigram = figures["bits_per_byte"], figures["unigram_bits_per_byte"]
    return 1 - model / unigram if model is not None and unigram else None
