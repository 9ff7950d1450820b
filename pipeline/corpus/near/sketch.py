"""Similarity sketches: t numbers a document, each equal between two documents with the probability of their Jaccard.

Method: fast similarity sketching (Dahlgaard, Knudsen and Thorup, FOCS 2017, arXiv 1704.04370). In round i every shingle
falls into one of the t slots with a hash of (shingle, i); a slot keeps the smallest of the first round that reaches it;
after t rounds slot k takes the smallest hash in round t + k. A document of n shingles costs about n + t log t hashes
where MinHash takes n * t, with the same expectation and no larger variance, and documents short of shingles get a full
sketch too, which one-permutation hashing cannot give.

Slots are grouped into bands of rows (Broder 1997; Leskovec, Rajaraman and Ullman, ch. 3): two documents of similarity s
share a band with probability 1 - (1 - s**rows)**bands. Candidates are verified afterwards, so bands are chosen for recall.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pipeline.corpus.near.tokens import Counts, Hashes, mix

NUM_SLOTS = 128
MIN_RECALL = 0.95
_EMPTY = np.uint64(0xFFFFFFFFFFFFFFFF)
_ROUND = 0x9E3779B97F4A7C15
_BAND = np.uint64(0xD6E8FEB86659FD93)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bands:
    """How a sketch is cut."""

    bands: int
    rows: int

    @property
    def num_slots(self) -> int:
        return self.bands * self.rows

    def recall(self, similarity: float) -> float:
        """The chance that two documents of this similarity become candidates: 14 x 8 has 0.924 at 0.8 (FineWeb)."""
        return float(1 - (1 - similarity**self.rows) ** self.bands)


def choose_bands(similarity: float) -> Bands:
    """The most rows, so the fewest false candidates, that find at least 95 % of pairs at the similarity in 128 slots.

    0.7 -> 25 x 5, 0.8 -> 18 x 7, 0.9 -> 10 x 12. RedPajama's 9 x 13 at 0.8 finds 40 % of pairs at 0.8 itself: there the
    bands decide alone and must not take too many, here they only propose.
    """
    fitting = [
        Bands(bands=NUM_SLOTS // rows, rows=rows)
        for rows in range(1, NUM_SLOTS + 1)
        if Bands(bands=NUM_SLOTS // rows, rows=rows).recall(similarity) >= MIN_RECALL
    ]
    return fitting[-1] if fitting else Bands(bands=NUM_SLOTS, rows=1)


def sketch(shingles: Hashes, counts: Counts, *, num_slots: int) -> Hashes:
    """The sketches of documents, [documents, num_slots]; a document without shingles has all slots empty (2**64 - 1).

    `shingles` are the documents' shingles one after the other, `counts` how many each has; neither order nor repetition
    within a document matters.
    """
    num_documents = len(counts)
    sketches = np.full(num_documents * num_slots, _EMPTY, np.uint64)
    base = np.repeat(np.arange(num_documents, dtype=np.int64) * num_slots, counts)
    unfinished = np.flatnonzero(counts)
    for number in range(2 * num_slots):
        hashes = mix(shingles ^ np.uint64((number + 1) * _ROUND % (1 << 64)))
        if number < num_slots:
            chosen = hashes >> np.uint64(32)
            chosen *= np.uint64(num_slots)
            chosen >>= np.uint64(32)
            slots = chosen.view(np.int64)
            slots += base
        else:
            slots = base + (number - num_slots)
        if number:
            reached = sketches[slots] == _EMPTY
            slots, hashes = slots[reached], hashes[reached]
        np.minimum.at(sketches, slots, hashes)
        is_full = (sketches.reshape(num_documents, num_slots)[unfinished] != _EMPTY).all(axis=1)
        if is_full.any():
            unfinished = unfinished[~is_full]
            if not len(unfinished):
                break
            if 2 * counts[unfinished].sum() > len(shingles):  # selecting costs as much as most of a round saves
                continue
            wanted = np.zeros(num_documents, np.bool_)
            wanted[unfinished] = True
            keep = wanted[base // num_slots]
            shingles, base = shingles[keep], base[keep]
    return sketches.reshape(num_documents, num_slots)


def band_hashes(sketches: Hashes, bands: Bands) -> Hashes:
    """[documents, slots] -> [documents, bands]; equal rows in equal bands give equal hashes, other bands others."""
    grouped = sketches.reshape(len(sketches), bands.bands, bands.rows)
    hashes = np.tile(np.arange(1, bands.bands + 1, dtype=np.uint64), (len(sketches), 1))
    for row in range(bands.rows):
        hashes *= _BAND
        hashes += grouped[:, :, row]
    return mix(hashes)
