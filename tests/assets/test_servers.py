"""What `textmill ui` serves ends with it, however that ends; one serves a project at a time; the log of the last time is kept."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from assets.cli.history import UI_LOCK, begins_runs
from assets.cli.ui import _fresh_log, _only_one
from pipeline.config import Project
from pipeline.errors import ConfigurationError

SERVING = """
import fcntl, os, subprocess, sys, time
from assets.servers import start_watch
lock = open(sys.argv[1], "w")
fcntl.flock(lock, fcntl.LOCK_EX)
watch = start_watch(pass_fd=lock.fileno())
server = "import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)']); time.sleep(600)"
process = subprocess.Popen([sys.executable, "-c", server], start_new_session=True)
print(process.pid, file=watch.stdin, flush=True)
print(process.pid, watch.pid, flush=True)
time.sleep(600)
"""


def test_what_a_killed_ui_served_is_stopped_and_the_lock_is_kept_until_then(tmp_path: Path) -> None:
    words = [sys.executable, "-c", SERVING, str(tmp_path / "lock")]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as ui:
        assert ui.stdout is not None
        server, watch = (psutil.Process(int(word)) for word in ui.stdout.readline().split())
        ui.kill()
        with (tmp_path / "lock").open() as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # waits for the watch
            assert not server.is_running() or server.status() == psutil.STATUS_ZOMBIE
    assert psutil.wait_procs([watch], timeout=10)[1] == []


def test_a_project_is_served_once(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    home = project.storage_folder / "dagster"
    home.mkdir(parents=True)
    assert not begins_runs(project)
    with _only_one(home, 3000):
        assert begins_runs(project)
        with pytest.raises(ConfigurationError) as refused, _only_one(home, 3001):
            pass
        assert f"http://127.0.0.1:3000, process {os.getpid()}" in str(refused.value)
    assert not begins_runs(project)
    with _only_one(home, 3002):
        assert (home / UI_LOCK).read_text() == f"http://127.0.0.1:3002, process {os.getpid()}\n"


def test_what_the_servers_wrote_last_time_is_kept(tmp_path: Path) -> None:
    log = tmp_path / "dagster-daemon.log"
    for text in ("first", "second"):
        _fresh_log(log).write_text(text)
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {
        "dagster-daemon.log": "second",
        "dagster-daemon.before.log": "first",
    }
