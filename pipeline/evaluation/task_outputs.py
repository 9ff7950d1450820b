"""What a model writes for pairs, and what it is worth: metrics with intervals, beside what needs no model.

In: pairs (a text and what should be written for it, in one or more versions) and the texts a model wrote. Out: one row a
metric for the model and for each baseline.

Baselines: `copy` gives the text back, `lead` its first sentence, `majority` the most frequent target of the training split.
A model that is no better than one of these has learnt nothing that counts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.evaluation.metrics.scored import Array, estimate
from pipeline.evaluation.metrics.table import METRICS
from pipeline.evaluation.metrics.words import sentences
from pipeline.files import fingerprint

BASELINES = ("copy", "lead", "majority")


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """One text of the test split with every target that it has there."""

    text: str
    targets: tuple[str, ...]


def group_pairs(rows: Iterable[tuple[str, str]]) -> list[Pair]:
    """Pairs in the order of their first row; rows of one text are one pair with several references.

    >>> group_pairs([("q", "a"), ("p", "c"), ("q", "b"), ("q", "a")])
    [Pair(text='q', targets=('a', 'b')), Pair(text='p', targets=('c',))]
    """
    found: dict[str, dict[str, None]] = {}
    for text, target in rows:
        found.setdefault(text, {})[target] = None
    return [Pair(text=text, targets=tuple(targets)) for text, targets in found.items()]


def lead(text: str) -> str:
    """The first sentence of a text."""
    return next(iter(sentences(text)), text)


def majority(targets: Iterable[str]) -> str:
    """The most frequent target; of equally frequent ones the first by letter."""
    counts = Counter(targets)
    most = max(counts.values(), default=0)
    return min((target for target, count in counts.items() if count == most), default="")


def baseline_outputs(pairs: Sequence[Pair], *, majority_target: str) -> dict[str, list[str]]:
    """Baseline -> what it writes for each pair."""
    return {
        "copy": [pair.text for pair in pairs],
        "lead": [lead(pair.text) for pair in pairs],
        "majority": [majority_target] * len(pairs),
    }


def measure(
    pairs: Sequence[Pair],
    outputs: Mapping[str, Sequence[str]],
    *,
    metrics: Sequence[str],
    groups: Array | None = None,
) -> list[dict[str, Any]]:
    """A row for each metric and writer: value, 95 % interval by bootstrap over pairs or their `groups`, and the metric's
    signature."""
    sources, references = [pair.text for pair in pairs], [pair.targets for pair in pairs]
    seed = int(fingerprint([sources, references]), 16)
    rows = []
    for name in metrics:
        metric = METRICS[name]
        for writer, texts in outputs.items():
            scored, signature = metric.measure(sources, texts, references)
            found = estimate(scored, seed=seed, groups=groups)
            rows.append(
                {
                    "metric": name,
                    "by": writer,
                    "value": found.value,
                    "low": found.low,
                    "high": found.high,
                    "signature": signature,
                }
            )
    return rows
