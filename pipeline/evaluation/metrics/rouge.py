"""ROUGE-1, ROUGE-2 and ROUGE-Lsum by rouge-score (Lin 2004), over words of any script.

rouge-score's own tokenizer knows ASCII alone: two identical Japanese texts get 0. The F-measure of the best reference counts,
as a percentage. Summaries are cut into sentences, over which ROUGE-Lsum takes the union of longest common subsequences.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pipeline.evaluation.metrics.scored import Summed, mean_of
from pipeline.evaluation.metrics.words import sentences, words


class _Words:
    """What rouge-score calls a tokenizer."""

    def tokenize(self, text: str) -> list[str]:
        return words(text)


def rouge(kind: str, outputs: Sequence[str], references: Sequence[Sequence[str]]) -> tuple[Summed, str]:
    """The mean of `rouge1`, `rouge2` or `rougeLsum`, 0 to 100."""
    from rouge_score.rouge_scorer import RougeScorer

    scorer = RougeScorer([kind], tokenizer=_Words())
    values = [
        max(scorer.score(_lines(reference), _lines(output))[kind].fmeasure for reference in group)
        for output, group in zip(outputs, references, strict=True)
    ]
    return mean_of(100 * np.array(values)), "rouge-score 0.1.2, Unicode words, no stemming, F-measure"


def _lines(text: str) -> str:
    return "\n".join(sentences(text))
