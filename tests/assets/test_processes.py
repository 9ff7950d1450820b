"""A run whose process is gone is ended and gives its slots back; a living one and one of elsewhere are left alone."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import dagster as dg
import psutil
import pytest
from dagster._core.execution.retries import RetryMode

from assets.processes import FOLDER, _HoldingExecutor, end_dead_runs, hold, holding_executor
from pipeline.config import BEGUN_VARIABLE, CONFIG_VARIABLE, Project, load_project
from pipeline.errors import ConfigurationError

HOLDING = """
import fcntl, sys
with open(sys.argv[1], "w") as file:
    fcntl.flock(file, fcntl.LOCK_EX)
    file.write("host 1")
    file.flush()
    print("held", flush=True)
    sys.stdin.read()
"""
"""The system's own lock, held by a process that knows nothing of Textmill."""


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance:
        (tmp_path / FOLDER).mkdir()
        yield instance


@pytest.fixture
def process_of(instance: dg.DagsterInstance) -> Iterator[Callable[[str], subprocess.Popen[str]]]:
    """Starts a process that a run lives in."""
    started: list[subprocess.Popen[str]] = []

    def start(run_id: str) -> subprocess.Popen[str]:
        words = [sys.executable, "-c", HOLDING, str(Path(instance.root_directory) / FOLDER / run_id)]
        process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        started.append(process)
        assert process.stdout is not None and process.stdout.readline() == "held\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


@dg.job
def nothing() -> None:
    """A job to hang runs on."""


def started_run(instance: dg.DagsterInstance) -> str:
    return instance.create_run_for_job(nothing, status=dg.DagsterRunStatus.STARTED).run_id


def status(instance: dg.DagsterInstance, run_id: str) -> dg.DagsterRunStatus:
    run = instance.get_run_by_id(run_id)
    assert run is not None
    return run.status


def test_only_runs_whose_process_was_killed_are_ended(
    instance: dg.DagsterInstance, process_of: Callable[[str], subprocess.Popen[str]]
) -> None:
    dead, alive, elsewhere = (started_run(instance) for _ in range(3))
    finished = instance.create_run_for_job(nothing, status=dg.DagsterRunStatus.SUCCESS).run_id
    killed = [process_of(dead), process_of(finished)]
    process_of(alive)
    assert end_dead_runs(instance) == []
    for process in killed:
        process.kill()
        process.wait()
    assert end_dead_runs(instance) == [dead]
    assert status(instance, dead) is dg.DagsterRunStatus.FAILURE
    assert status(instance, finished) is dg.DagsterRunStatus.SUCCESS
    for run_id in (alive, elsewhere):
        assert status(instance, run_id) is dg.DagsterRunStatus.STARTED
    assert end_dead_runs(instance) == []
    assert [file.name for file in (Path(instance.root_directory) / FOLDER).iterdir()] == [alive]


def test_neither_a_clock_that_is_set_nor_another_name_of_the_host_counts(
    instance: dg.DagsterInstance,
    process_of: Callable[[str], subprocess.Popen[str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    held, of_child = started_run(instance), started_run(instance)
    hold(instance, held)
    child = process_of(of_child)
    an_hour_later, boot_time = time.time() + 3600, psutil.boot_time() + 3600
    monkeypatch.setattr(psutil, "boot_time", lambda: boot_time)
    monkeypatch.setattr("psutil._pslinux.boot_time", lambda: boot_time, raising=False)
    monkeypatch.setattr(time, "time", lambda: an_hour_later)
    monkeypatch.setattr(socket, "gethostname", lambda: "another-name")
    assert end_dead_runs(instance) == []
    child.kill()
    child.wait()
    assert end_dead_runs(instance) == [of_child]


def test_a_run_has_a_process_and_the_project_file_before_its_first_step(
    project: Project, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(CONFIG_VARIABLE, str(project.file))
    monkeypatch.setenv(BEGUN_VARIABLE, "")
    run = started_run(instance)
    seen: list[set[str]] = []

    class Inner(dg.Executor):
        retries = RetryMode.ENABLED

        def execute(self, plan_context: Any, execution_plan: Any) -> Iterator[dg.DagsterEvent]:
            assert end_dead_runs(instance) == []
            project.file.write_text("half edit")
            seen.append({*load_project().models})
            yield from ()

    executor = _HoldingExecutor(Inner(), project)
    context: Any = SimpleNamespace(instance=instance, run_id=run)
    plan: Any = None
    assert list(executor.execute(context, plan)) == []
    assert seen == [{"gpt"}]
    assert load_project().folder == project.folder
    with pytest.raises(ConfigurationError):
        load_project(project.file)
    assert holding_executor(project).name == "multiprocess"


def test_a_copy_of_the_project_file_goes_with_its_run(
    instance: dg.DagsterInstance, process_of: Callable[[str], subprocess.Popen[str]]
) -> None:
    run = started_run(instance)
    process = process_of(run)
    copy = Path(instance.root_directory) / FOLDER / f"{run}.yaml"
    copy.write_text("name: demo")
    end_dead_runs(instance)
    assert copy.exists()
    process.kill()
    process.wait()
    end_dead_runs(instance)
    assert not copy.exists()


def test_an_ended_run_gives_its_slot_of_a_pool_back(
    instance: dg.DagsterInstance, process_of: Callable[[str], subprocess.Popen[str]]
) -> None:
    storage = instance.event_log_storage
    storage.set_concurrency_slots("gpu", 1)
    dead = started_run(instance)
    process = process_of(dead)
    assert storage.claim_concurrency_slot("gpu", dead, "step").is_claimed
    assert not storage.claim_concurrency_slot("gpu", "another-run", "step").is_claimed
    process.kill()
    process.wait()
    end_dead_runs(instance)
    assert storage.claim_concurrency_slot("gpu", "another-run", "step").is_claimed
