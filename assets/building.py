"""From a node of the plan to a Dagster asset: find or build, then report.

Every stage hands over a `StageAsset`; what all assets share stands here: keys, dependencies, versions, progress, errors as one
sentence, checks, metadata. A check runs with its asset, so that a failed blocking one stops what is downstream in the run.
"""

import os
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import dagster as dg

from assets.metadata import artifact_metadata
from assets.processes import end_with_run
from assets.stopping import was_stopped
from pipeline.artifacts import Artifact, ArtifactStore, Draft, Report
from pipeline.config import Project
from pipeline.errors import ConfigurationError, RegistryError, TextmillError, TrainingDiverged, TrainingInterrupted
from pipeline.plan import Key, Node, find_or_build
from pipeline.progress import LineProgress, Progress, terminal_progress
from pipeline.records import Ledger

TERMINAL_VARIABLE = "TEXTMILL_TERMINAL"
"""Set by the command line: progress goes to its terminal instead of Dagster's log."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What a stage's builder gets."""

    project: Project
    context: dg.AssetExecutionContext
    name: str
    draft: Draft
    inputs: Mapping[str, Artifact]
    progress: Progress

    @property
    def storage(self) -> Path:
        return self.project.storage_folder


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckOutcome:
    """What a check found."""

    passed: bool
    sentence: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """A blocking check of one artifact."""

    name: str
    description: str
    judge: Callable[[Project, Artifact], CheckOutcome]


@dataclass(frozen=True, slots=True, kw_only=True)
class StageAsset:
    """What tells one stage's assets from another's."""

    stage: str
    group: str
    kinds: set[str]
    describe: Callable[[Project, str], str]
    build: Callable[[Work], Artifact]
    checks: tuple[Check, ...] = ()
    owners: Callable[[Project, str], tuple[str, ...]] = field(default=lambda project, name: ())
    still_holds: Callable[[Project, Artifact], bool] = field(default=lambda project, artifact: True)
    """Whether what was built for today's settings is still so outside the storage folder."""
    pool: str | None = None
    retry_policy: dg.RetryPolicy | None = None
    shown: Callable[[Project, Artifact], Report] = field(default=lambda project, artifact: artifact.report())
    """What its page shows."""
    extra_metadata: Callable[[Project, Artifact], Mapping[str, dg.MetadataValue]] = field(
        default=lambda project, artifact: {}
    )


def asset_key(key: Key) -> dg.AssetKey:
    """`stage/name` as Dagster writes it."""
    return dg.AssetKey([key.stage, key.name])


def make_asset(project: Project, node: Node, stage: StageAsset) -> dg.AssetsDefinition:
    """The asset of one node."""
    key = asset_key(node.key)

    @dg.asset(
        key=key,
        deps=[asset_key(upstream) for upstream in dict.fromkeys(node.inputs.values())],
        group_name=stage.group,
        kinds=stage.kinds,
        description=stage.describe(project, node.key.name),
        owners=list(stage.owners(project, node.key.name)),
        code_version=node.code_version,
        pool=stage.pool,
        retry_policy=stage.retry_policy,
        check_specs=[
            dg.AssetCheckSpec(check.name, asset=key, description=check.description, blocking=True)
            for check in stage.checks
        ],
    )
    def materialise(context: dg.AssetExecutionContext) -> Iterator[dg.MaterializeResult[None]]:
        with one_sentence():
            if was_stopped.is_set():  # Dagster goes on after a signal between two steps
                raise dg.DagsterExecutionInterruptedError("Stopped as asked.")
            end_with_run()
            started = time.monotonic()
            store = ArtifactStore(project.storage_folder)
            progress = progress_for(node.key, context)

            def build(draft: Draft, inputs: Mapping[str, Artifact]) -> Artifact:
                return stage.build(
                    Work(
                        project=project,
                        context=context,
                        name=node.key.name,
                        draft=draft,
                        inputs=inputs,
                        progress=progress,
                    )
                )

            artifact, reused = find_or_build(
                node, store, build, progress, still_holds=lambda existing: stage.still_holds(project, existing)
            )
            outcomes = [(check, check.judge(project, artifact)) for check in stage.checks]
            seconds = time.monotonic() - started
            made = f"{'up to date' if reused else 'built'} in {seconds:.1f} s"
            if "ledger" in artifact.manifest.counts:
                made += f", {Ledger.from_json(artifact.manifest.counts['ledger']).in_words()}"
            progress.note(f"{made}, version {artifact.ref.version}")
            for check, outcome in outcomes:
                if not outcome.passed:
                    progress.note(f"check {check.name} failed: {outcome.sentence}")
            shown = artifact_metadata(artifact, stage.shown(project, artifact), reused=reused)
            metadata = shown | dict(stage.extra_metadata(project, artifact))
        yield dg.MaterializeResult(
            metadata=metadata,
            data_version=dg.DataVersion(artifact.ref.content_hash),
            check_results=[
                dg.AssetCheckResult(
                    check_name=check.name,
                    passed=outcome.passed,
                    severity=dg.AssetCheckSeverity.ERROR,
                    description=outcome.sentence,
                )
                for check, outcome in outcomes
            ],
        )

    return materialise


def progress_for(key: Key, context: dg.AssetExecutionContext) -> Progress:
    """The command line's terminal, or Dagster's log."""
    if TERMINAL_VARIABLE in os.environ:
        return terminal_progress(str(key))
    return LineProgress(str(key), context.log.info)


class one_sentence:  # noqa: N801 - reads as a statement
    """Turns an operator's error into a Dagster failure with its sentence; what cannot get better is not retried."""

    def __enter__(self) -> None:
        return

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if isinstance(error, dg.DagsterExecutionInterruptedError | KeyboardInterrupt | TrainingInterrupted):
            was_stopped.set()
            # Dagster would answer an interrupt with the retry policy: a stopped training would begin again at once
            raise dg.Failure(description=str(error) or "Stopped as asked.", allow_retries=False) from error
        if isinstance(error, TextmillError):
            hopeless = isinstance(error, TrainingDiverged | ConfigurationError) or (
                isinstance(error, RegistryError)
                and TERMINAL_VARIABLE in os.environ  # where a person waits, not the night
            )
            raise dg.Failure(description=str(error), allow_retries=not hopeless) from error
