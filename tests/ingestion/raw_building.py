"""Raw documents built from files of a test's folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from pipeline.artifacts import Artifact, ArtifactStore
from pipeline.config import EngineConfig
from pipeline.config.data import SourceConfig, TextSource
from pipeline.ingestion.build import build_raw_documents
from pipeline.progress import SilentProgress


class Notes(SilentProgress):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def note(self, text: str) -> None:
        self.lines.append(text)


def build(
    folder: Path, config: SourceConfig, *, storage: str = "storage", num_workers: int = 1, progress: Any = None
) -> Artifact:
    store = ArtifactStore(folder / storage)
    with store.draft(
        stage="raw_documents", name="notes", version="v", code_version="1", literals={}, inputs={}
    ) as draft:
        return build_raw_documents(
            draft,
            name="notes",
            config=config,
            folder=folder,
            cache_folder=folder / storage,
            engine=EngineConfig(workers=num_workers),
            progress=progress or SilentProgress(),
        )


def rows(artifact: Artifact, pattern: str) -> list[dict[str, Any]]:
    return [row for path in artifact.files(pattern) for row in pq.read_table(path).to_pylist()]


def in_order(artifact: Artifact, pattern: str) -> list[dict[str, Any]]:
    """Rows as their files have them, whatever parts they came in."""
    return sorted(rows(artifact, pattern), key=lambda row: (row["path"], row["index"]))


def text_source(**settings: Any) -> TextSource:
    return TextSource(reader="text", path="notes", **settings)
