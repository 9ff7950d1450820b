"""Sensors: new or changed source files start a retraining; metrics that wait for a tracker are shipped; dead runs are ended.

A retraining that failed is tried again after 1, 2, 4 ... minutes, at most an hour, until what the files ask for is built.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace

import dagster as dg

from assets.jobs import models_selection
from assets.processes import end_dead_runs
from assets.unfinished import unfinished
from pipeline.artifacts import ArtifactStore
from pipeline.config import Project
from pipeline.errors import TextmillError
from pipeline.files import fingerprint
from pipeline.ingestion.parts import list_parts
from pipeline.plan import RAW, REGISTERED, Key, Node, make_plan, select

DEFAULT_INTERVAL_SECONDS = 30
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 60, 3600


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
    """`source_files` (on when the file has `watch`), `pending_metrics` and `dead_runs` (on), `old_versions` (where the file has
    `keep_versions`)."""
    return [
        *([_source_files(project, nodes)] if project.models else []),
        _pending_metrics(project),
        _dead_runs(),
        *([_old_versions(project, project.keep_versions)] if project.keep_versions is not None else []),
    ]


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
            return _look(context, project, models, sources)
        except TextmillError as error:
            return dg.SkipReason(str(error))

    return source_files


@dataclass(frozen=True, slots=True, kw_only=True)
class _Seen:
    """What the last look saw; Dagster keeps it as the sensor's cursor."""

    state: str
    """Of the files."""
    num_changes: int
    num_tries: int = 0
    """Runs asked for since the files are in this state; none once it is built."""
    not_before: float | None = None
    """Unix seconds of the next try, from when the last is known to have failed."""

    @property
    def run_key(self) -> str:
        """A sensor killed between launch and cursor asks for the same key again, and Dagster launches nothing twice; the number
        of changes lets files go back to an earlier state."""
        key = f"{self.num_changes}-{self.state}"
        return key if self.num_tries == 1 else f"{key}-{self.num_tries}"


def _look(
    context: dg.SensorEvaluationContext, project: Project, models: list[str], sources: list[str]
) -> dg.SensorResult | dg.SkipReason:
    now = source_states(project, sources)
    state = fingerprint(now)
    # the first look compares with what the versions in use were made from
    seen = _read_cursor(context.cursor) or _Seen(state=fingerprint(built_states(project, sources)), num_changes=0)
    if state == seen.state and not seen.num_tries:
        return _skip("No file is new, changed or gone.", seen)
    # the cursor stays, so that what changes while a run goes on is one more run after it
    waits = unfinished(context.instance, "sensor", "source_files")
    if waits:
        return waits
    if state != seen.state:
        return _ask(now, _Seen(state=state, num_changes=seen.num_changes + 1, num_tries=1))
    return _try_again(context.instance, project, models, now, seen)


def _try_again(
    instance: dg.DagsterInstance, project: Project, models: list[str], now: dict[str, list[str]], seen: _Seen
) -> dg.SensorResult:
    """A run after a pause, unless the last one, or somebody's own, built what the files ask for."""
    if (
        seen.not_before is None or not 0 < seen.not_before - time.time() <= LONGEST_PAUSE_SECONDS
    ):  # or the clock was set back
        if _has_succeeded(instance, seen.run_key) or _is_built(project, models):
            return _skip("What the files ask for is built.", replace(seen, num_tries=0, not_before=None))
        if seen.not_before is not None:
            return _ask(now, replace(seen, num_tries=seen.num_tries + 1, not_before=None))
        pause = min(FIRST_PAUSE_SECONDS * 2 ** (seen.num_tries - 1), LONGEST_PAUSE_SECONDS)
        seen = replace(seen, not_before=time.time() + pause)
    assert seen.not_before is not None
    num_minutes = math.ceil((seen.not_before - time.time()) / 60)
    return _skip(f"The last run failed; it is tried again in {num_minutes} min unless this sensor is turned off.", seen)


def _has_succeeded(instance: dg.DagsterInstance, run_key: str) -> bool:
    """Asked before the plan, in which a model whose `init_from` is its own champion is never up to date."""
    runs = dg.RunsFilter(tags={"dagster/run_key": run_key}, statuses=[dg.DagsterRunStatus.SUCCESS])
    return bool(instance.get_runs(runs, limit=1))


def _is_built(project: Project, models: list[str]) -> bool:
    names = tuple(f"{REGISTERED}/{model}" for model in models)
    return all(step.status == "up to date" for step in make_plan(project, ArtifactStore(project.storage_folder), names))


def _ask(now: dict[str, list[str]], seen: _Seen) -> dg.SensorResult:
    changed = json.dumps({name: len(parts) for name, parts in now.items()})
    request = dg.RunRequest(run_key=seen.run_key, tags={"textmill/files": changed})
    return dg.SensorResult(run_requests=[request], cursor=json.dumps(asdict(seen)))


def _skip(reason: str, seen: _Seen) -> dg.SensorResult:
    return dg.SensorResult(skip_reason=reason, cursor=json.dumps(asdict(seen)))


def _read_cursor(cursor: str | None) -> _Seen | None:
    """None where there is none, or one of another version of this code."""
    try:
        return None if cursor is None else _Seen(**json.loads(cursor))
    except (ValueError, TypeError):
        return None


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


def _old_versions(project: Project, keep: int) -> dg.SensorDefinition:
    @dg.sensor(
        name="old_versions",
        minimum_interval_seconds=3600,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=f"Deletes old versions but for {keep} of each asset, while no run goes on.",
    )
    def old_versions(context: dg.SensorEvaluationContext) -> dg.SkipReason:
        from assets.pruning import delete, in_words, waste_of

        try:
            waste = waste_of(project, keep=keep)
            if waste:
                delete(waste, context.instance)
        except TextmillError as error:
            return dg.SkipReason(str(error))
        return dg.SkipReason(f"Deleted {in_words(waste)}." if waste else "Nothing is old enough.")

    return old_versions
