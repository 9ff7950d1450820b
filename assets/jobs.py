"""Jobs: one for each model with all it is made from, and `retrain` for every model."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import dagster as dg
from dagster import AssetSelection

from assets.building import asset_key
from pipeline.config import Project
from pipeline.plan import REGISTERED, Key, Node, select


def models_selection(nodes: Mapping[Key, Node], models: Iterable[str]) -> AssetSelection:
    """What it takes to retrain some models: everything up to their registration."""
    keys = select(nodes, tuple(f"{REGISTERED}/{model}" for model in models))
    return AssetSelection.assets(*(asset_key(key) for key in keys))


def make_jobs(project: Project, nodes: Mapping[Key, Node]) -> list[dg.UnresolvedAssetJobDefinition]:
    """`<model>_job` for each model, and `retrain`."""
    if not project.models:
        return []
    jobs = [
        dg.define_asset_job(
            f"{model}_job",
            selection=models_selection(nodes, [model]),
            description=f"From the sources of {model} to the registry.",
        )
        for model in project.models
    ]
    retrain = dg.define_asset_job(
        "retrain",
        selection=models_selection(nodes, project.models),
        description="Every model, from its sources to the registry.",
    )
    return [*jobs, retrain]
