"""Which rows share a batch: rows of like length, up to a budget of tokens with their padding.

Each epoch is a seeded bijection of the rows, cut into pools; a pool is sorted by length and cut into batches, and the batches of
the epoch are shuffled. So a batch is a function of (seed, epoch, number) alone, and the pool, many times a batch, keeps rows from
meeting the same ones in every epoch.

A row of two sides is padded on each apart, so the sort goes by the first side in steps of STRIPE_TOKENS and within a step by the
second, up and down by turns: neighbours are then alike in both. On Multi30k (28,390 pairs, batches of 4,096 tokens) 95 % of a
batch are text; 83 % where the sort goes by the sum of both sides.

Trade-off: the number of batches differs a little between epochs, so entering at step s plans the epochs before it.
"""

from __future__ import annotations

import numpy as np

from pipeline.shards.shuffle import permute

POOL_ROWS = 16_384
STRIPE_TOKENS = 2
_OF_BATCHES = 0x5BA7
"""Makes the seed of the order of batches another than that of the rows."""


def padded_tokens(lengths: np.ndarray) -> int:
    """Tokens of a batch with its padding: rows times the longest of each side; lengths int64 (B, K)."""
    return int(lengths.shape[0] * lengths.max(axis=0).sum()) if lengths.size else 0


def plan_batches(
    lengths: np.ndarray, *, batch_tokens: int, seed: int, epoch: int, pool_rows: int = POOL_ROWS
) -> list[np.ndarray]:
    """The rows of each batch of an epoch, int64; every row stands in one. `lengths` is int64 (N, K): K sides, padded apart.

    Raises:
        ValueError: a row is longer than a batch may be.
    """
    totals = lengths.sum(axis=1)
    if totals.size and int(totals.max()) > batch_tokens:
        raise ValueError(f"a row has {totals.max()} tokens, a batch at most {batch_tokens}")
    order = permute(np.arange(len(lengths), dtype=np.int64), size=len(lengths), seed=seed, epoch=epoch)
    batches = []
    for start in range(0, len(order), pool_rows):
        pool = order[start : start + pool_rows]
        pool = pool[_alike(lengths[pool])]
        batches += _cut(pool, lengths[pool], batch_tokens)
    mixed = permute(np.arange(len(batches)), size=len(batches), seed=seed ^ _OF_BATCHES, epoch=epoch)
    return [batches[number] for number in mixed]


def _alike(lengths: np.ndarray) -> np.ndarray:
    """An order in which neighbours are alike on every side."""
    if lengths.shape[1] == 1:
        return np.argsort(lengths[:, 0], kind="stable")
    stripes = lengths[:, 0] // STRIPE_TOKENS
    within = np.where(stripes % 2 == 0, lengths[:, 1], -lengths[:, 1])
    return np.lexsort((within, stripes))


def _cut(pool: np.ndarray, lengths: np.ndarray, batch_tokens: int) -> list[np.ndarray]:
    """Consecutive batches, each as large as the budget allows."""
    batches = []
    start = 0
    most = batch_tokens // max(int(lengths.sum(axis=1).min()), 1)
    while start < len(pool):
        longest = np.maximum.accumulate(lengths[start : start + most], axis=0).sum(axis=1)
        sizes = longest * np.arange(1, len(longest) + 1)
        size = int(np.searchsorted(sizes, batch_tokens, side="right"))
        batches.append(pool[start : start + size])
        start += size
    return batches


class Schedule:
    """Steps of training as (epoch, batch), any number of epochs; holds the plan of the epoch it was last asked for."""

    def __init__(self, lengths: np.ndarray, *, batch_tokens: int, seed: int) -> None:
        self._lengths, self._batch_tokens, self._seed = lengths, batch_tokens, seed
        self._ends: list[int] = []
        self._epoch, self._batches = -1, list[np.ndarray]()

    def batches(self, epoch: int) -> list[np.ndarray]:
        """The rows of each batch of an epoch."""
        if epoch != self._epoch:
            self._batches = plan_batches(self._lengths, batch_tokens=self._batch_tokens, seed=self._seed, epoch=epoch)
            self._epoch = epoch
        return self._batches

    def rows(self, step: int) -> np.ndarray:
        """The rows of step `step`, from 0.

        Raises:
            ValueError: a negative step.
        """
        if step < 0:
            raise ValueError(f"step {step}: steps are not negative")
        while not self._ends or self._ends[-1] <= step:
            done = self._ends[-1] if self._ends else 0
            self._ends.append(done + len(self.batches(len(self._ends))))
        epoch = int(np.searchsorted(self._ends, step, side="right"))
        batches = self.batches(epoch)
        return batches[step - self._ends[epoch] + len(batches)]
