"""The test split of a corpus: which documents are measured, and their texts.

In: `documents/test.parquet` and how many documents at most. Out: ids, texts and pairs in the order of the file.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from pipeline.evaluation.metrics.totals import Documents
from pipeline.evaluation.samples import pick_openings
from pipeline.files import parquet_batches

_ROWS = 256
_COLUMNS = ["id", "text_hash", "source", "num_bytes", "text", "group_id"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PairRow:
    """A document with a target."""

    id: str
    text_hash: str
    source: str
    text: str
    target: str
    group_id: str | None
    """What the pair hangs together with: a conversation, the context of questions."""


def chosen_ids(test: Path, *, max_documents: int | None) -> set[str]:
    """The smallest ids: they are hashes, so this is a sample, and the same one for every model of the corpus."""
    return set(sorted(pq.read_table(test, columns=["id"])["id"].to_pylist())[:max_documents])


def read_texts(test: Path, ids: set[str]) -> Iterator[str]:
    """The texts of the chosen documents, in the order of the file."""
    for batch in parquet_batches(test, columns=["id", "text"], num_rows=_ROWS):
        for document, text in zip(batch["id"].to_pylist(), batch["text"], strict=True):
            if document in ids:
                yield text.as_py()


def read_pairs(test: Path, ids: set[str] | None = None) -> list[PairRow]:
    """The chosen documents with their targets, or all of them, in the order of the file."""
    columns = ["id", "text_hash", "source", "text", "target", "group_id"]
    rows = pq.read_table(test, columns=columns).to_pylist()
    return [PairRow(**row) for row in rows if (ids is None or row["id"] in ids) and row["target"]]


def describe(test: Path, ids: set[str], *, num_openings: int) -> tuple[Documents, list[str]]:
    """The chosen documents without their texts, and openings of some of each source."""
    rows: list[dict[str, Any]] = []
    first_texts: dict[str, list[str]] = {}
    for batch in parquet_batches(test, columns=_COLUMNS, num_rows=_ROWS):
        for row in batch.to_pylist():
            if row["id"] not in ids:
                continue
            text = row.pop("text")
            # not the signal `num_words`, which cuts Chinese by a dictionary and takes marks for words in most languages
            rows.append({**row, "num_words": len(text.split())})
            seen = first_texts.setdefault(row["source"], [])
            if len(seen) < num_openings and text.strip():
                seen.append(text)
    documents = Documents(
        ids=[row["id"] for row in rows],
        text_hashes=[row["text_hash"] for row in rows],
        sources=np.array([row["source"] for row in rows], dtype=object),
        num_bytes=np.array([row["num_bytes"] for row in rows], dtype=np.int64),
        num_words=np.array([row["num_words"] for row in rows], dtype=np.int64),
        groups=[row["group_id"] for row in rows],
    )
    return documents, pick_openings(first_texts, count=num_openings)


def num_characters(test: Path, ids: set[str]) -> int:
    """Of the chosen texts together."""
    table = pq.read_table(test, columns=["id", "num_characters"])
    pairs = zip(table["id"].to_pylist(), table["num_characters"].to_pylist(), strict=True)
    return sum(count for document, count in pairs if document in ids)
