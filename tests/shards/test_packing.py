"""Best-fit packing against the plain algorithm, piece by piece."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.shards.packing import best_fit, pack, pieces


def plain_best_fit(lengths: list[int], capacity: int) -> list[int]:
    """The textbook's: longest first, each into the fullest row with room, ties to the row opened first."""
    room: list[int] = []
    row_of = [0] * len(lengths)
    for piece in sorted(range(len(lengths)), key=lambda piece: -lengths[piece]):
        fitting = [row for row in range(len(room)) if room[row] >= lengths[piece]]
        if not fitting:
            fitting = [len(room)]
            room.append(capacity)
        best = min(fitting, key=lambda row: room[row])
        room[best] -= lengths[piece]
        row_of[piece] = best
    return row_of


@settings(max_examples=200, deadline=None)
@given(st.lists(st.integers(1, 12), min_size=1, max_size=60), st.integers(12, 20))
def test_rows_are_those_of_the_plain_algorithm(lengths: list[int], capacity: int) -> None:
    assert best_fit(np.array(lengths), capacity=capacity).tolist() == plain_best_fit(lengths, capacity)


def test_a_packing_worked_out_by_hand() -> None:
    # of 10 places: 7; 6; 4 to the 6; 3 to the 7; 2 and 2 to a row of their own
    assert best_fit(np.array([2, 3, 7, 4, 2, 6]), capacity=10).tolist() == [2, 0, 0, 1, 2, 1]


def test_long_documents_are_cut_and_single_tokens_predict_nothing() -> None:
    starts, lengths = pieces(np.array([0, 10, 11, 14, 14]), length=4)
    assert starts.tolist() == [0, 4, 8, 11]
    assert lengths.tolist() == [4, 4, 1, 2]  # of 9, none, 2 and none


@pytest.mark.parametrize("seed", [0, 1])
def test_every_epoch_has_as_many_rows_and_every_piece_once(seed: int) -> None:
    offsets = np.concatenate(([0], np.cumsum(np.random.default_rng(7).geometric(0.1, size=400))))
    epochs = [pack(offsets, length=16, seed=seed, epoch=epoch) for epoch in (0, 1)]
    expected = sorted(zip(*(found.tolist() for found in pieces(offsets, length=16)), strict=True))
    for epoch in epochs:
        assert sorted(zip(epoch.starts.tolist(), epoch.lengths.tolist(), strict=True)) == expected
        filled = np.add.reduceat(epoch.lengths, epoch.bounds[:-1])
        assert filled.max() <= 16 and filled.sum() / (16 * epoch.num_rows) > 0.98
    assert epochs[0].num_rows == epochs[1].num_rows
    assert epochs[0].starts.tolist() != epochs[1].starts.tolist()
    again = pack(offsets, length=16, seed=seed, epoch=1)
    assert all(np.array_equal(getattr(again, key), getattr(epochs[1], key)) for key in ("starts", "lengths", "bounds"))
