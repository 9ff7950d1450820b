"""Which text a tokenizer learns from: whole documents, drawn by hash up to a budget, cut into pieces no limit drops.

SentencePiece drops what is longer than `max_sentence_length` without a word, so documents are cut at line ends (or, where
a line is longer still, anywhere between characters) into pieces well below it, and newlines stay inside pieces so that
they are learnt as symbols.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pyarrow.compute as pc
import pyarrow.parquet as pq

MAX_PIECE_CHARACTERS = 4_000
BATCH_ROWS = 512


def draw(path: Path, *, budget_bytes: int, seed: int) -> tuple[frozenset[str] | None, int, int]:
    """The documents to learn from: (their ids, or None for all; how many; their UTF-8 bytes).

    The draw is a threshold on a hash of (seed, id), so it does not depend on the order or number of documents around.
    """
    table = pq.read_table(path, columns=["id", "num_bytes"])
    total = pc.sum(table["num_bytes"]).as_py() or 0
    if total <= budget_bytes:
        return None, table.num_rows, total
    ranked = sorted(
        (hashlib.blake2b(f"{seed}:{id_}".encode(), digest_size=8).digest(), id_, num_bytes)
        for id_, num_bytes in zip(table["id"].to_pylist(), table["num_bytes"].to_pylist(), strict=True)
    )
    chosen: set[str] = set()
    num_bytes = 0
    for _, id_, size in ranked:
        if num_bytes + size > budget_bytes and chosen:
            break
        chosen.add(id_)
        num_bytes += size
    return frozenset(chosen), len(chosen), num_bytes


def texts(path: Path, chosen: frozenset[str] | None = None) -> Iterator[str]:
    """The documents' texts, or those of the chosen ids, in the file's order."""
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(BATCH_ROWS, columns=["id", "text"]):
            for id_, text in zip(batch["id"].to_pylist(), batch["text"].to_pylist(), strict=True):
                if chosen is None or id_ in chosen:
                    yield text


def pieces(text: str) -> Iterator[str]:
    """Cuts a text without losing a character: `"".join(pieces(text)) == text`, each at most MAX_PIECE_CHARACTERS."""
    start = 0
    while start < len(text):
        end = min(start + MAX_PIECE_CHARACTERS, len(text))
        if end < len(text):
            cut = text.rfind("\n", start, end)
            end = cut + 1 if cut >= start else end
        yield text[start:end]
        start = end
