"""The Dagster instance of a project: `<storage>/dagster`, configured by the packaged dagster.yaml."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.config import Project
from pipeline.files import storage_errors, write_text

if TYPE_CHECKING:
    import dagster as dg

HOME_VARIABLE = "DAGSTER_HOME"
PROCESS_TAG = "textmill/process"
"""`host:pid:start` of the process that a run lives in; the start in seconds tells it from a later one of the same number."""


def process_tag() -> str:
    """This process, as runs are tagged with it."""
    import psutil

    return f"{socket.gethostname()}:{os.getpid()}:{int(psutil.Process().create_time())}"


def end_dead_runs(instance: dg.DagsterInstance) -> None:
    """Ends the runs of this host whose process was killed, and frees the pool slots they hold.

    Nobody else notices a dead local run, and the next one would wait for its slot for ever.
    """
    import dagster as dg

    alive = [dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.CANCELING]
    for run in instance.get_runs(filters=dg.RunsFilter(statuses=alive)):
        host, _, process = run.tags.get(PROCESS_TAG, "").partition(":")
        if host != socket.gethostname() or _is_running(process):
            continue
        instance.report_run_failed(run, "Its process was killed; running again goes on from there.")
        instance.event_log_storage.free_concurrency_slots_for_run(run.run_id)


def _is_running(process: str) -> bool:
    import psutil

    number, _, start = process.partition(":")
    try:
        return int(psutil.Process(int(number)).create_time()) == int(start)
    except (psutil.Error, ValueError):
        return False


def prepare_instance(project: Project) -> Path:
    """Makes the instance's folder and names it in the environment; an instance named there already is used as it is.

    Raises:
        StorageError: the storage folder cannot be written.
    """
    if HOME_VARIABLE in os.environ:
        return Path(os.environ[HOME_VARIABLE])
    home = project.storage_folder.absolute() / "dagster"
    packaged = (Path(__file__).parents[1] / "dagster.yaml").read_text()
    with storage_errors(home):
        home.mkdir(parents=True, exist_ok=True)
        file = home / "dagster.yaml"
        if not file.is_file() or file.read_text() != packaged:
            write_text(file, packaged)
    os.environ[HOME_VARIABLE] = str(home)
    return home
