"""Which process a run lives in: a run whose process was killed is ended, and a step outlives its run no longer than it takes to
save a checkpoint.

Dagster's run monitoring passes over local runs: only a living code server notices that one died, and a dead run keeps its
slot of a pool for ever. So each run carries the process it lives in as a tag, and the daemon's sensor and `textmill run` look.
Trade-off: a run of another host is left alone, since nothing is known of its processes.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import socket
import threading
import time

import dagster as dg
import psutil

PROCESS_TAG = "textmill/process"
"""`host:pid:start:run`; the start in seconds tells a process from a later one of the same number, and the run's id tells the
tag from one that a retry inherited."""

GRACE_SECONDS = 90.0
"""From asking an orphaned step to stop to ending it; more than training has to save its checkpoint."""


def process_tag(run_id: str, process_id: int | None = None) -> str:
    """A process, by default this one, as a run is tagged with it."""
    process = psutil.Process(process_id)
    return f"{socket.gethostname()}:{process.pid}:{int(process.create_time())}:{run_id}"


def join_run(instance: dg.DagsterInstance, run: dg.DagsterRun) -> None:
    """Called by each step: tags the run with the process it lives in, and ends this step if that process is killed."""
    worker = multiprocessing.parent_process()
    try:
        tag = process_tag(run.run_id, worker.pid if worker is not None else None)
    except psutil.NoSuchProcess:
        _end_this_process()
        return
    if run.tags.get(PROCESS_TAG) != tag:
        instance.add_run_tags(run.run_id, {PROCESS_TAG: tag})
    if worker is not None:
        threading.Thread(target=_end_with, args=(worker.sentinel,), name="run-worker-watch", daemon=True).start()


def _end_with(sentinel: int) -> None:
    from multiprocessing.connection import wait

    wait([sentinel])
    _end_this_process()


def _end_this_process() -> None:
    """As a termination does, and by force if that does not help."""
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(GRACE_SECONDS)
    os._exit(1)


def end_dead_runs(instance: dg.DagsterInstance) -> list[str]:
    """Ends the runs of this host whose process is gone and frees the pool slots they hold; returns their ids."""
    in_progress = [dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.CANCELING]
    ended = []
    for run in instance.get_runs(filters=dg.RunsFilter(statuses=in_progress)):
        host, _, process = run.tags.get(PROCESS_TAG, "").partition(":")
        if host != socket.gethostname() or not process.endswith(f":{run.run_id}") or _is_running(process):
            continue
        now = instance.get_run_by_id(run.run_id)
        if now is None or now.is_finished:
            continue  # its process ended well between the two looks
        instance.report_run_failed(run, "The process of this run was killed; running again goes on from there.")
        instance.event_log_storage.free_concurrency_slots_for_run(run.run_id)
        ended.append(run.run_id)
    return ended


def _is_running(process: str) -> bool:
    number, start, _ = process.split(":", 2)
    try:
        found = psutil.Process(int(number))
        return int(found.create_time()) == int(start) and found.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
