"""Windows of tokens in a seeded global order.

A split is one stream; window w covers tokens w*context .. w*context + context, inputs and the targets one further, so
neighbouring windows share one token and every token is a target once an epoch. Each epoch is a new bijection of the
windows. The position is one integer, windows since the start of training: it fits any batch size and any number of
processes (rank r of n takes rows r, r + n, ... of a batch), and restoring it costs nothing.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from pipeline.errors import TrainingError
from pipeline.shards.reader import TokenShards
from pipeline.shards.shuffle import permute


class TokenLoader:
    """Batches by position; holds no state of its own."""

    def __init__(self, folder: Path, *, split: str, context_tokens: int, seed: int) -> None:
        """Opens a split.

        Raises:
            TrainingError: it has fewer tokens than one window.
        """
        self.shards = TokenShards(folder)
        self._parts = self.shards.tokens(split)
        self._ends = np.cumsum([part.size for part in self._parts])
        self._context, self._seed = context_tokens, seed
        num_tokens = self.shards.num_tokens(split)
        self.num_windows = (num_tokens - 1) // context_tokens
        if self.num_windows < 1:
            raise TrainingError(
                f"The {split} split has {num_tokens} tokens; one window of {context_tokens} needs {context_tokens + 1}. "
                "Lower context_tokens or give the corpus more text."
            )

    def batch(self, first: int, count: int) -> np.ndarray:
        """Windows `first` to `first + count - 1` of training: int64 (count, context_tokens + 1).

        Raises:
            ValueError: a negative position or count.
        """
        if first < 0 or count < 0:
            raise ValueError(f"batch({first}, {count}): positions and counts are not negative")
        wanted = np.arange(first, first + count)
        windows = np.empty(count, dtype=np.int64)
        for epoch in np.unique(wanted // self.num_windows):
            rows = wanted // self.num_windows == epoch
            positions = wanted[rows] - epoch * self.num_windows
            windows[rows] = permute(positions, size=self.num_windows, seed=self._seed, epoch=int(epoch))
        return self._gather(windows * self._context)

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
        part_of = np.searchsorted(self._ends, starts, side="right")
        for number in np.unique(part_of):
            part, begin = self._parts[number], self._ends[number] - self._parts[number].size
            rows = np.flatnonzero(part_of == number)
            local = starts[rows] - begin
            inside = local + length <= part.size
            if inside.any():
                views = np.lib.stride_tricks.sliding_window_view(part, length)
                batch[rows[inside]] = views[local[inside]]
            for row, start in zip(rows[~inside], local[~inside], strict=True):
                batch[row] = self._across(int(number), int(start), length)
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
