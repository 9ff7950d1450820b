"""Raw documents: the files of a source, as Parquet of documents and rejects."""

from __future__ import annotations

from assets.building import StageAsset, Work
from assets.checks import LEDGER
from pipeline.artifacts import Artifact
from pipeline.config import Project
from pipeline.plan import RAW


def _describe(project: Project, name: str) -> str:
    source = project.sources[name]
    return (
        f"The documents of the source `{name}` (reader {source.reader}), one row each, as they were found. Only new or "
        "changed files are read; what cannot be read is a reject with path, line and reason."
    )


def _build(work: Work) -> Artifact:
    from pipeline.ingestion.build import build_raw_documents

    return build_raw_documents(
        work.draft,
        name=work.name,
        config=work.project.sources[work.name],
        folder=work.project.folder,
        cache_folder=work.storage,
        engine=work.project.engine,
        progress=work.progress,
    )


RAW_DOCUMENTS = StageAsset(
    stage=RAW, group="ingestion", kinds={"python", "parquet"}, describe=_describe, build=_build, checks=(LEDGER,)
)
