"""Raw documents: the files of a source, as Parquet of documents and rejects."""

from __future__ import annotations

from dataclasses import replace

from assets.building import StageAsset, Work
from assets.checks import LEDGER
from pipeline.artifacts import Artifact, Report
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


def _shown(project: Project, artifact: Artifact) -> Report:
    """The report, without the personal data that cleaning will replace: Dagster keeps what its pages show."""
    from pipeline.cleaning.pii.redact import redact

    kinds = project.sources[artifact.ref.name].kinds_to_redact()
    report = artifact.report()
    if not kinds:
        return report
    samples = {redact(title, kinds)[0]: _redacted_sample(text, kinds) for title, text in report.samples.items()}
    return replace(report, samples=samples)


def _redacted_sample(text: str, kinds: tuple[str, ...]) -> str:
    """The sample with placeholders. Where it was cut, that may be within an address, which is not found then: what could be the
    beginning of one is left out."""
    from pipeline.cleaning.pii.email import MAX_LOCAL_CHARACTERS
    from pipeline.cleaning.pii.redact import find_spans, redact
    from pipeline.ingestion.report import SAMPLE_CHARACTERS

    end = len(text) if len(text) < SAMPLE_CHARACTERS else SAMPLE_CHARACTERS - MAX_LOCAL_CHARACTERS
    end = next((span.start for span in find_spans(text, kinds) if span.start < end < span.end), end)
    return redact(text[:end], kinds)[0]


RAW_DOCUMENTS = StageAsset(
    stage=RAW,
    group="ingestion",
    kinds={"python", "parquet"},
    describe=_describe,
    build=_build,
    checks=(LEDGER,),
    shown=_shown,
)
