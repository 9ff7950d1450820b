"""Which runs have lost their process: a run whose process was killed is ended, and a step outlives its run no longer than it
takes to save a checkpoint.

Dagster's run monitoring passes over local runs: only a living code server notices that one died, and a dead run keeps its
slot of a pool for ever. So the process of a run locks a file of the run's name in the instance's folder, and the daemon's sensor
and `textmill run` look which locks are free. The system frees a lock when its process ends, however it ends; neither a clock that
is set, nor a host that gets another name, nor a number that another process has by now can take a run for dead or for alive.
Trade-off: where the instance's folder is on a filesystem without locks this says nothing true; nor would Dagster's databases
or the store, which lock files too.
"""

from __future__ import annotations

import fcntl
import multiprocessing
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

import dagster as dg
from dagster._core.execution.context.system import PlanOrchestrationContext
from dagster._core.execution.plan.plan import ExecutionPlan
from dagster._core.execution.retries import RetryMode
from dagster._core.execution.step_dependency_config import StepDependencyConfig

from pipeline.config import BEGUN_VARIABLE, Project
from pipeline.files import make_folder, storage_errors, write_text

FOLDER = "processes"
"""Of the instance's folder; a file for each run that has, or had, a process on this machine."""
_COPY = ".yaml"
"""After the run's name: the project file as it was when the run began."""
MAX_CONCURRENT_STEPS = 2
GRACE_SECONDS = 90.0
"""From asking an orphaned step to stop to ending it; more than training has to save its checkpoint."""

_held: list[TextIO] = []
"""Locks of this process, which go with it: freed a moment earlier, a run that is about to tell how it ended would seem dead."""


def hold(instance: dg.DagsterInstance, run_id: str) -> None:
    """From now on, and until this process ends, the run has a process.

    Raises:
        StorageError: the instance's folder is full, read-only or forbidden.
    """
    folder = Path(instance.root_directory) / FOLDER
    make_folder(folder)
    with storage_errors(folder):
        file = (folder / run_id).open("a", encoding="utf-8")
        fcntl.flock(file, fcntl.LOCK_EX)
        file.write(f"{socket.gethostname()} {os.getpid()}\n")  # a file without a word is one that is just being made
        file.flush()
    _held.append(file)


class _HoldingExecutor(dg.Executor):
    """Another executor, in a process that holds its run before the first step, with steps that go by the project file as it was
    then: a file that is edited, or half edited, while a run goes on is the next run's."""

    def __init__(self, inner: dg.Executor, project: Project) -> None:
        self._inner, self._project = inner, project

    @property
    def retries(self) -> RetryMode:
        return self._inner.retries

    @property
    def step_dependency_config(self) -> StepDependencyConfig:
        return self._inner.step_dependency_config

    def execute(
        self, plan_context: PlanOrchestrationContext, execution_plan: ExecutionPlan
    ) -> Iterator[dg.DagsterEvent]:
        hold(plan_context.instance, plan_context.run_id)
        begun = _copy_path(plan_context.instance, plan_context.run_id)
        write_text(begun, self._project.text)
        os.environ[BEGUN_VARIABLE] = str(begun)
        yield from self._inner.execute(plan_context, execution_plan)


def _copy_path(instance: dg.DagsterInstance, run_id: str) -> Path:
    return Path(instance.root_directory) / FOLDER / f"{run_id}{_COPY}"


def holding_executor(project: Project) -> dg.ExecutorDefinition:
    """Dagster's executor with a process for each step, for runs that begin in its pages or in the daemon."""
    steps = dg.multiprocess_executor
    create = steps.executor_creation_fn
    assert create is not None, "Dagster's own has one"
    return dg.ExecutorDefinition(
        name=steps.name,
        config_schema=steps.config_schema,  # type: ignore[arg-type]  # it takes what it gives
        requirements=dg.multiple_process_executor_requirements(),
        executor_creation_fn=lambda context: _HoldingExecutor(create(context), project),
        description=steps.description,
    ).configured({"max_concurrent": MAX_CONCURRENT_STEPS})


def end_with_run() -> None:
    """Called by each step: ends this step's process if the run's is killed."""
    worker = multiprocessing.parent_process()
    if worker is not None:
        threading.Thread(target=_end_with, args=(worker.sentinel,), name="run-worker-watch", daemon=True).start()


def _end_with(sentinel: int) -> None:
    """As a termination does, and by force if that does not help."""
    from multiprocessing.connection import wait

    wait([sentinel])
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(GRACE_SECONDS)
    os._exit(1)


def end_dead_runs(instance: dg.DagsterInstance) -> list[str]:
    """Ends the runs whose process is gone and frees the pool slots they hold; returns their ids."""
    folder = Path(instance.root_directory) / FOLDER
    ended = []
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if "." in path.name:  # a copy, which goes with its run's lock
            continue
        try:
            file = path.open("r+", encoding="utf-8")
        except FileNotFoundError:  # another process looked just before
            continue
        with file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            if not file.read():
                continue
            run = instance.get_run_by_id(path.name)
            if run is not None and not run.is_finished:
                instance.report_run_failed(run, "The process of this run was killed; running again goes on from there.")
                instance.event_log_storage.free_concurrency_slots_for_run(run.run_id)
                ended.append(run.run_id)
            _copy_path(instance, path.name).unlink(missing_ok=True)
            path.unlink(missing_ok=True)
    return ended
