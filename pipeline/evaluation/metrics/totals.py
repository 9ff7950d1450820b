"""Totals over documents into the figures people compare.

In: the scores of documents with their bytes and words. Out: one dictionary of figures for any group of them.

- bits per byte: total bits / total UTF-8 bytes of the raw text, so it compares models with different tokenizers.
- perplexity per token, byte and white-space word: 2 to the bits per unit. Only the one per byte compares across
  tokenizers, and the one per word says little where a script writes no spaces.
- expected calibration error: mean over predictions of |confidence - accuracy| of their bin (Guo et al. 2017).

A figure that does not exist (a perplexity beyond a float, a group without tokens) is None, never a number.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipeline.evaluation.scoring import DocumentScores

LARGEST_EXPONENT = 1000.0
"""2 to more than this is no float."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Documents:
    """What was scored, one row a document."""

    ids: list[str]
    text_hashes: list[str]
    sources: np.ndarray[Any, Any]
    """str (D,)"""
    num_bytes: np.ndarray[Any, Any]
    """int64 (D,): UTF-8 bytes of the text."""
    num_words: np.ndarray[Any, Any]
    """int64 (D,): separated by white space."""
    groups: Sequence[str | None] = ()
    """What each hangs together with, where it is not alone: a conversation, a context, or of a pair its text, which may have
    several targets."""


def summarise(
    documents: Documents, scores: DocumentScores, chosen: np.ndarray[Any, Any] | None = None
) -> dict[str, Any]:
    """The figures of the chosen documents (a boolean mask; None means all)."""
    mask = np.ones(len(documents.ids), dtype=bool) if chosen is None else chosen
    bits, baseline_bits = float(scores.bits[mask].sum()), float(scores.baseline_bits[mask].sum())
    num_bytes, num_words = int(documents.num_bytes[mask].sum()), int(documents.num_words[mask].sum())
    num_tokens = int(scores.num_tokens[mask].sum())
    return {
        "bits_per_byte": _ratio(bits, num_bytes),
        "token_perplexity": _perplexity(bits, num_tokens),
        "byte_perplexity": _perplexity(bits, num_bytes),
        "word_perplexity": _perplexity(bits, num_words),
        "top1_accuracy": _ratio(scores.num_top1[mask].sum(), num_tokens),
        "top5_accuracy": _ratio(scores.num_top5[mask].sum(), num_tokens),
        "expected_calibration_error": expected_calibration_error(scores.calibration[mask].sum(axis=0)),
        "unigram_bits_per_byte": _ratio(baseline_bits, num_bytes),
        "unknown_fraction": _ratio(scores.num_unknown[mask].sum(), num_tokens),
        "num_documents": int(mask.sum()),
        "num_bytes": num_bytes,
        "num_tokens": num_tokens,
    }


def summarise_sources(documents: Documents, scores: DocumentScores) -> dict[str, dict[str, Any]]:
    """Source -> its figures, by name."""
    return {
        str(source): summarise(documents, scores, documents.sources == source)
        for source in sorted(set(documents.sources))
    }


def expected_calibration_error(calibration: np.ndarray[Any, Any]) -> float | None:
    """0 (as sure as right) to 1, of the (15, 3) counts, summed confidences and hits of the bins."""
    counts, confidences, hits = calibration.T
    return _ratio(np.abs(confidences - hits).sum(), counts.sum())


def _ratio(numerator: Any, denominator: Any) -> float | None:
    return float(numerator) / float(denominator) if denominator else None


def _perplexity(bits: float, count: int) -> float | None:
    if not count or bits / count > LARGEST_EXPONENT:
        return None
    return float(2.0 ** (bits / count))
