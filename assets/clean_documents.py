"""Clean documents: normalised text with language and quality signals as columns."""

from __future__ import annotations

from assets.building import StageAsset, Work
from assets.checks import LEDGER
from pipeline.artifacts import Artifact
from pipeline.config import Project
from pipeline.plan import CLEAN


def _describe(project: Project, name: str) -> str:
    return (
        f"The documents of `{name}`, one row each: Unicode and white space normalised, mojibake repaired, personal "
        "data redacted where the source asks for it, language and quality signals "
        "measured. Nothing is filtered here, so a changed threshold recomputes no signal."
    )


def _build(work: Work) -> Artifact:
    from pipeline.cleaning.build import build_clean_documents

    return build_clean_documents(
        work.draft,
        raw=work.inputs["raw"],
        kinds=work.project.sources[work.name].kinds_to_redact(),
        engine=work.project.engine,
        progress=work.progress,
    )


CLEAN_DOCUMENTS = StageAsset(
    stage=CLEAN, group="cleaning", kinds={"python", "parquet"}, describe=_describe, build=_build, checks=(LEDGER,)
)
