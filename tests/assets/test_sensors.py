"""New files are a run, a failed run is tried again after growing pauses; the sensors that ship and delete say what they did."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
from stand_ins import build

from pipeline.artifacts import ArtifactStore
from pipeline.config import Project, load_project


class Sensor:
    """`source_files` with an instance, a cursor and a clock."""

    def __init__(self, definitions: dg.Definitions, instance: dg.DagsterInstance) -> None:
        self.definitions, self.instance = definitions, instance
        self.cursor: str | None = None
        self.minutes = 0.0
        self.said: str | None = None

    def time(self) -> float:
        return 1_800_000_000 + 60 * self.minutes

    def look(self, *, after: float = 0, keep_cursor: bool = True) -> str | None:
        """The key of the run that is asked for some minutes after the last look."""
        self.minutes += after
        context = dg.build_sensor_context(instance=self.instance, cursor=self.cursor, definitions=self.definitions)
        found = self.definitions.resolve_sensor_def("source_files").evaluate_tick(context)
        if keep_cursor:
            self.cursor, self.said = found.cursor, found.skip_message
        asked = [request.run_key for request in found.run_requests or ()]
        assert len(asked) <= 1
        return asked[0] if asked else None

    def run(self, key: str | None, status: dg.DagsterRunStatus) -> dg.DagsterRun:
        """A run as the daemon makes it of what was asked for."""
        assert key is not None
        tags = {"dagster/sensor_name": "source_files", "dagster/run_key": key}
        return self.instance.create_run_for_job(self.definitions.resolve_job_def("gpt_job"), tags=tags, status=status)


@pytest.fixture
def sensor(definitions: dg.Definitions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Sensor]:
    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance:
        made = Sensor(definitions, instance)
        monkeypatch.setattr("assets.sensors.time", made)
        yield made


def test_the_sensor_asks_for_one_run_for_each_new_state_of_the_files(project: Project, sensor: Sensor) -> None:
    build(project, "raw_documents")
    assert sensor.look() is None
    (project.folder / "notes" / "b.txt").write_text("another note")
    first = sensor.look(keep_cursor=False)
    assert sensor.look() == first is not None, "killed before its cursor was kept, it asks for the same run key"
    run = sensor.run(first, dg.DagsterRunStatus.STARTED)
    (project.folder / "notes" / "b.txt").unlink()
    assert sensor.look() is None, "what changed meanwhile waits until the run is finished"
    sensor.instance.delete_run(run.run_id)
    sensor.run(first, dg.DagsterRunStatus.SUCCESS)
    back = sensor.look()
    sensor.run(back, dg.DagsterRunStatus.SUCCESS)
    assert sensor.look() is None
    assert sensor.look(after=600) is None
    (project.folder / "notes" / "b.txt").write_text("another note")
    assert len({first, back, sensor.look(), None}) == 4, "files that go back and forth are a new run each time"


def test_files_that_stand_there_before_anything_was_built_are_a_run(sensor: Sensor) -> None:
    assert sensor.look() is not None


def test_a_run_that_failed_is_tried_again_after_growing_pauses(project: Project, sensor: Sensor) -> None:
    keys = [sensor.look()]
    for pause in (1, 2, 4, 8, 16, 32, 60, 60):
        run = sensor.run(keys[-1], dg.DagsterRunStatus.STARTED)
        assert sensor.look(after=500) is None, "it goes on"
        sensor.instance.report_run_failed(run)
        build(project, "raw_documents")  # what was made before it failed is no reason to stop
        assert sensor.look() is None
        assert sensor.said == f"The last run failed; it is tried again in {pause} min unless this sensor is turned off."
        assert sensor.look(after=pause - 0.1) is None
        keys.append(sensor.look(after=0.2))
    assert len({*keys, None}) == 10, "Dagster launches a run key once"
    sensor.run(keys[-1], dg.DagsterRunStatus.FAILURE)
    (project.folder / "notes" / "b.txt").write_text("another note")
    again = sensor.look()
    assert again is not None, "a new state of the files does not wait"
    sensor.run(again, dg.DagsterRunStatus.FAILURE)
    sensor.look()
    assert "in 1 min" in str(sensor.said)


def test_a_clock_that_is_set_back_postpones_no_try(sensor: Sensor) -> None:
    sensor.run(sensor.look(), dg.DagsterRunStatus.FAILURE)
    assert sensor.look() is None
    sensor.minutes -= 60 * 24 * 365
    assert sensor.look() is not None


@pytest.mark.parametrize("cursor", ["5d41402abc4b2a76b971", "[]", '{"seen": 1}'])
def test_a_cursor_of_other_code_counts_as_none(sensor: Sensor, cursor: str) -> None:
    sensor.cursor = cursor
    assert sensor.look() is not None


def test_what_somebody_else_built_is_not_tried_again(project: Project, sensor: Sensor) -> None:
    sensor.run(sensor.look(), dg.DagsterRunStatus.FAILURE)
    assert sensor.look() is None
    build(project)
    assert sensor.look(after=1) is None
    assert sensor.said == "What the files ask for is built."
    assert sensor.look(after=600) is None
    assert sensor.said == "No file is new, changed or gone."


def test_the_sensor_that_ships_says_what_is_wrong_with_each_spool(
    project: Project, definitions: dg.Definitions, tracking: str
) -> None:
    start = {"kind": "start", "time_ms": 1, "experiment": "demo", "run_name": "gpt"}
    loss = {"kind": "metrics", "time_ms": 2, "step": 1, "metrics": {"loss": 3.0}}
    for version, events in {"a": [loss], "b": [start, loss], "c": [loss]}.items():
        folder = project.storage_folder / "spool" / "gpt" / version
        folder.mkdir(parents=True)
        (folder / "events.jsonl").write_text("".join(json.dumps(event) + "\n" for event in events))
    found = definitions.resolve_sensor_def("pending_metrics").evaluate_tick(dg.build_sensor_context())
    spools = project.storage_folder / "spool" / "gpt"
    assert found.skip_message == (
        f"1 metrics sent. {spools / 'a'}: the spool does not begin with a start; it is left alone. "
        f"{spools / 'c'}: the spool does not begin with a start; it is left alone."
    )


def test_old_versions_are_deleted_while_no_run_goes_on(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, empty_database: Path
) -> None:
    project.file.write_text(project.file.read_text() + "keep_versions: 0\n")
    monkeypatch.setenv("TEXTMILL_CONFIG", str(project.file))
    from assets.definitions import make_definitions

    kept = load_project(project.file)
    definitions = make_definitions(kept)
    for number in range(3):
        (project.folder / "notes" / "a.txt").write_text(f"note {number}")
        build(kept, "raw_documents")
    shutil.copy(empty_database / "mlflow.db", kept.storage_folder / "mlflow" / "mlflow.db")
    raw = kept.storage_folder / "raw_documents" / "notes"
    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance:
        context = dg.build_sensor_context(instance=instance, definitions=definitions)
        job = definitions.resolve_job_def("gpt_job")
        run = instance.create_run_for_job(job, status=dg.DagsterRunStatus.STARTED)
        look = definitions.resolve_sensor_def("old_versions").evaluate_tick
        assert str(look(context).skip_message).startswith(f"Nothing was deleted: run {run.run_id[:8]} (started) is not")
        assert len(list(raw.glob("*/manifest.json"))) == 3
        instance.report_run_failed(run)
        assert str(look(context).skip_message).startswith("Deleted 2 versions and 0 other folders, 0.0 MB")
        assert [path.parent.name for path in raw.glob("*/manifest.json")] == [current_version(kept)]
        assert look(context).skip_message == "Nothing is old enough."
        (kept.storage_folder / "mlflow" / "mlflow.db").write_text("no database")
        assert "cannot be asked which versions hold an alias" in str(look(context).skip_message)


def current_version(project: Project) -> str:
    current = ArtifactStore(project.storage_folder).current("raw_documents", "notes")
    assert current is not None
    return current.ref.version
