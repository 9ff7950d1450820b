"""Documents within rows: windows of the stream cut at their borders, and whole documents packed into rows.

With `attend: document` a network reads, beside the tokens, where each one's document begins in its row: nothing is attended to
across that border, and positions count from it. A window of the stream begins in the middle of a document, which then begins
there.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np

from pipeline.errors import TrainingError
from pipeline.shards.packing import Packing, pack
from pipeline.shards.reader import TokenShards

_PACKINGS_KEPT = 2
"""Of two epochs: a batch may cross from one to the next."""


def document_starts(token_ids: np.ndarray, *, bos_id: int) -> np.ndarray:
    """For each place of each row (int64, rows x seq), the place where its document begins; 0 before the first BOS.

    >>> document_starts(np.array([[7, 8, 2, 9, 2, 5]]), bos_id=2).tolist()
    [[0, 0, 2, 2, 4, 4]]
    """
    places = np.arange(token_ids.shape[1])
    return np.maximum.accumulate(np.where(token_ids == bos_id, places, 0), axis=1)


class PackedRows:
    """Rows of whole documents in a seeded order: by position, as `TokenLoader` gives windows."""

    def __init__(self, folder: Path, *, split: str, context_tokens: int, seed: int) -> None:
        """Opens a split and packs its first epoch.

        Raises:
            TrainingError: it has nothing to predict.
        """
        self.shards = TokenShards(folder)
        self._parts = self.shards.tokens(split)
        self._offsets = self.shards.document_offsets(split)
        self._ends = np.cumsum([part.size for part in self._parts])
        self._context, self._seed = context_tokens, seed
        self._packing = lru_cache(maxsize=_PACKINGS_KEPT)(self._pack)
        self.num_rows = self._packing(0).num_rows
        if self.num_rows < 1:
            raise TrainingError(f"The {split} split has no document of two tokens. Give the corpus more text.")

    def _pack(self, epoch: int) -> Packing:
        return pack(self._offsets, length=self._context, seed=self._seed, epoch=epoch)

    def rows(self, first: int, count: int, *, ignored: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Rows `first` to `first + count - 1` of training: token ids, targets (`ignored` at padding) and where each token's
        document begins; int64 (count, context_tokens) each.
        """
        token_ids = np.full((count, self._context), self.shards.pad_id, dtype=np.int64)
        targets = np.full((count, self._context), ignored, dtype=np.int64)
        starts = np.zeros((count, self._context), dtype=np.int64)
        for row in range(count):
            epoch, number = divmod(first + row, self.num_rows)
            packing = self._packing(epoch)
            place = 0
            for piece in range(packing.bounds[number], packing.bounds[number + 1]):
                length = int(packing.lengths[piece])
                tokens = self._read(int(packing.starts[piece]), length + 1)
                token_ids[row, place : place + length] = tokens[:-1]
                targets[row, place : place + length] = tokens[1:]
                starts[row, place : place + length] = place
                place += length
            starts[row, place:] = place  # the padding is a document of its own
        return token_ids, targets, starts

    def _read(self, start: int, length: int) -> np.ndarray:
        number = int(np.searchsorted(self._ends, start, side="right"))
        begin = start - (int(self._ends[number]) - self._parts[number].size)
        return self._parts[number][begin : begin + length]  # no document crosses a file
