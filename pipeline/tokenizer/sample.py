"""Which text a tokenizer learns from: documents drawn by hash up to a budget, cut into sentences that no limit drops.

SentencePiece drops, without a word, a sentence longer than `max_sentence_length`, one that holds U+2585, and line ends at a
sentence's end. So documents are cut before line ends (or, where a line is longer still, between any two characters),
and the two characters that SentencePiece keeps for itself are cut out and counted.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.files import parquet_batches

Sides = Literal["both", "text", "target"]

MAX_SENTENCE_CHARACTERS = 4_000
BATCH_ROWS = 512
_RESERVED = re.compile("[\u2581\u2585\0]")
"""SentencePiece's signs for a space and for an unknown character, and NUL, which it takes for a broken encoding."""


@dataclass(slots=True, kw_only=True)
class Account:
    """What was handed to SentencePiece, and what was not."""

    num_documents: int = 0
    num_bytes: int = 0
    num_reserved_characters: int = 0
    """Left out of the training; texts that hold them are encoded and come back as any other."""


def sizes(paths: Sequence[Path], sides: Sides = "both") -> tuple[list[str], np.ndarray]:
    """The ids of the files' documents, and the UTF-8 bytes of what is learnt from each, int64."""
    ids: list[str] = []
    num_bytes: list[np.ndarray] = []
    for path in paths:
        with pq.ParquetFile(path) as file:
            has_targets = "target" in file.schema_arrow.names and sides != "text"
            columns = ["id", "num_bytes", *(["target"] if has_targets else [])]
            for batch in file.iter_batches(columns=columns):
                ids += batch["id"].to_pylist()
                size = batch["num_bytes"].to_numpy()
                if has_targets:
                    targets = pc.binary_length(batch["target"].cast(pa.large_binary()))
                    of_targets = pc.fill_null(targets, 0).to_numpy(zero_copy_only=False)
                    is_text = pc.is_null(targets).to_numpy(zero_copy_only=False)
                    size = size + of_targets if sides == "both" else np.where(is_text, size, of_targets)
                num_bytes.append(size.astype(np.int64))
    return ids, np.concatenate(num_bytes) if num_bytes else np.zeros(0, dtype=np.int64)


def draw(paths: Sequence[Path], *, budget_bytes: int, seed: int, sides: Sides = "both") -> dict[str, int] | None:
    """How many bytes of which documents to learn from, in the order of a seeded hash of the ids; None means all.

    The document that crosses the budget gives its beginning, so that one long document cannot spoil the sample.
    """
    ids, num_bytes_of = sizes(paths, sides)
    if int(num_bytes_of.sum()) <= budget_bytes:
        return None
    ranked = sorted(
        (hashlib.blake2b(f"{seed}:{id_}".encode(), digest_size=8).digest(), id_, num_bytes)
        for id_, num_bytes in zip(ids, num_bytes_of.tolist(), strict=True)
    )
    shares: dict[str, int] = {}
    left = budget_bytes
    for _, id_, num_bytes in ranked:
        if left <= 0:
            break
        shares[id_] = min(num_bytes, left)
        left -= num_bytes
    return shares


def texts(paths: Sequence[Path], shares: Mapping[str, int] | None = None, sides: Sides = "both") -> Iterator[str]:
    """The documents' texts, or the shares of those drawn, in the files' order; of a pair the sides asked for, one after the
    other. A document without a target is its text."""
    for path in paths:
        with pq.ParquetFile(path) as file:
            columns = ["id", "text", *(["target"] if "target" in file.schema_arrow.names else [])]
        for batch in parquet_batches(path, columns=columns, num_rows=BATCH_ROWS):
            yield from _texts_of(batch, shares, sides)


def _texts_of(batch: pa.RecordBatch, shares: Mapping[str, int] | None, sides: Sides) -> Iterator[str]:
    targets = batch["target"].to_pylist() if "target" in batch.schema.names else [None] * batch.num_rows
    for id_, text, target in zip(batch["id"].to_pylist(), batch["text"].to_pylist(), targets, strict=True):
        halves = [text] if target is None else {"both": [text, target], "text": [text], "target": [target]}[sides]
        if shares is None:
            yield from halves
        elif id_ in shares:
            yield from _beginning(halves, shares[id_])


def _beginning(halves: list[str], num_bytes: int) -> Iterator[str]:
    for half in halves:
        data = half.encode()
        yield data[:num_bytes].decode(errors="ignore")
        num_bytes -= min(num_bytes, len(data))


def sentences(
    paths: Sequence[Path], shares: Mapping[str, int] | None, account: Account, sides: Sides = "both"
) -> Iterator[str]:
    """What SentencePiece learns from; `account` counts it as it goes by."""
    for text in texts(paths, shares, sides):
        account.num_documents += 1
        account.num_bytes += len(text.encode())
        for number, part in enumerate(_RESERVED.split(text)):
            account.num_reserved_characters += number > 0
            yield from cut(part)


def cut(text: str) -> Iterator[str]:
    """Cuts a text without losing a character: `"".join(cut(text)) == text`, each part MAX_SENTENCE_CHARACTERS at most."""
    start = 0
    while start < len(text):
        end = min(start + MAX_SENTENCE_CHARACTERS, len(text))
        if end < len(text):
            line_end = text.rfind("\n", start + 1, end)
            end = line_end if line_end > 0 else end
        yield text[start:end]
        start = end
