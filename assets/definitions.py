"""The code location: everything the project file names, as Dagster definitions.

The file is `$TEXTMILL_CONFIG`, or `dagster_project.yaml` in the working directory.
"""

from __future__ import annotations

import dagster as dg

from assets.building import StageAsset, make_asset
from assets.clean_documents import CLEAN_DOCUMENTS
from assets.corpus import CORPUS
from assets.corpus_stats import CORPUS_STATS
from assets.evaluation import EVALUATION
from assets.jobs import make_jobs
from assets.pool_slots import pause_between_claims
from assets.processes import holding_executor
from assets.raw_documents import RAW_DOCUMENTS
from assets.registered_model import REGISTERED_MODEL
from assets.schedules import make_schedules
from assets.sensors import make_sensors
from assets.token_shards import TOKEN_SHARDS
from assets.tokenizer import TOKENIZER
from assets.trained_model import TRAINED_MODEL
from pipeline.config import Project, load_project
from pipeline.plan import build_nodes

STAGE_ASSETS: dict[str, StageAsset] = {
    asset.stage: asset
    for asset in (
        RAW_DOCUMENTS,
        CLEAN_DOCUMENTS,
        CORPUS,
        CORPUS_STATS,
        TOKENIZER,
        TOKEN_SHARDS,
        TRAINED_MODEL,
        EVALUATION,
        REGISTERED_MODEL,
    )
}


def make_definitions(project: Project) -> dg.Definitions:
    """Assets, jobs, schedules and sensors of a project."""
    nodes = build_nodes(project)
    return dg.Definitions(
        assets=[make_asset(project, node, STAGE_ASSETS[key.stage]) for key, node in nodes.items()],
        jobs=make_jobs(project, nodes),
        schedules=make_schedules(project, nodes),
        sensors=make_sensors(project, nodes),
        executor=holding_executor(project),
    )


pause_between_claims()
defs = make_definitions(load_project())
