"""Pairs of near-duplicates -> clusters: the connected components of their graph."""

from __future__ import annotations

import numpy as np

from pipeline.corpus.near.arrays import Numbers


def components(first: Numbers, second: Numbers, *, num_documents: int) -> Numbers:
    """For each document the smallest number in its cluster: pairs (1, 2), (2, 4) of 5 give [0, 1, 1, 3, 1].

    Hooking and pointer jumping (Shiloach and Vishkin, 1982): every root takes the smallest root it has an edge to, then
    paths are halved until they end; about log(n) rounds over arrays.
    """
    roots = np.arange(num_documents, dtype=np.int64)
    while True:
        low = np.minimum(roots[first], roots[second])
        high = np.maximum(roots[first], roots[second])
        apart = low != high
        if not apart.any():
            return roots
        first, second, low, high = first[apart], second[apart], low[apart], high[apart]
        np.minimum.at(roots, high, low)
        while True:
            jumped = roots[roots]
            if np.array_equal(jumped, roots):
                break
            roots = jumped
