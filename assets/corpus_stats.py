"""Corpus statistics: tables and plots."""

from __future__ import annotations

from assets.building import StageAsset, Work
from pipeline.artifacts import Artifact
from pipeline.config import Project
from pipeline.plan import STATS


def _describe(project: Project, name: str) -> str:
    return f"What the corpus `{name}` is made of: sizes, languages, lengths, words, duplicates and rejects, by source and split."


def _build(work: Work) -> Artifact:
    from pipeline.stats.build import build_corpus_stats

    sources = work.project.corpora[work.name].sources
    return build_corpus_stats(
        work.draft,
        corpus=work.inputs["corpus"],
        raw={source: work.inputs[f"raw_{source}"] for source in sources},
        clean={source: work.inputs[f"clean_{source}"] for source in sources},
        progress=work.progress,
    )


CORPUS_STATS = StageAsset(stage=STATS, group="corpus", kinds={"duckdb", "matplotlib"}, describe=_describe, build=_build)
