"""Registered model: a version in the MLflow registry, the decision about the champion alias, and everybody's leaderboard."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict

import dagster as dg

from assets.building import StageAsset, Work
from assets.checks import GENERATES
from assets.metadata import markdown_table
from assets.mlflow_pages import mlflow_page
from pipeline.accounts.leaderboard import leaderboard, write_leaderboard
from pipeline.artifacts import Artifact, ArtifactStore
from pipeline.config import Project
from pipeline.plan import REGISTERED
from pipeline.registry.connection import tracking_uri


def _describe(project: Project, name: str) -> str:
    promote = project.models[name].promote
    return (
        f"`{name}` in the registry. The alias `champion` moves to it when it is better than the champion and than "
        f"`{promote.must_beat}` with {promote.confidence:.0%} confidence; every decision is on record."
    )


def _build(work: Work) -> Artifact:
    from pipeline.registry.build import build_registered_model

    return build_registered_model(
        work.draft,
        name=work.name,
        config=work.project.models[work.name].promote,
        evaluation=work.inputs["evaluation"],
        model=work.inputs["model"],
        corpus=work.inputs["corpus"],
        shards=work.inputs["shards"],
        baseline=work.inputs.get("baseline"),
        storage=work.storage,
        lineage_tags={"textmill.project": work.project.name, "textmill.dagster_run_id": work.context.run_id},
        progress=work.progress,
    )


def _shown(project: Project, artifact: Artifact) -> Mapping[str, dg.MetadataValue]:
    """Links into MLflow, the decision, and the leaderboard as it stands now, which is written as Parquet too."""
    store = ArtifactStore(project.storage_folder)
    path = write_leaderboard(project, store)
    registration = json.loads(artifact.file("registration.json").read_text(encoding="utf-8"))
    run = mlflow_page(f"experiments/{registration['experiment_id']}/runs/{registration['run_id']}")
    model = mlflow_page(f"models/{artifact.ref.name}/versions/{registration['version']}")
    return {
        "mlflow_run": dg.MetadataValue.url(run),
        "mlflow_model": dg.MetadataValue.url(model),
        "registry_version": dg.MetadataValue.int(int(registration["version"])),
        "decision": dg.MetadataValue.json(json.loads(artifact.file("decision.json").read_text(encoding="utf-8"))),
        "leaderboard": dg.MetadataValue.md(markdown_table([asdict(row) for row in leaderboard(project, store)])),
        "leaderboard_parquet": dg.MetadataValue.path(str(path)),
    }


def _still_holds(project: Project, artifact: Artifact) -> bool:
    from pipeline.registry.build import is_registered

    return is_registered(artifact, tracking_uri(project.storage_folder))


REGISTERED_MODEL = StageAsset(
    stage=REGISTERED,
    group="registry",
    kinds={"mlflow"},
    describe=_describe,
    build=_build,
    checks=(GENERATES,),
    owners=lambda project, name: project.models[name].owners,
    extra_metadata=_shown,
    still_holds=_still_holds,
    retry_policy=dg.RetryPolicy(max_retries=4, delay=30, backoff=dg.Backoff.EXPONENTIAL),  # a tracker that restarts
)
