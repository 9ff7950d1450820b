"""Whole documents packed into windows: best-fit decreasing (Johnson 1973; of language models Ding et al. 2024, 2404.10830).

In: where documents begin, a window's length, a seed and an epoch. Out: which pieces of documents each row holds; a pure
function, so that a position in training is (epoch, row), which costs nothing to restore beyond the epoch's packing. A document
longer than a window is cut into whole windows and a rest. A piece counts the tokens that it predicts: the first token of a
document is predicted from nothing, so a document of n tokens takes n - 1 places.

Pieces of one length are interchangeable, so the number of rows is the same in every epoch; which of them meet, and in what order
the rows come, is drawn anew. Trade-off: the packing of an epoch holds 32 bytes a piece in memory.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True)
class Packing:
    """Rows of one epoch: row r holds the pieces bounds[r] .. bounds[r + 1] - 1."""

    starts: np.ndarray
    """int64: where each piece begins in the stream."""
    lengths: np.ndarray
    """int64: places each piece takes."""
    bounds: np.ndarray
    """int64, one more than rows."""

    @property
    def num_rows(self) -> int:
        return self.bounds.size - 1


def pieces(offsets: np.ndarray, *, length: int) -> tuple[np.ndarray, np.ndarray]:
    """Starts and lengths (int64) of the pieces of documents between `offsets`; documents of one token give none.

    >>> pieces(np.array([0, 6, 7, 9]), length=4)
    (array([0, 4, 7]), array([4, 1, 1]))
    """
    places = np.maximum(np.diff(offsets) - 1, 0)
    counts = -(-places // length)
    of_document = np.repeat(np.arange(places.size), counts)
    number = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    starts = offsets[:-1][of_document] + number * length
    return starts, np.minimum(length, places[of_document] - number * length)


def best_fit(lengths: np.ndarray, *, capacity: int) -> np.ndarray:
    """The row of each piece (int64) when the longest go first, each into the fullest row that has room; ties to the row opened
    first.

    Works by lengths and not piece by piece: pieces of one length fill the fullest rows with room to the brim, one after the
    other, which is what best fit does with them.

    >>> best_fit(np.array([3, 5, 2, 2]), capacity=6).tolist()
    [1, 0, 1, 2]
    """
    row_of = np.empty(lengths.size, dtype=np.int64)
    order = np.argsort(-lengths, kind="stable")
    sizes, firsts = np.unique(-lengths[order], return_index=True)
    with_room: dict[int, list[np.ndarray]] = {}  # room -> rows that have it left
    num_rows = 0

    def fill(rows: np.ndarray, room: int, size: int, waiting: np.ndarray) -> np.ndarray:
        """Puts as many pieces as fit into rows with this much room, and returns those that still wait."""
        fit = room // size
        used = rows[: -(-waiting.size // fit)]
        placed = np.repeat(used, fit)[: waiting.size]
        row_of[waiting[: placed.size]] = placed
        in_last = placed.size - fit * (used.size - 1)
        for left, which in (
            (room - size * fit, used[:-1]),
            (room - size * in_last, used[-1:]),
            (room, rows[used.size :]),
        ):
            if which.size and left:
                with_room.setdefault(left, []).append(which)
        return waiting[placed.size :]

    for size, first, last in zip((-sizes).tolist(), firsts, [*firsts[1:], lengths.size], strict=True):
        waiting = order[first:last]
        for room in sorted(room for room in with_room if room >= size):
            if not waiting.size:
                break
            waiting = fill(np.sort(np.concatenate(with_room.pop(room))), room, size, waiting)
        if waiting.size:
            opened = -(-waiting.size // (capacity // size))
            fill(np.arange(num_rows, num_rows + opened), capacity, size, waiting)
            num_rows += opened
    return row_of


def pack(offsets: np.ndarray, *, length: int, seed: int, epoch: int) -> Packing:
    """The rows of an epoch, in the order in which training reads them."""
    starts, lengths = pieces(offsets, length=length)
    draw = np.random.default_rng([seed, epoch])
    mixed = draw.permutation(starts.size)
    starts, lengths = starts[mixed], lengths[mixed]
    row_of = best_fit(lengths, capacity=length)
    num_rows = int(row_of.max()) + 1 if row_of.size else 0
    row_of = draw.permutation(num_rows)[row_of]
    order = np.argsort(row_of, kind="stable")
    bounds = np.concatenate(([0], np.cumsum(np.bincount(row_of, minlength=num_rows))))
    return Packing(starts[order], lengths[order], bounds)
