"""A recurrent model's test documents once more, with a cache of recent states: see models/recurrent/cache.py.

Beside the figures of the model alone, never in their place: bits per byte, the promotion gate and comparisons are without it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.config.recurrent import CacheConfig
from pipeline.evaluation.metrics.scored import PairedDifference, groups_of, paired_difference, ratio_of
from pipeline.evaluation.metrics.totals import Documents, summarise, summarise_sources
from pipeline.evaluation.scoring import DocumentScores, score_documents
from pipeline.files import fingerprint
from pipeline.progress import Progress

if TYPE_CHECKING:
    from pipeline.models.interface import LanguageModel
    from pipeline.tokenizer.model import Tokenizer

FIGURES = (
    "bits_per_byte",
    "token_perplexity",
    "byte_perplexity",
    "word_perplexity",
    "top1_accuracy",
    "top5_accuracy",
    "expected_calibration_error",
)
"""What a cache changes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cached:
    """What was found with the cache."""

    settings: CacheConfig
    bits: np.ndarray[Any, Any]
    """float64 (D,): of each document."""
    figures: dict[str, Any]
    """Of FIGURES."""
    sources: dict[str, dict[str, Any]]
    saved: PairedDifference
    """Bits per byte without it less those with it."""

    @property
    def note(self) -> str:
        """Both figures, in a sentence."""
        settings, with_it = self.settings, self.figures["bits_per_byte"]
        return (
            f"With a cache of each document's last {settings.tokens} states (theta {settings.theta:g}, weight "
            f"{settings.weight:g}): {with_it:.4f} bits per byte; without it {with_it + self.saved.difference:.4f}, which is "
            f"{self.saved.difference:+.4f} (95 % interval {self.saved.low:+.4f} to {self.saved.high:+.4f})."
        )

    def record(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "settings": self.settings.literals(),
            "all": self.figures,
            "sources": self.sources,
            "saved_bits_per_byte": {
                "value": self.saved.difference,
                "low": self.saved.low,
                "high": self.saved.high,
            },
        }


def measure_with_cache(
    model: LanguageModel,
    tokenizer: Tokenizer,
    texts: Iterable[str],
    *,
    documents: Documents,
    alone: DocumentScores,
    settings: CacheConfig,
    progress: Progress,
) -> Cached:
    """Scores the same texts again; `alone` is what the model did without."""
    from pipeline.models.recurrent.cache import CachedScorer
    from pipeline.models.recurrent.model import RecurrentModel

    assert isinstance(model, RecurrentModel), "the project file lets no other family have a cache"
    scorer = CachedScorer(model, num_tokens=settings.tokens, theta=settings.theta, weight=settings.weight)
    scores = score_documents(scorer, tokenizer, texts, progress=progress)
    sizes = documents.num_bytes.astype(np.float64)
    return Cached(
        settings=settings,
        bits=scores.bits,
        figures=_changed(summarise(documents, scores)),
        sources={source: _changed(row) for source, row in summarise_sources(documents, scores).items()},
        saved=paired_difference(
            ratio_of(alone.bits, sizes),
            ratio_of(scores.bits, sizes),
            seed=int(fingerprint(documents.ids), 16),
            groups=groups_of(documents.groups),
        ),
    )


def _changed(figures: dict[str, Any]) -> dict[str, Any]:
    return {key: figures[key] for key in FIGURES}
