"""Metrics by name, and the tasks that each fits; what measures them stands in `pipeline.evaluation.metrics`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, get_args

MetricName = Literal[
    "bits_per_byte",
    "bleu",
    "chrf",
    "ter",
    "rouge_1",
    "rouge_2",
    "rouge_l",
    "exact_match",
    "f1",
    "distinct_1",
    "distinct_2",
    "repetition",
    "copy_rate",
    "novel_bigrams",
]

FITS: Mapping[str, frozenset[str]] = {
    "bits_per_byte": frozenset({"language_model", "translation", "summarisation", "question_answering", "dialogue"}),
    "bleu": frozenset({"translation", "dialogue"}),
    "chrf": frozenset({"translation", "summarisation", "dialogue"}),
    "ter": frozenset({"translation"}),
    "rouge_1": frozenset({"summarisation", "dialogue"}),
    "rouge_2": frozenset({"summarisation", "dialogue"}),
    "rouge_l": frozenset({"summarisation", "dialogue"}),
    "exact_match": frozenset({"question_answering"}),
    "f1": frozenset({"question_answering"}),
    "distinct_1": frozenset({"summarisation", "dialogue"}),
    "distinct_2": frozenset({"summarisation", "dialogue"}),
    "repetition": frozenset({"translation", "summarisation", "dialogue"}),
    "copy_rate": frozenset({"summarisation", "question_answering"}),
    "novel_bigrams": frozenset({"summarisation"}),
}
"""A translation is measured by its references, an answer as SQuAD does; who answers in dialogue should also not repeat."""

assert set(FITS) == set(get_args(MetricName))


def fitting(task: str) -> list[str]:
    """The metrics of a task, in the order of the table."""
    return [metric for metric, tasks in FITS.items() if task in tasks]
