"""Training stops when asked, at once when asked twice, and when nobody is left to ask for its result."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import psutil
import pytest
from tiny_run import spec_of

from pipeline.errors import TrainingInterrupted
from pipeline.training.stopping import PARENT_VARIABLE, StopRequest

ROOT = str(Path(__file__).parents[2])


def run_python(code: str, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), *words],
        env={**os.environ, "PYTHONPATH": ROOT, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def test_a_signal_is_a_request_and_a_second_one_an_order() -> None:
    code = """
        import os, signal
        from pipeline.training.stopping import StopRequest
        stop = StopRequest()
        stop.install()
        os.kill(os.getpid(), signal.SIGTERM)
        print(stop.reason, flush=True)
        os.kill(os.getpid(), signal.SIGINT)
        print("never", flush=True)
    """
    done = run_python(code)
    assert (done.stdout, done.returncode) == ("received SIGTERM\n", 128 + signal.SIGINT)


def test_while_there_is_nothing_to_lose_a_signal_need_not_be_polled() -> None:
    code = """
        import os, signal, time
        from pipeline.errors import TrainingInterrupted
        from pipeline.training.stopping import StopRequest
        stop = StopRequest()
        stop.install()
        try:
            with stop.nothing_to_lose():
                try:
                    os.kill(os.getpid(), signal.SIGTERM)
                    time.sleep(60)
                except Exception:
                    print("a compiler caught it")
        except TrainingInterrupted as error:
            print(error)
    """
    done = run_python(code)
    assert done.stdout.startswith("Training received SIGTERM while it got ready; running again goes on")


def test_a_signal_that_came_before_is_not_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    stop = StopRequest()
    monkeypatch.setattr(stop, "_signal", signal.SIGINT)
    with pytest.raises(TrainingInterrupted, match="received SIGINT"), stop.nothing_to_lose():
        raise AssertionError("nothing may start any more")


def test_a_process_that_ended_is_missed_whoever_its_parent_was(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PARENT_VARIABLE, str(os.getppid()))
    assert StopRequest().reason is None
    with subprocess.Popen([sys.executable, "-c", "pass"]) as other:
        monkeypatch.setenv(PARENT_VARIABLE, str(other.pid))
        stop = StopRequest()
        deadline = time.monotonic() + 30
        while psutil.Process(other.pid).status() != psutil.STATUS_ZOMBIE and time.monotonic() < deadline:
            time.sleep(0.01)
        assert stop.reason == "lost the process that started it"  # dead, and not yet waited for
    assert stop.reason == "lost the process that started it"


@pytest.mark.slow
def test_training_whose_parent_is_killed_saves_a_checkpoint_and_ends(tiny_data: Path, tmp_path: Path) -> None:
    spec = spec_of(tiny_data, tmp_path, num_steps=1_000_000, checkpoint_every_steps=None)
    spec.write(tmp_path / "spec.json")
    code = """
        import sys
        from pathlib import Path
        from pipeline.training.launch import run_subprocess
        run_subprocess(Path(sys.argv[1]))
    """
    words = [sys.executable, "-c", textwrap.dedent(code), str(tmp_path / "spec.json")]
    with subprocess.Popen(words, env={**os.environ, "PYTHONPATH": ROOT}, stderr=subprocess.DEVNULL) as parent:
        deadline = time.monotonic() + 120
        spool = tmp_path / "spool" / "events.jsonl"
        while not (spool.is_file() and spool.read_text().count("\n") > 3) and time.monotonic() < deadline:
            time.sleep(0.05)
        (trainer,) = psutil.Process(parent.pid).children()
        parent.kill()
    assert trainer.wait(timeout=60) is None or not trainer.is_running()
    assert list((tmp_path / "checkpoints").glob("step-*/manifest.json"))


@pytest.fixture
def small_disk(tmp_path: Path) -> Path:
    """A file system of 256 kB."""
    folder = tmp_path / "small"
    folder.mkdir()
    words = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(folder)]
    if subprocess.run(words, capture_output=True, check=False).returncode != 0:
        pytest.skip("mounting a tmpfs needs root")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.slow
def test_a_disk_that_fills_up_is_one_sentence_and_the_last_checkpoint_stays(
    tiny_data: Path, tmp_path: Path, small_disk: Path
) -> None:
    checkpoints = small_disk / "checkpoints"
    settings = {"checkpoint_folder": str(checkpoints), "keep_checkpoints": 1000, "num_steps": 1000}
    spec_of(tiny_data, tmp_path, **settings).write(tmp_path / "spec.json")
    done = run_python(
        "import sys; from pipeline.training.__main__ import main; sys.exit(main(sys.argv[1:]))",
        str(tmp_path / "spec.json"),
    )
    assert done.returncode == 5
    assert "could not be saved; earlier ones are intact" in done.stderr
    assert "no space left on device" in done.stderr
    assert "Traceback" not in done.stderr
    assert list(checkpoints.glob("step-*/manifest.json"))
    assert not list(checkpoints.glob(".step-*"))
