"""The artifacts in use as named views: `raw_documents_NAME`, `clean_documents_NAME`, `corpus_NAME`, `token_shards_NAME`,
`evaluation_NAME`, `corpus_stats_NAME_TABLE`, `rejects_STAGE_NAME`, and `rejects` for those of every stage together.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from pipeline.accounts.database import rows_of
from pipeline.artifacts import Artifact, ArtifactStore
from pipeline.config import Project
from pipeline.plan import CLEAN, CORPUS, EVALUATION, RAW, SHARDS, STATS, build_nodes
from pipeline.records import SPLITS

REJECTS = "rejects"


def artifacts_in_use(project: Project, store: ArtifactStore) -> list[Artifact]:
    """What is built of the project, in data-flow order."""
    found = [store.current(key.stage, key.name) for key in build_nodes(project)]
    return [artifact for artifact in found if artifact is not None]


def views_of(artifacts: list[Artifact]) -> dict[str, str]:
    """Name of a view -> its SELECT. Of two that DuckDB would take for one, the first in data-flow order is there."""
    views: dict[str, str] = {}
    rejects: list[Path] = []
    for artifact in artifacts:
        for name, select in _views(artifact).items():
            if name.lower() not in map(str.lower, (*views, REJECTS)):
                views[name] = select
        rejects += reject_files(artifact)
    if rejects:
        views[REJECTS] = rows_of(rejects)
    return views


def reject_files(artifact: Artifact) -> list[Path]:
    """The Parquet files of an artifact's rejects."""
    if artifact.ref.stage not in (RAW, CLEAN, CORPUS):
        return []
    return artifact.files("rejects.parquet") + artifact.files("rejects/*.parquet")


def _views(artifact: Artifact) -> Mapping[str, str]:
    stage, name = artifact.ref.stage, artifact.ref.name
    views: dict[str, str] = {}
    if stage in (RAW, CLEAN, CORPUS) and (files := artifact.files("documents/*.parquet")):
        views[f"{stage}_{name}"] = rows_of(files)
    if files := reject_files(artifact):
        views[f"{REJECTS}_{stage}_{name}"] = rows_of(files)
    if stage == STATS:
        for path in artifact.files("tables/*.parquet"):
            views[f"{stage}_{name}_{path.stem}"] = rows_of([path])
    if stage == SHARDS:
        parts = [
            rows_of([artifact.file(f"{split}.documents.parquet")], columns=f"'{split}' AS split, *") for split in SPLITS
        ]
        views[f"{stage}_{name}"] = " UNION ALL ".join(parts)
    if stage == EVALUATION:
        views[f"{stage}_{name}"] = rows_of([artifact.file("documents.parquet")])
    return views
