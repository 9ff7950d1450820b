"""Parts are mapped in order, whatever the workers do."""

from __future__ import annotations

import os
import signal

import pytest

from pipeline.engine import map_parts
from pipeline.errors import StageError
from pipeline.progress import LineProgress, SilentProgress


def square(number: int) -> int:
    return number * number


def die(number: int) -> int:
    if number == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


@pytest.mark.parametrize("num_workers", [1, 2])
def test_results_keep_the_order_of_the_parts(num_workers: int) -> None:
    assert map_parts(square, [3, 1, 2], num_workers=num_workers, progress=SilentProgress()) == [9, 1, 4]


def test_nothing_maps_to_nothing() -> None:
    assert map_parts(square, [], num_workers=None, progress=SilentProgress()) == []


def test_a_killed_worker_is_one_sentence() -> None:
    with pytest.raises(StageError, match="out of memory; lower `engine.workers`"):
        map_parts(die, [1, 2, 3], num_workers=2, progress=SilentProgress())


def test_progress_lines_tell_share_and_time_left(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    lines: list[str] = []
    progress = LineProgress("cleaning", lines.append)
    progress.start(total=200)
    for now[0] in (3.0, 6.0, 7.0):
        progress.advance(50)
    assert lines == ["cleaning: 50% after 6 s, about 6 s left"]
