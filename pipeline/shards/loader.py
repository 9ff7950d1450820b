"""Windows of tokens in a seeded global order.

A split is one stream; window w covers tokens w*context .. w*context + context, inputs and the targets one further, so
neighbouring windows share one token and every token is a target once an epoch. Each epoch is a new bijection of the
windows. The position is one integer, windows since the start of training: it fits any batch size and any number of
processes (rank r of n takes rows r, r + n, ... of a batch), and restoring it costs nothing.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from pipeline.errors import ConfigurationError
from pipeline.shards.reader import TokenShards
from pipeline.shards.shuffle import permute

_MOST_BLOCK_WINDOWS = 4096
"""Positions are permuted so many at once: one at a time, arithmetic on small arrays would take longer than reading."""


class TokenLoader:
    """Batches by position; what it remembers it could compute again."""

    def __init__(self, folder: Path, *, split: str, context_tokens: int, seed: int) -> None:
        """Opens a split.

        Raises:
            ConfigurationError: it has fewer tokens than one window.
        """
        self.shards = TokenShards(folder)
        self._parts = [part.view(np.ndarray) for part in self.shards.tokens(split)]  # a memory map is slow to slice
        self._ends = np.cumsum([part.size for part in self._parts])
        self._context, self._seed = context_tokens, seed
        num_tokens = self.shards.num_tokens(split)
        self.num_windows = (num_tokens - 1) // context_tokens
        if self.num_windows < 1:
            raise ConfigurationError(
                f"The {split} split has {num_tokens} tokens; one window of {context_tokens} needs {context_tokens + 1}. "
                "Lower context_tokens or give the corpus more text."
            )
        # a block of little data would be of many epochs, each with an order of its own
        self._block_windows = min(_MOST_BLOCK_WINDOWS, 8 * self.num_windows)
        self._block: tuple[int, np.ndarray] = (-1, np.empty(0, dtype=np.int64))

    def batch(self, first: int, count: int) -> np.ndarray:
        """Windows `first` to `first + count - 1` of training: int64 (count, context_tokens + 1).

        Raises:
            ValueError: a negative position or count.
        """
        if first < 0 or count < 0:
            raise ValueError(f"batch({first}, {count}): positions and counts are not negative")
        windows = np.empty(count, dtype=np.int64)
        done = 0
        while done < count:
            block, begin = divmod(first + done, self._block_windows)
            some = self._permuted(block)[begin : begin + count - done]
            windows[done : done + some.size] = some
            done += some.size
        return self._gather(windows * self._context)

    def _permuted(self, block: int) -> np.ndarray:
        """The windows at the positions of a block, over as many epochs as it touches."""
        known, windows = self._block
        if known == block:
            return windows
        wanted = np.arange(block * self._block_windows, (block + 1) * self._block_windows)
        epochs, positions = np.divmod(wanted, self.num_windows)
        windows = np.empty(wanted.size, dtype=np.int64)
        for epoch in range(int(epochs[0]), int(epochs[-1]) + 1):
            rows = epochs == epoch
            windows[rows] = permute(positions[rows], size=self.num_windows, seed=self._seed, epoch=epoch)
        self._block = block, windows
        return windows

    def in_order(self, first: int, count: int) -> np.ndarray:
        """Windows in the order of the stream, without shuffling: for validation; int64 (count, context_tokens + 1).

        Raises:
            ValueError: a window outside 0 .. num_windows - 1.
        """
        if first < 0 or count < 0 or first + count > self.num_windows:
            raise ValueError(f"in_order({first}, {count}): the split has the windows 0 to {self.num_windows - 1}")
        return self._gather(np.arange(first, first + count) * self._context)

    def _gather(self, starts: np.ndarray) -> np.ndarray:
        length = self._context + 1
        batch = np.empty((starts.size, length), dtype=np.int64)
        numbers = np.searchsorted(self._ends, starts, side="right")
        # row by row: copying and widening a slice is many times faster than NumPy's gathering element by element
        for row, start, number in zip(batch, starts.tolist(), numbers.tolist(), strict=True):
            part = self._parts[number]
            local = start - (int(self._ends[number]) - part.size)
            row[:] = (
                part[local : local + length] if local + length <= part.size else self._across(number, local, length)
            )
        return batch

    def _across(self, number: int, start: int, length: int) -> np.ndarray:
        """A window that begins in one shard and ends in a later one."""
        pieces = []
        while length:
            piece = self._parts[number][start : start + length]
            pieces.append(piece)
            length -= piece.size
            number, start = number + 1, 0
        return np.concatenate(pieces)
