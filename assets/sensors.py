"""Sensors: new or changed source files start a retraining; metrics that wait for a tracker are shipped; dead runs are ended."""

from __future__ import annotations

import json
from collections.abc import Mapping

import dagster as dg

from assets.jobs import models_selection
from assets.processes import end_dead_runs
from assets.unfinished import unfinished
from pipeline.artifacts import ArtifactStore
from pipeline.config import Project
from pipeline.errors import TextmillError
from pipeline.files import fingerprint
from pipeline.ingestion.parts import list_parts
from pipeline.plan import RAW, REGISTERED, Key, Node, select

DEFAULT_INTERVAL_SECONDS = 30


def source_states(project: Project, sources: list[str]) -> dict[str, list[str]]:
    """Source -> the keys of its files as they are now."""
    return {
        name: [
            part.key
            for part in list_parts(project.sources[name], folder=project.folder, cache_folder=project.storage_folder)
        ]
        for name in sources
    }


def built_states(project: Project, sources: list[str]) -> dict[str, list[str]]:
    """Source -> the keys of the files its current version was made from; what was never built is left out."""
    store = ArtifactStore(project.storage_folder)
    found = {name: store.current(RAW, name) for name in sources}
    return {name: list(artifact.manifest.literals["parts"]) for name, artifact in found.items() if artifact is not None}


def make_sensors(project: Project, nodes: Mapping[Key, Node]) -> list[dg.SensorDefinition]:
    """`source_files` (on when the file has `watch`), `pending_metrics` and `dead_runs` (on)."""
    return [*([_source_files(project, nodes)] if project.models else []), _pending_metrics(project), _dead_runs()]


def _source_files(project: Project, nodes: Mapping[Key, Node]) -> dg.SensorDefinition:
    watch = project.watch
    models = list(watch.models) if watch else list(project.models)
    covered = select(nodes, tuple(f"{REGISTERED}/{model}" for model in models))
    sources = [key.name for key in covered if key.stage == RAW]

    @dg.sensor(
        name="source_files",
        target=models_selection(nodes, models),
        minimum_interval_seconds=watch.interval_seconds if watch else DEFAULT_INTERVAL_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING if watch else dg.DefaultSensorStatus.STOPPED,
        description=f"Retrains {', '.join(models)} when a file of {', '.join(sources)} is new, changed or gone.",
    )
    def source_files(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        try:
            now = source_states(project, sources)
        except TextmillError as error:
            return dg.SkipReason(str(error))
        state = fingerprint(now)
        before, num_changes = _read_cursor(context.cursor)
        if before is None:  # the first look: what the versions in use were made from
            before = fingerprint({**now, **built_states(project, sources)})
        if state == before:
            return dg.SensorResult(skip_reason="No file is new, changed or gone.", cursor=_cursor(state, num_changes))
        # the cursor stays, so that what changes while a run goes on is one more run after it
        waits = unfinished(context.instance, "sensor", "source_files")
        if waits:
            return waits
        # a sensor killed between launch and cursor asks for the same key again, and Dagster launches nothing twice; the
        # number lets files go back to an earlier state
        changed = json.dumps({name: len(parts) for name, parts in now.items()})
        request = dg.RunRequest(run_key=f"{num_changes + 1}-{state}", tags={"textmill/files": changed})
        return dg.SensorResult(run_requests=[request], cursor=_cursor(state, num_changes + 1))

    return source_files


def _cursor(state: str, num_changes: int) -> str:
    return json.dumps({"state": state, "num_changes": num_changes})


def _read_cursor(cursor: str | None) -> tuple[str | None, int]:
    if cursor is None:
        return None, 0
    known = json.loads(cursor)
    return known["state"], known["num_changes"]


def _dead_runs() -> dg.SensorDefinition:
    @dg.sensor(
        name="dead_runs",
        minimum_interval_seconds=30,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Ends the runs whose process was killed, so that they are retried and hold no slot of a pool.",
    )
    def dead_runs(context: dg.SensorEvaluationContext) -> dg.SkipReason:
        ended = end_dead_runs(context.instance)
        return dg.SkipReason(f"Ended {', '.join(ended)}." if ended else "Every run in progress has its process.")

    return dead_runs


def _pending_metrics(project: Project) -> dg.SensorDefinition:
    @dg.sensor(
        name="pending_metrics",
        minimum_interval_seconds=60,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Ships metrics that a tracker missed while it was away.",
    )
    def pending_metrics(context: dg.SensorEvaluationContext) -> dg.SkipReason:
        from pipeline.registry.tracking import ship_all

        results = ship_all(project.storage_folder)
        sent = sum(result.num_metrics for result in results)
        said = [f"{sent} metrics sent."] if sent else []
        said += [result.problem for result in results if result.problem]
        return dg.SkipReason(" ".join(said) or "Nothing waits.")

    return pending_metrics
