"""BLEU, chrF++ and TER by sacrebleu, with the signature that makes a figure comparable (Post 2018, arXiv 1804.08771).

Each text's statistics are sacrebleu's own, summed over any draw of the texts and combined by sacrebleu, as its significance
tests do; the figure of all texts is that of its `corpus_score`. BLEU cuts Chinese and Japanese into characters (`zh`, `char`).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from pipeline.evaluation.metrics.scored import Array, Summed
from pipeline.evaluation.metrics.words import is_unspaced

_KANA = re.compile("[\u3040-\u30ff]")


def bleu(outputs: Sequence[str], references: Sequence[Sequence[str]]) -> tuple[Summed, str]:
    """0 to 100 (Papineni et al. 2002), and the signature."""
    from sacrebleu.metrics.bleu import BLEU

    return _summed(BLEU(tokenize=_bleu_tokenizer(references)), outputs, references)


def chrf(outputs: Sequence[str], references: Sequence[Sequence[str]]) -> tuple[Summed, str]:
    """chrF++, 0 to 100 (Popović 2017): character 6-grams and word bigrams."""
    from sacrebleu.metrics.chrf import CHRF

    return _summed(CHRF(word_order=2), outputs, references)


def ter(outputs: Sequence[str], references: Sequence[Sequence[str]]) -> tuple[Summed, str]:
    """Edits per 100 reference words, fewer is better (Snover et al. 2006)."""
    from sacrebleu.metrics.ter import TER

    unspaced = is_unspaced(reference for group in references for reference in group)
    return _summed(TER(normalized=unspaced, asian_support=unspaced), outputs, references)


def _bleu_tokenizer(references: Sequence[Sequence[str]]) -> str:
    flat = [reference for group in references for reference in group]
    if not is_unspaced(flat):
        return "13a"
    return "char" if any(_KANA.search(reference) for reference in flat) else "zh"


def _summed(metric: Any, outputs: Sequence[str], references: Sequence[Sequence[str]]) -> tuple[Summed, str]:
    most = max(map(len, references))
    streams = [[group[number] if number < len(group) else None for group in references] for number in range(most)]
    statistics = np.array(metric._extract_corpus_statistics(list(outputs), streams), dtype=np.float64)

    def combine(sums: Array) -> Array:
        return np.array([metric._compute_score_from_stats(row.tolist()).score for row in sums])

    return Summed(statistics=statistics, combine=combine), str(metric.get_signature())
