"""`textmill ui` through weeks: however it ends, nothing of it stays, and a second one does no harm."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
from tiny_project import command, environment, free_port, textmill, wait_until

pytestmark = pytest.mark.slow


@contextmanager
def started(folder: Path, words: list[str]) -> Iterator[subprocess.Popen[str]]:
    """`textmill ui` that serves; as a terminal starts it, also where whoever runs the tests ignores that one is closed (nohup)."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    try:
        ui = subprocess.Popen(words, cwd=folder, env=environment(), stdout=subprocess.PIPE, text=True)
    finally:
        signal.signal(signal.SIGHUP, before)
    with ui:
        try:
            assert ui.stdout is not None
            assert any(line.startswith("Ctrl-C") for line in ui.stdout)
            yield ui
        finally:
            ui.kill()  # nothing where it has ended


@pytest.mark.parametrize("sent", [signal.SIGHUP, signal.SIGKILL])
def test_of_a_ui_that_loses_its_terminal_or_is_killed_nothing_stays(tiny_project: Path, sent: signal.Signals) -> None:
    ports = ["--port", str(free_port()), "--mlflow-port", str(free_port())]
    words = command("ui", *ports)
    with started(tiny_project, words) as ui:
        second = textmill(tiny_project, "ui", "--port", str(free_port()), "--mlflow-port", str(free_port()))
        assert second.returncode == 1
        assert f"already, or is just stopping (http://127.0.0.1:{ports[1]}, process {ui.pid})" in second.stderr
        family = psutil.Process(ui.pid).children(recursive=True)
        ui.send_signal(sent)
        ui.wait(timeout=60)
    wait_until(lambda: not any(process.is_running() for process in family), seconds=60)
    with started(tiny_project, words) as ui:  # the ports and the lock are free
        ui.terminate()
        assert ui.wait(timeout=60) == 0
