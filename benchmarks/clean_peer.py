"""Datatrove's filters over a folder, run by an interpreter that has it: `MODE FOLDER NUM_WORKERS`.

FOLDER holds Parquet files with `id` and `text`. Modes: `default` (words by spaCy, as datatrove comes) and `whitespace`
(words by `str.split`) run the pipeline and print its seconds as JSON; `decisions` asks every filter about every document
in its own copy, words split at white space, and prints what each rejects. C4 runs as FineWeb runs it, without the rule of
terminal punctuation.
"""

from __future__ import annotations

import importlib.metadata
import json
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from datatrove.data import Document
from datatrove.executor import LocalPipelineExecutor
from datatrove.pipeline.base import PipelineStep
from datatrove.pipeline.filters import (
    C4QualityFilter,
    FineWebQualityFilter,
    GopherQualityFilter,
    GopherRepetitionFilter,
    fineweb_quality_filter,
    gopher_quality_filter,
    gopher_repetition_filter,
)
from datatrove.pipeline.readers import ParquetReader


def main() -> None:
    """Runs one mode and prints what it found."""
    mode, folder, num_workers = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
    found = decide(folder) if mode == "decisions" else run(mode, folder, num_workers)
    print(json.dumps({"version": importlib.metadata.version("datatrove"), **found}))


class SplitAtWhiteSpace(PipelineStep):
    """Makes the filters of this process split words at white space."""

    name = "words at white space"

    def run(self, data: Iterator[Document] | None, rank: int = 0, world_size: int = 1) -> Iterator[Document]:
        """Passes everything on."""
        split_at_white_space()
        yield from data or ()


class WriteIds(PipelineStep):
    """Writes the ids of what is kept, one file a task."""

    name = "ids"

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder

    def run(self, data: Iterator[Document] | None, rank: int = 0, world_size: int = 1) -> Iterator[Document]:
        """Consumes everything."""
        (self.folder / f"{rank}.txt").write_text("\n".join(document.id for document in data or ()))
        yield from ()


def filters() -> dict[str, Any]:
    """The four filters, in the order in which FineWeb runs them."""
    return {
        "gopher_repetition": GopherRepetitionFilter(),
        "gopher": GopherQualityFilter(),
        "c4": C4QualityFilter(filter_no_terminal_punct=False),
        "fineweb": FineWebQualityFilter(),
    }


def run(mode: str, folder: Path, num_workers: int) -> dict[str, Any]:
    """The whole pipeline, files to ids."""
    with tempfile.TemporaryDirectory() as work:
        ids = Path(work) / "ids"
        ids.mkdir()
        steps = [ParquetReader(str(folder)), *filters().values(), WriteIds(ids)]
        if mode == "whitespace":
            steps.insert(0, SplitAtWhiteSpace())
        executor = LocalPipelineExecutor(
            steps, tasks=num_workers, workers=num_workers, logging_dir=f"{work}/logs", skip_completed=False
        )
        started = time.perf_counter()
        executor.run()
        seconds = time.perf_counter() - started
        kept = sum(len(path.read_text().split()) for path in ids.iterdir())
    return {"seconds": seconds, "kept": kept}


def decide(folder: Path) -> dict[str, Any]:
    """What each filter rejects, and why."""
    split_at_white_space()
    rejected: dict[str, dict[str, str]] = {name: {} for name in filters()}
    for name, one in filters().items():
        for document in ParquetReader(str(folder)).run():
            try:
                answer = one.filter(document)
            except ZeroDivisionError:
                answer = (False, "division by zero")
            if answer is not True:
                rejected[name][document.id] = answer[1]
    return {"rejected": rejected}


def split_at_white_space() -> None:
    """Replaces the word splitter that the filters imported."""
    for module in (gopher_repetition_filter, gopher_quality_filter, fineweb_quality_filter):
        module.split_into_words = lambda text, language: text.split()


if __name__ == "__main__":
    main()
