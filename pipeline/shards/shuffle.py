"""A seeded bijection of 0..n-1, computed position by position in constant memory.

A four-round Feistel network over the smallest even number of bits that holds n, with cycle walking for what falls outside
(Black & Rogaway 2002, "Ciphers with arbitrary finite domains"). Not for secrets: the round function is a fast mixer.
"""

from __future__ import annotations

import numpy as np

_ROUNDS = 4
_MASK64 = (1 << 64) - 1


def _mix(values: np.ndarray, key: int) -> np.ndarray:
    """The finaliser of splitmix64 (Steele et al. 2014) over values + key, wrapping."""
    mixed = values + np.uint64(key)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))


def _keys(seed: int, epoch: int) -> list[int]:
    state = np.array([(seed * 0x9E3779B97F4A7C15 + epoch * 0xD1B54A32D192ED03) & _MASK64], dtype=np.uint64)
    return [int(_mix(state, (round_ + 1) * 0x9E3779B97F4A7C15 & _MASK64)[0]) for round_ in range(_ROUNDS)]


def permute(positions: np.ndarray, *, size: int, seed: int, epoch: int) -> np.ndarray:
    """Where each position (int64, 0..size-1) lands in the order of this seed and epoch; int64, a bijection."""
    half = max((size - 1).bit_length() + 1, 2) // 2
    mask, shift = np.uint64((1 << half) - 1), np.uint64(half)
    keys = _keys(seed, epoch)
    values = positions.astype(np.uint64)
    outside = np.ones(values.shape, dtype=bool)
    while outside.any():
        left, right = values[outside] >> shift, values[outside] & mask
        for key in keys:
            left, right = right, left ^ (_mix(right, key) & mask)
        values[outside] = (left << shift) | right
        outside = values >= np.uint64(size)
    return values.astype(np.int64)
