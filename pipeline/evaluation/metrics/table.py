"""Every metric of written texts by name: which direction is better, and what measures it.

In: sources, outputs and references. Out: texts measured, and the signature of the measure.
`pipeline.config.metric_names` says which task a metric fits; bits per byte is measured by likelihood, not here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from pipeline.evaluation.metrics import diversity, squad, translation
from pipeline.evaluation.metrics.rouge import rouge
from pipeline.evaluation.metrics.scored import Scored

Texts = Sequence[str]
References = Sequence[Sequence[str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """How texts are measured."""

    label: str
    measure: Callable[[Texts, Texts, References], tuple[Scored, str]]
    """Sources, outputs, references -> texts measured, signature."""
    higher_is_better: bool | None = True
    """None: neither, a property to know."""


def _by_references(measure: Callable[[Texts, References], tuple[Scored, str]]) -> Callable[..., tuple[Scored, str]]:
    return lambda sources, outputs, references: measure(outputs, references)


def _by_outputs(measure: Callable[[Texts], tuple[Scored, str]]) -> Callable[..., tuple[Scored, str]]:
    return lambda sources, outputs, references: measure(outputs)


def _by_sources(measure: Callable[[Texts, Texts], tuple[Scored, str]]) -> Callable[..., tuple[Scored, str]]:
    return lambda sources, outputs, references: measure(sources, outputs)


METRICS: Mapping[str, Metric] = {
    "bleu": Metric(label="BLEU", measure=_by_references(translation.bleu)),
    "chrf": Metric(label="chrF++", measure=_by_references(translation.chrf)),
    "ter": Metric(label="TER", measure=_by_references(translation.ter), higher_is_better=False),
    "rouge_1": Metric(label="ROUGE-1", measure=_by_references(partial(rouge, "rouge1"))),
    "rouge_2": Metric(label="ROUGE-2", measure=_by_references(partial(rouge, "rouge2"))),
    "rouge_l": Metric(label="ROUGE-Lsum", measure=_by_references(partial(rouge, "rougeLsum"))),
    "exact_match": Metric(label="exact match", measure=_by_references(squad.exact_match)),
    "f1": Metric(label="F1", measure=_by_references(squad.f1)),
    "distinct_1": Metric(label="distinct-1", measure=_by_outputs(partial(diversity.distinct, 1))),
    "distinct_2": Metric(label="distinct-2", measure=_by_outputs(partial(diversity.distinct, 2))),
    "repetition": Metric(label="repetition", measure=_by_outputs(diversity.repetition), higher_is_better=False),
    "copy_rate": Metric(label="copy rate", measure=_by_sources(diversity.copy_rate), higher_is_better=None),
    "novel_bigrams": Metric(label="novel bigrams", measure=_by_sources(diversity.novel_bigrams), higher_is_better=None),
}
