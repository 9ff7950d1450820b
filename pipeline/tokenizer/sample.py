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

import pyarrow.compute as pc
import pyarrow.parquet as pq

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


def draw(paths: Sequence[Path], *, budget_bytes: int, seed: int) -> dict[str, int] | None:
    """How many bytes of which documents to learn from, in the order of a seeded hash of the ids; None means all.

    The document that crosses the budget gives its beginning, so that one long document cannot spoil the sample.
    """
    table = pq.read_table(paths, columns=["id", "num_bytes"])
    if (pc.sum(table["num_bytes"]).as_py() or 0) <= budget_bytes:
        return None
    ranked = sorted(
        (hashlib.blake2b(f"{seed}:{id_}".encode(), digest_size=8).digest(), id_, num_bytes)
        for id_, num_bytes in zip(table["id"].to_pylist(), table["num_bytes"].to_pylist(), strict=True)
    )
    shares: dict[str, int] = {}
    left = budget_bytes
    for _, id_, num_bytes in ranked:
        if left <= 0:
            break
        shares[id_] = min(num_bytes, left)
        left -= num_bytes
    return shares


def texts(paths: Sequence[Path], shares: Mapping[str, int] | None = None) -> Iterator[str]:
    """The documents' texts, or the shares of those drawn, in the files' order."""
    for path in paths:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(BATCH_ROWS, columns=["id", "text"]):
                for id_, text in zip(batch["id"].to_pylist(), batch["text"].to_pylist(), strict=True):
                    if shares is None:
                        yield text
                    elif id_ in shares:
                        yield text.encode()[: shares[id_]].decode(errors="ignore")


def sentences(paths: Sequence[Path], shares: Mapping[str, int] | None, account: Account) -> Iterator[str]:
    """What SentencePiece learns from; `account` counts it as it goes by."""
    for text in texts(paths, shares):
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
