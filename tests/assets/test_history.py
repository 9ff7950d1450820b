"""What became of the last runs, as `textmill status` tells it: who began them, how they ended, what failed."""

from __future__ import annotations

from collections.abc import Iterator

import dagster as dg
import pytest
from dagster._core.events import EngineEventData
from dagster_shared.error import SerializableErrorInfo

from assets.cli import main
from assets.cli.history import newest_runs
from assets.cli.instance import prepare_instance
from pipeline.config import Project

NO_LOGS = """
compute_logs: {module: dagster._core.storage.noop_compute_log_manager, class: NoOpComputeLogManager}
"""
"""Dagster takes hold of this process's output otherwise, which is pytest's: under load it was closed for the tests that followed."""


@dg.op
def trained_model__gpt() -> None:
    raise dg.Failure(description="the loss is not finite")


@dg.asset(
    key=["corpus", "english"], check_specs=[dg.AssetCheckSpec("kept", asset=["corpus", "english"], blocking=True)]
)
def corpus() -> Iterator[dg.MaterializeResult[None]]:
    yield dg.MaterializeResult(check_results=[dg.AssetCheckResult(passed=False, description="3 of 10 documents.")])


@dg.asset(deps=[corpus])
def shards() -> None:
    """What a failed check stops."""


@dg.job
def training() -> None:
    trained_model__gpt()


@pytest.fixture
def instance(project: Project, monkeypatch: pytest.MonkeyPatch) -> Iterator[dg.DagsterInstance]:
    monkeypatch.setenv("DAGSTER_HOME", "")  # so that what is set below is taken back
    monkeypatch.delenv("DAGSTER_HOME")
    home = prepare_instance(project)
    with (home / "dagster.yaml").open("a") as file:
        file.write(NO_LOGS)
    with dg.DagsterInstance.from_config(str(home)) as instance:
        yield instance


def test_the_last_runs_are_told_with_the_sentence_of_what_failed(
    project: Project, instance: dg.DagsterInstance, capsys: pytest.CaptureFixture[str]
) -> None:
    dg.materialize([corpus, shards], instance=instance, raise_on_error=False)
    killed = instance.create_run_for_job(training, status=dg.DagsterRunStatus.STARTED)
    instance.report_engine_event("It was terminated by signal 9.", killed, EngineEventData())
    instance.report_run_failed(killed)
    dead = instance.create_run_for_job(training, status=dg.DagsterRunStatus.STARTED)
    instance.report_run_failed(dead, "The process of this run was killed.")
    misread = instance.create_run_for_job(training, status=dg.DagsterRunStatus.STARTED)
    error = SerializableErrorInfo("ConfigurationError: colour is unknown.\n", stack=[], cls_name="ConfigurationError")
    instance.report_engine_event("Could not load job definition.", misread, EngineEventData(error=error))
    instance.report_run_failed(misread)
    waiting = instance.create_run_for_job(
        training, status=dg.DagsterRunStatus.STARTING, tags={"dagster/sensor_name": "source_files"}
    )
    rows = newest_runs(project)
    assert (rows[0].run, rows[0].by, rows[0].state) == (waiting.run_id[:8], "sensor source_files", "waits to begin")
    assert rows[1].state.endswith("failed: ConfigurationError: colour is unknown.")
    assert rows[2].state.endswith("failed: The process of this run was killed.")
    assert rows[3].state.endswith("failed: It was terminated by signal 9.")
    assert rows[4].by == "by hand"
    assert rows[4].state.endswith(" s: corpus/english: the check kept failed: 3 of 10 documents.")
    training.execute_in_process(instance=instance, raise_on_error=False, tags={"dagster/schedule_name": "nightly"})
    newest = newest_runs(project)[0]
    assert (newest.by, newest.state.partition(": ")[2]) == (
        "schedule nightly",
        "trained_model/gpt: the loss is not finite",
    )
    assert main(["status", "--config", str(project.file)]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "schedule nightly failed after" in said
    assert "No schedule or sensor begins anything now: `textmill ui` does not serve this project." in said


def test_where_nothing_ran_nothing_is_told(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    assert newest_runs(project) == []


def test_a_history_that_cannot_be_read_is_one_sentence_of_the_status(
    project: Project, instance: dg.DagsterInstance, capsys: pytest.CaptureFixture[str]
) -> None:
    history = project.storage_folder / "dagster" / "history"
    history.rename(history.with_name("elsewhere"))
    history.write_text("no folder")
    assert main(["status", "--config", str(project.file)]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "The history of runs in" in said and "cannot be read" in said
    assert said.endswith("lists the registry.")
