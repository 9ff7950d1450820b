"""How much of each source stands in each other one: the share of its distinct word 13-grams that the other has too.

N-grams are sampled by hash, one in 2**k: those whose hash ends in k zeros (Broder 1997), so that an n-gram is in the sample
of every source or of none, and a share within the sample estimates the share in all. k starts at 0, which is exact, and grows
only when there are more than MAX_NGRAMS; what it came to is stated. The set of documents alone decides it. Trade-off: all
of the text is hashed.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.corpus.ngrams import BATCH_CHARACTERS, hash_ngrams, hash_words
from pipeline.files import parquet_batches

NGRAM = 13
MAX_NGRAMS = 1_000_000
_ROWS = 256

OVERLAP_SCHEMA = pa.schema(
    [
        pa.field("source", pa.string(), nullable=False),
        pa.field("other", pa.string(), nullable=False),
        pa.field("ngrams", pa.int64(), nullable=False),  # distinct ones of the source in the sample
        pa.field("shared", pa.int64(), nullable=False),  # of them, in the other too
        pa.field("shared_fraction", pa.float64(), nullable=False),
        pa.field("one_ngram_in", pa.int64(), nullable=False),  # was looked at
    ]
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Overlap:
    """The matrix in rows, and what was sampled."""

    table: pa.Table
    notes: list[str]


def measure_overlap(documents: Sequence[Path], *, max_ngrams: int = MAX_NGRAMS) -> Overlap:
    """Every pair of different sources that has n-grams; empty for one source."""
    sources = sorted({source for path in documents for source in _sources(path)})
    if len(sources) < 2:
        return Overlap(table=OVERLAP_SCHEMA.empty_table(), notes=[])
    samples: dict[str, list[np.ndarray]] = {source: [] for source in sources}
    one_in, size = 1, 0
    for source, texts in _batches(documents):
        hashes, _ = hash_ngrams(hash_words(texts), NGRAM)
        samples[source].append(hashes[hashes & np.uint64(one_in - 1) == 0])
        size += samples[source][-1].size
        if size > 2 * max_ngrams:  # sorting seldom costs little; repeats may be most of it
            samples, one_in = _thinned(samples, one_in, max_ngrams)
            size = sum(part.size for parts in samples.values() for part in parts)
    samples, one_in = _thinned(samples, one_in, max_ngrams)
    kept = {source: parts[0] for source, parts in samples.items()}
    num_shared = _count_shared([kept[source] for source in sources]).tolist()
    rows = []
    for source, shared_of in zip(sources, num_shared, strict=True):
        for other, shared in zip(sources, shared_of, strict=True):
            if source == other or not kept[source].size:
                continue
            fraction = shared / kept[source].size
            row = (source, other, int(kept[source].size), shared, fraction, one_in)
            rows.append(dict(zip(OVERLAP_SCHEMA.names, row, strict=True)))
    return Overlap(table=pa.Table.from_pylist(rows, OVERLAP_SCHEMA), notes=_notes(one_in, rows))


def _count_shared(sets: Sequence[np.ndarray]) -> np.ndarray:
    """How many hashes each two sets have in common, int64 (sets, sets), in one pass over all of them; 0 with themselves."""
    owners = np.repeat(np.arange(len(sets)), [hashes.size for hashes in sets])
    hashes = np.concatenate(sets)
    order = np.argsort(hashes, kind="stable")
    hashes, owners = hashes[order], owners[order]
    counts = np.zeros((len(sets), len(sets)), dtype=np.int64)
    for distance in range(1, len(sets)):  # the owners of one hash stand together, in their order
        first = np.flatnonzero(hashes[distance:] == hashes[:-distance])
        if not first.size:
            break
        np.add.at(counts, (owners[first], owners[first + distance]), 1)
    return counts + counts.T


def _thinned(
    samples: dict[str, list[np.ndarray]], one_in: int, max_ngrams: int
) -> tuple[dict[str, list[np.ndarray]], int]:
    """Distinct hashes in one array a source, and the first rate at which they are no more than `max_ngrams`."""
    none = np.zeros(0, dtype=np.uint64)
    kept = {source: np.unique(np.concatenate([none, *parts])) for source, parts in samples.items()}
    while sum(found.size for found in kept.values()) > max_ngrams:
        one_in *= 2
        kept = {source: found[found & np.uint64(one_in - 1) == 0] for source, found in kept.items()}
    return {source: [found] for source, found in kept.items()}, one_in


def _notes(one_in: int, rows: Sequence[dict[str, object]]) -> list[str]:
    if one_in == 1 or not rows:
        return []
    fewest = min(int(str(row["ngrams"])) for row in rows)
    error = 100 * 1.96 * math.sqrt(0.25 / fewest)
    return [
        f"The overlap between sources is estimated from one {NGRAM}-gram in {one_in}, by hash; at the least {fewest:,} of a "
        f"source, so a share is within {error:.2g} percentage points in 95 % of samples."
    ]


def _sources(path: Path) -> set[str]:
    return set(pq.read_table(path, columns=["source"])["source"].unique().to_pylist())


def _batches(documents: Sequence[Path]) -> Iterator[tuple[str, list[str]]]:
    """Texts of one source at a time."""
    pending: dict[str, list[str]] = {}
    sizes: dict[str, int] = {}
    for path in documents:
        for batch in parquet_batches(path, columns=["source", "text"], num_rows=_ROWS):
            for source, text in zip(batch["source"].to_pylist(), batch["text"].to_pylist(), strict=True):
                pending.setdefault(source, []).append(text)
                sizes[source] = sizes.get(source, 0) + len(text)
                if sizes[source] >= BATCH_CHARACTERS:
                    yield source, pending.pop(source)
                    sizes[source] = 0
    yield from pending.items()
