"""How varied texts are, how they repeat themselves, and how much of them stands in their source.

- distinct-n: distinct n-grams over n-grams of all outputs together (Li et al. 2016, arXiv 1510.03055).
- repetition: share of an output's 4-grams that occurred earlier in it (seq-rep-4 of Welleck et al. 2020, arXiv 1908.04319).
- novel bigrams: share of an output's bigrams that its source lacks (See et al. 2017, arXiv 1704.04368); copy rate: share of an
  output's words that stand in its source.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pipeline.evaluation.metrics.scored import Distinct, Summed, ratio_of
from pipeline.evaluation.metrics.words import ngrams, words


def distinct(n: int, outputs: Sequence[str]) -> tuple[Distinct, str]:
    """Distinct n-grams over n-grams, 0 to 1."""
    known: dict[tuple[str, ...], int] = {}
    texts: list[int] = []
    items: list[int] = []
    for number, output in enumerate(outputs):
        found = list(ngrams(words(output), n).elements())
        texts += [number] * len(found)
        items += [known.setdefault(ngram, len(known)) for ngram in found]
    return (
        Distinct(texts=np.array(texts, dtype=np.int64), items=np.array(items, dtype=np.int64), num_texts=len(outputs)),
        "words, all outputs together",
    )


def repetition(outputs: Sequence[str]) -> tuple[Summed, str]:
    """Repeated 4-grams over 4-grams, 0 to 1; fewer is better."""
    counted = [ngrams(words(output), 4) for output in outputs]
    totals = np.array([found.total() for found in counted], dtype=np.float64)
    return ratio_of(totals - np.array([len(found) for found in counted]), totals), "words, 4-grams within an output"


def novel_bigrams(sources: Sequence[str], outputs: Sequence[str]) -> tuple[Summed, str]:
    """Bigrams that the source lacks over bigrams, 0 to 1."""
    return _absent(2, sources, outputs), "words"


def copy_rate(sources: Sequence[str], outputs: Sequence[str]) -> tuple[Summed, str]:
    """Words that stand in the source over words, 0 to 1."""
    absent = _absent(1, sources, outputs)
    totals = absent.statistics[:, 1]
    return ratio_of(totals - absent.statistics[:, 0], totals), "words"


def _absent(n: int, sources: Sequence[str], outputs: Sequence[str]) -> Summed:
    absent, totals = [], []
    for source, output in zip(sources, outputs, strict=True):
        there, found = ngrams(words(source), n), ngrams(words(output), n)
        absent.append(sum(count for ngram, count in found.items() if ngram not in there))
        totals.append(found.total())
    return ratio_of(np.array(absent), np.array(totals))
