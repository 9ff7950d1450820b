"""Token hashes -> hashes of shingles (runs of consecutive tokens), within each document.

A document with fewer tokens than a shingle has none and is never a near-duplicate.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from pipeline.corpus.near.tokens import Counts, Hashes, token_hashes

_BASE = np.uint64(0xD6E8FEB86659FD93)


def shingle_hashes(texts: Sequence[str], *, num_tokens: int) -> tuple[Hashes, Counts]:
    """The shingles of all texts, one after the other, repeated ones included, and how many each text has.

    With 2 tokens a shingle `["a b c", "b c"]` gives the hashes of (a b), (b c), (b c), and counts [2, 1].
    """
    tokens, token_counts = token_hashes(texts)
    counts = np.maximum(token_counts - (num_tokens - 1), 0)
    num_starts = max(len(tokens) - num_tokens + 1, 0)
    shingles = np.zeros(num_starts, np.uint64)
    for offset in range(num_tokens):
        shingles *= _BASE
        shingles += tokens[offset : offset + num_starts]
    whole = np.ones(num_starts, np.bool_)
    ends = np.cumsum(token_counts)
    for before_end in range(1, num_tokens):  # what starts here runs on into the next document
        starts = (ends - before_end)[token_counts >= before_end]
        whole[starts[starts < num_starts]] = False
    return shingles[whole], counts


def distinct_shingles(text: str, *, num_tokens: int) -> Hashes:
    """The set of a document's shingles, sorted."""
    return sorted_set(shingle_hashes([text], num_tokens=num_tokens)[0])


def sorted_set(values: Hashes) -> Hashes:
    """What `numpy.unique` gives, several times faster on sets of this size."""
    ordered = np.sort(values)
    first = np.ones(len(ordered), np.bool_)
    np.not_equal(ordered[1:], ordered[:-1], out=first[1:])
    return ordered[first]


def count_common(first: Hashes, second: Hashes) -> int:
    """The size of the intersection of two sorted sets."""
    merged = np.concatenate([first, second])
    merged.sort(kind="stable")  # two sorted runs: a merge
    return int(np.count_nonzero(merged[1:] == merged[:-1]))


def jaccard(first: Hashes, second: Hashes) -> float:
    """Intersection over union of two sorted sets; 0 where both are empty."""
    common = count_common(first, second)
    union = len(first) + len(second) - common
    return common / union if union else 0.0


def text_of(text: str, target: str | None) -> str:
    """What is compared: a pair's two halves count as one text."""
    return text if target is None else f"{text}\n{target}"


def split_by(values: Hashes, counts: npt.NDArray[np.int64]) -> list[Hashes]:
    """One array a document."""
    return np.split(values, np.cumsum(counts)[:-1]) if len(counts) else []
