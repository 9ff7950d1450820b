"""Parts are mapped in order, whatever the workers do; a part that fails is tried again, and harms no other."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.config import EngineConfig
from pipeline.engine import map_parts
from pipeline.errors import InputError, StageError
from pipeline.progress import LineProgress, SilentProgress


def square(number: int) -> int:
    return number * number


def misbehave(part: tuple[Path, int, str]) -> int:
    """Notes that it was tried, misbehaves in the way asked for, and notes that it finished."""
    folder, number, how = part
    tries = sorted(folder.glob(f"{number}.try*"))
    (folder / f"{number}.try{len(tries)}").touch()
    if how == "exit":
        os._exit(3)
    if how == "raise":
        raise ValueError("the moon is full")
    if how == "refuse":
        raise InputError("a.txt is no text. Remove it.")
    if how == "killed once" and not tries:
        os.kill(os.getpid(), signal.SIGKILL)
    if how == "raises once" and not tries:
        raise ConnectionError("no answer")
    (folder / f"{number}.done").touch()
    return number * 10


def run(folder: Path, *ways: str, workers: int = 2, retries: int = 2) -> list[int]:
    return map_parts(
        misbehave,
        [(folder, number, how) for number, how in enumerate(ways)],
        engine=EngineConfig(workers=workers, retries=retries),
        describe=lambda part: f"part {part[1]}",
        progress=SilentProgress(),
    )


def num_tries(folder: Path, number: int) -> int:
    return len(list(folder.glob(f"{number}.try*")))


@pytest.mark.parametrize("workers", [1, 2])
def test_results_keep_the_order_of_the_parts(workers: int) -> None:
    engine = EngineConfig(workers=workers)
    assert map_parts(square, [3, 1, 2], engine=engine, describe=str, progress=SilentProgress()) == [9, 1, 4]


@pytest.mark.parametrize("workers", [None, 2])
def test_nothing_maps_to_nothing(workers: int | None) -> None:
    engine = EngineConfig(workers=workers)
    assert map_parts(square, [], engine=engine, describe=str, progress=SilentProgress()) == []


def test_a_part_that_kills_its_worker_is_named_and_the_others_are_finished(tmp_path: Path) -> None:
    with pytest.raises(StageError, match=r"1 of 4 parts .* tried 2 times: part 1: its worker died .*`engine.workers`"):
        run(tmp_path, "fine", "exit", "fine", "fine", retries=1)
    assert [num_tries(tmp_path, number) for number in range(4)] == [1, 2, 1, 1]
    assert sorted(path.name for path in tmp_path.glob("*.done")) == ["0.done", "2.done", "3.done"]


@pytest.mark.parametrize("workers", [1, 2])
def test_a_part_that_raises_at_every_try_is_named_and_the_others_are_finished(tmp_path: Path, workers: int) -> None:
    with pytest.raises(
        StageError, match=r"tried 3 times: part 0: ValueError: the moon is full \(test_engine"
    ) as caught:
        run(tmp_path, "raise", "fine", "fine", workers=workers)
    assert [num_tries(tmp_path, number) for number in range(3)] == [3, 1, 1]
    assert len(list(tmp_path.glob("*.done"))) == 2
    assert 'raise ValueError("the moon is full")' in caught.value.__notes__[0]


@pytest.mark.slow
def test_what_fails_once_succeeds_at_the_second_try(tmp_path: Path) -> None:
    assert run(tmp_path, "killed once", "fine", "raises once", "fine") == [0, 10, 20, 30]
    assert [num_tries(tmp_path, number) for number in range(4)] == [2, 1, 2, 1]


def test_no_retries_mean_one_try(tmp_path: Path) -> None:
    with pytest.raises(StageError, match="tried once: part 0: ConnectionError"):
        run(tmp_path, "raises once", workers=1, retries=0)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_refusal_is_not_tried_again(tmp_path: Path, workers: int) -> None:
    with pytest.raises(InputError, match=r"a\.txt is no text"):
        run(tmp_path, "refuse", "fine", workers=workers)
    assert num_tries(tmp_path, 0) == 1


def test_local_work_imports_no_ray() -> None:
    code = (
        "import sys; from pipeline.config import EngineConfig; from pipeline.engine import map_parts; "
        "from pipeline.progress import SilentProgress; "
        "map_parts(abs, [-1], engine=EngineConfig(workers=1), describe=str, progress=SilentProgress()); "
        "assert 'ray' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_progress_lines_tell_share_and_time_left(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    lines: list[str] = []
    progress = LineProgress("cleaning", lines.append)
    progress.start(total=200)
    for now[0] in (3.0, 6.0, 7.0):
        progress.advance(50)
    assert lines == ["cleaning: 50% after 6 s, about 6 s left"]
