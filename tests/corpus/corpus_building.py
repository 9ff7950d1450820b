"""Corpora of a few rows, built in a folder that keeps its caches between builds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.artifacts import Artifact, ArtifactStore, Report
from pipeline.cleaning.pairs import pair_columns
from pipeline.config import CorpusConfig, EngineConfig
from pipeline.corpus.build import build_corpus
from pipeline.corpus.layout import reject_files
from pipeline.files import write_parquet
from pipeline.progress import SilentProgress
from pipeline.records import CLEAN_SCHEMA, document_id

_WORDS: dict[str, Any] = {"code_version": "1", "literals": {}, "inputs": {}}


def clean_row(text: str, index: int = 0, **changes: Any) -> dict[str, Any]:
    row = {
        "id": document_id(text),
        "source": "notes",
        "path": "a.txt",
        "index": index,
        "text": text,
        "num_bytes": len(text.encode()),
        "raw_bytes": len(text.encode()),
        "text_hash": document_id(text),
        "language": "en",
        "language_confidence": 0.9,
        "num_characters": len(text),
        "num_words": len(text.split()),
        "num_lines": text.count("\n") + 1,
        "letter_fraction": sum(map(str.isalpha, text)) / max(len(text), 1),
        "duplicate_line_fraction": 0.0,
        "repaired": False,
    }
    return row | changes


def pair_row(text: str, target: str, index: int = 0, **changes: Any) -> dict[str, Any]:
    """A clean pair; its id is a hash of both sides."""
    columns = {name: values[0] for name, values in pair_columns([text], [target]).items()}
    id_ = document_id(text, target)
    return clean_row(text, index) | {"id": id_, "text_hash": id_, "target": target} | columns | changes


def clean_artifact(store: ArtifactStore, name: str, rows: list[dict[str, Any]], num_files: int = 1) -> Artifact:
    """Clean documents of a source; those that are there already are found."""
    found = store.find("clean_documents", name, "v")
    if found is not None:
        return found
    with store.draft(stage="clean_documents", name=name, version="v", **_WORDS) as draft:
        for number in range(num_files):
            table = pa.Table.from_pylist([row | {"source": name} for row in rows[number::num_files]], CLEAN_SCHEMA)
            write_parquet(draft.path(f"documents/{number}.parquet"), table)
        return draft.commit(counts={}, report=Report())


def build_from(
    folder: Path,
    rows_of: dict[str, list[dict[str, Any]]],
    /,
    *,
    name: str = "english",
    num_files: int = 1,
    num_workers: int = 1,
    version: str | None = None,
    against: dict[str, Artifact] | None = None,
    fixed: dict[str, str] | None = None,
    **settings: Any,
) -> Artifact:
    """A corpus of these rows by source, each of one epoch unless `sources` among the settings says otherwise.

    Another set of sources is another version, which finds the caches of the first.
    """
    store = ArtifactStore(folder)
    inputs = {source: clean_artifact(store, source, rows, num_files) for source, rows in rows_of.items()}
    config = CorpusConfig.model_validate({"sources": dict.fromkeys(rows_of, 1.0)} | settings)
    with store.draft(stage="corpus", name=name, version=version or "-".join(rows_of), **_WORDS) as draft:
        return build_corpus(
            draft,
            config=config,
            sources=inputs,
            against=against,
            fixed_splits=fixed,
            engine=EngineConfig(workers=num_workers),
            progress=SilentProgress(),
        )


def documents_of(artifact: Artifact) -> list[dict[str, Any]]:
    return [row for path in artifact.files("documents/*.parquet") for row in pq.read_table(path).to_pylist()]


def rejects_of(artifact: Artifact) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pq.read_table(reject_files(artifact)).to_pylist()
    return rows
