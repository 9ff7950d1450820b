"""A run whose process is gone is ended and gives its slots back; a living one and a foreign one are left alone."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import dagster as dg
import pytest

from assets.processes import PROCESS_TAG, end_dead_runs, process_tag


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.instance_for_test() as instance:
        yield instance


@dg.job
def nothing() -> None:
    """A job to hang runs on."""


def started_run(instance: dg.DagsterInstance, tag: str) -> str:
    run = instance.create_run_for_job(nothing, status=dg.DagsterRunStatus.STARTED)
    instance.add_run_tags(run.run_id, {PROCESS_TAG: tag.replace("RUN", run.run_id)})
    return run.run_id


def status(instance: dg.DagsterInstance, run_id: str) -> dg.DagsterRunStatus:
    run = instance.get_run_by_id(run_id)
    assert run is not None
    return run.status


def test_only_runs_of_this_host_without_a_process_are_ended(instance: dg.DagsterInstance) -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    of_child = process_tag("RUN", child.pid)
    child.communicate(b"\n")
    dead = started_run(instance, of_child)
    inherited = started_run(instance, of_child.replace("RUN", "the-run-that-this-one-retries"))
    elsewhere = started_run(instance, "another-host:" + of_child.split(":", 1)[1])
    alive = started_run(instance, process_tag("RUN"))
    host, number, start, _ = process_tag("RUN").split(":")
    reused = started_run(instance, f"{host}:{number}:{int(start) - 100}:RUN")

    assert set(end_dead_runs(instance)) == {dead, reused}
    assert status(instance, dead) is status(instance, reused) is dg.DagsterRunStatus.FAILURE
    for run_id in (inherited, elsewhere, alive):
        assert status(instance, run_id) is dg.DagsterRunStatus.STARTED
    assert end_dead_runs(instance) == []


def test_an_ended_run_gives_its_slot_of_a_pool_back(instance: dg.DagsterInstance) -> None:
    storage = instance.event_log_storage
    storage.set_concurrency_slots("gpu", 1)
    host, number, start, _ = process_tag("RUN").split(":")
    dead = started_run(instance, f"{host}:{number}:{int(start) - 100}:RUN")
    assert storage.claim_concurrency_slot("gpu", dead, "step").is_claimed
    assert not storage.claim_concurrency_slot("gpu", "another-run", "step").is_claimed
    end_dead_runs(instance)
    assert storage.claim_concurrency_slot("gpu", "another-run", "step").is_claimed
