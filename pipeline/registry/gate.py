"""Is the challenger better? A paired randomisation test over documents, and the decision it leads to.

In: bits of two models on the same documents, and the documents' bytes. Out: the difference in bits per byte, how sure
it is, and whether the alias moves.

- Were both equally good, each document's difference might as well have the other sign. The confidence is 1 - p, where p is the
  share of all signs, or of as many as configured, with which the differences add up to at least what was found (Noreen 1989,
  "Computer-intensive methods for testing hypotheses"; Riezler and Maxwell 2005). Of equal models so few reach 0.95 as they
  should, one in twenty, also on five documents, where a bootstrap lets through twice as many.
- Documents that hang together, such as the turns of a conversation, are one difference, and are drawn together.
- Equal sums speak against the challenger, so an equal model never replaces one.
- The interval of the difference is a bootstrap's: documents drawn again with replacement (Efron and Tibshirani 1993).
- The seed comes from the digests of what is compared: the same comparison always gives the same figures.
- A number that is not finite, or too few documents, never promotes.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from pipeline.files import fingerprint

MAX_DRAWN = 2**22
"""Indices drawn at once: 32 MiB."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """The challenger against one rival, on the documents that neither was trained on."""

    rival: str
    """`unigram`, or a registered model's name and training version."""
    documents_digest: str
    """Of the ids compared on."""
    num_documents: int
    num_bytes: int
    challenger_bits_per_byte: float | None
    rival_bits_per_byte: float | None
    difference: float | None
    """Bits per byte saved by the challenger; positive is better. None where a figure is not finite."""
    low: float | None
    """2.5th percentile of the difference over the draws."""
    high: float | None
    """97.5th percentile."""
    confidence: float | None
    """That the challenger is better; None where nothing was decided."""

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def compare_bits(
    *,
    rival: str,
    ids: list[str],
    challenger_bits: np.ndarray[Any, Any],
    rival_bits: np.ndarray[Any, Any],
    num_bytes: np.ndarray[Any, Any],
    num_resamples: int,
    min_documents: int,
    digests: tuple[str, ...],
    groups: np.ndarray[Any, Any] | None = None,
) -> Comparison:
    """Compares two models document by document; all arrays are (D,) in the order of `ids`, `groups` being numbers from 0 of what
    hangs together."""
    total_bytes = int(num_bytes.sum())
    documents_digest = fingerprint(sorted(ids))
    finite = bool(np.isfinite(challenger_bits).all() and np.isfinite(rival_bits).all())
    decides = finite and len(ids) >= min_documents and total_bytes > 0
    differences = confidence = None
    if decides:
        seed = int(fingerprint([*digests, documents_digest]), 16)
        saved_bits, sizes = rival_bits - challenger_bits, num_bytes
        if groups is not None:
            saved_bits, sizes = (np.bincount(groups, weights=values) for values in (saved_bits, sizes))
        differences = resample(saved_bits, sizes, num_resamples=num_resamples, seed=seed)
        confidence = confidence_of(saved_bits, num_resamples=num_resamples, seed=seed)

    def per_byte(bits: np.ndarray[Any, Any]) -> float | None:
        total = float(bits.sum())
        return total / total_bytes if total_bytes and np.isfinite(total) else None

    return Comparison(
        rival=rival,
        documents_digest=documents_digest,
        num_documents=len(ids),
        num_bytes=total_bytes,
        challenger_bits_per_byte=per_byte(challenger_bits),
        rival_bits_per_byte=per_byte(rival_bits),
        difference=per_byte(rival_bits - challenger_bits) if finite else None,
        low=None if differences is None else float(np.percentile(differences, 2.5)),
        high=None if differences is None else float(np.percentile(differences, 97.5)),
        confidence=confidence,
    )


def confidence_of(saved_bits: np.ndarray[Any, Any], *, num_resamples: int, seed: int) -> float:
    """1 - p of a randomisation test: all signs of the (D,) differences where they are few, else `num_resamples` of them."""
    size, total = len(saved_bits), saved_bits.sum()
    least = total - 1e-9 * np.abs(saved_bits).sum()  # equal but for rounding is equal
    if 2**size <= num_resamples:
        signs = 1 - 2 * ((np.arange(2**size)[:, None] >> np.arange(size)) & 1)
        return float(1 - (signs @ saved_bits >= least).mean())
    rng = np.random.default_rng(seed)
    chunk = max(1, MAX_DRAWN // size)
    num_as_large = 1  # what was found is one of them
    for first in range(0, num_resamples, chunk):
        flips = rng.random((min(chunk, num_resamples - first), size), dtype=np.float32) < 0.5
        num_as_large += int((total - 2 * (flips @ saved_bits) >= least).sum())
    return 1 - num_as_large / (num_resamples + 1)


def resample(
    saved_bits: np.ndarray[Any, Any], num_bytes: np.ndarray[Any, Any], *, num_resamples: int, seed: int
) -> np.ndarray[Any, Any]:
    """float64 (R,): bits saved per byte in each draw of D documents out of D, with replacement."""
    rng = np.random.default_rng(seed)
    size = len(saved_bits)
    chunk = max(1, MAX_DRAWN // size)
    parts = []
    for first in range(0, num_resamples, chunk):
        drawn = rng.integers(size, size=(min(chunk, num_resamples - first), size))  # (R, D)
        parts.append(saved_bits[drawn].sum(axis=1) / num_bytes[drawn].sum(axis=1))
    return np.concatenate(parts)


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """Whether the challenger takes the alias, and one sentence of why."""

    promoted: bool
    reason: str


def decide(champion: Comparison | None, baseline: Comparison, *, confidence: float, min_documents: int) -> Verdict:
    """Promotes when the challenger beats every rival with the confidence; without a champion the baseline decides."""
    won = []
    for comparison in (champion, baseline):
        if comparison is None:
            continue
        obstacle = _obstacle(comparison, confidence=confidence, min_documents=min_documents)
        if obstacle is not None:
            return Verdict(promoted=False, reason=obstacle)
        won.append(
            f"{comparison.rival} by {comparison.difference:.4f} bits per byte (confidence {comparison.confidence:.4f})"
        )
    if champion is None:
        return Verdict(promoted=True, reason=f"The first champion: it beats {won[0]}.")
    return Verdict(promoted=True, reason=f"It beats {' and '.join(won)}; {confidence} was asked for.")


def _obstacle(comparison: Comparison, *, confidence: float, min_documents: int) -> str | None:
    rival = comparison.rival
    if comparison.num_documents < min_documents:
        return (
            f"Only {comparison.num_documents} test documents were held out by both it and {rival}; {min_documents} are "
            "asked for, so the alias stays."
        )
    if comparison.difference is None or comparison.confidence is None:
        return f"A score of the challenger or of {rival} is not finite, so they cannot be compared; the alias stays."
    if comparison.confidence < confidence:
        way = "better" if comparison.difference > 0 else "worse"
        how = (
            f"{abs(comparison.difference):.4f} bits per byte {way} than"
            if comparison.difference
            else "exactly as good as"
        )
        return (
            f"It is {how} {rival}: being better has confidence {comparison.confidence:.4f} where {confidence} is asked for, "
            "so the alias stays."
        )
    return None
