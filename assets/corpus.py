"""Corpus: kept documents with a split, and rejects with reasons."""

from __future__ import annotations

from assets.building import StageAsset, Work
from assets.checks import KEPT_RANGE, LEDGER
from pipeline.artifacts import Artifact
from pipeline.config import Project
from pipeline.plan import AGAINST
from pipeline.plan import CORPUS as STAGE


def _describe(project: Project, name: str) -> str:
    sources = ", ".join(f"`{source}`" for source in project.corpora[name].sources)
    return f"The documents kept from {sources}, one row each, duplicates once, in train, validation and test splits."


def _build(work: Work) -> Artifact:
    from pipeline.corpus.build import build_corpus

    config = work.project.corpora[work.name]
    return build_corpus(
        work.draft,
        config=config,
        sources={source: work.inputs[source] for source in config.sources},
        fixed_splits=work.project.fixed_splits(work.name),
        against={role: artifact for role, artifact in work.inputs.items() if role.startswith(AGAINST)},
        engine=work.project.engine,
        progress=work.progress,
    )


CORPUS = StageAsset(
    stage=STAGE,
    group="corpus",
    kinds={"duckdb", "parquet"},
    describe=_describe,
    build=_build,
    checks=(LEDGER, KEPT_RANGE),
)
