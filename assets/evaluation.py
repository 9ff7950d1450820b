"""Evaluation: figures, samples and a report on held-out documents."""

from __future__ import annotations

from assets.building import StageAsset, Work
from assets.checks import BEATS_UNIGRAM
from pipeline.artifacts import Artifact
from pipeline.config import Project
from pipeline.plan import EVALUATION as STAGE


def _describe(project: Project, name: str) -> str:
    return f"How well `{name}` predicts the test documents, which it never saw: bits per byte, perplexity, accuracy, calibration."


def _build(work: Work) -> Artifact:
    from pipeline.evaluation.build import build_evaluation

    return build_evaluation(
        work.draft,
        name=work.name,
        config=work.project.models[work.name].evaluate,
        model=work.inputs["model"],
        corpus=work.inputs["corpus"],
        shards=work.inputs["shards"],
        progress=work.progress,
        folder=work.project.folder,
    )


EVALUATION = StageAsset(
    stage=STAGE,
    group="evaluation",
    kinds={"pytorch", "matplotlib"},
    describe=_describe,
    build=_build,
    checks=(BEATS_UNIGRAM,),
    owners=lambda project, name: project.models[name].owners,
)
