"""Tokenizer: a SentencePiece model and its report."""

from __future__ import annotations

from collections.abc import Mapping

import dagster as dg

from assets.building import StageAsset, Work
from assets.checks import ROUND_TRIP
from pipeline.artifacts import Artifact, ArtifactStore
from pipeline.config import Project
from pipeline.plan import CORPUS
from pipeline.plan import TOKENIZER as STAGE


def _describe(project: Project, name: str) -> str:
    config = project.tokenizers[name]
    if config.file is not None:
        return f"The tokenizer {config.file}, taken as it is and measured on the validation split of `{config.corpus}`."
    return (
        f"A {config.kind} tokenizer of {config.vocab_size} pieces, learnt from the training split of `{config.corpus}`. "
        "It stays until its own settings change."
    )


def _build(work: Work) -> Artifact:
    from pipeline.tokenizer.build import build_tokenizer

    return build_tokenizer(
        work.draft,
        config=work.project.tokenizers[work.name],
        corpus=work.inputs["corpus"],
        progress=work.progress,
        folder=work.project.folder,
    )


def _fit(project: Project, artifact: Artifact) -> Mapping[str, dg.MetadataValue]:
    """How it fits today's corpus, which may have grown since it was trained."""
    from pipeline.tokenizer.build import measure_fit

    store = ArtifactStore(project.storage_folder)
    corpus = store.require(CORPUS, project.tokenizers[artifact.ref.name].corpus)
    figures = measure_fit(artifact, corpus).figures
    return {
        name: dg.MetadataValue.float(float(value)) for name, value in figures.items() if isinstance(value, int | float)
    }


TOKENIZER = StageAsset(
    stage=STAGE,
    group="tokenizer",
    kinds={"sentencepiece"},
    describe=_describe,
    build=_build,
    checks=(ROUND_TRIP,),
    extra_metadata=_fit,
)
