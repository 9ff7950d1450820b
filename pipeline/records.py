"""What flows between the data stages: the documents' columns, the rejects' columns, and the ledger that must balance.

A document's `id` is a hash of its raw text, so it is the same in any order of arrival and wherever the file lies; two
identical texts share an id, and the corpus keeps one of them.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from pipeline.config.columns import SIGNAL_COUNTS, SIGNAL_FRACTIONS
from pipeline.errors import StageError

RAW_SCHEMA = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),  # document_id(text, target)
        pa.field("source", pa.string(), nullable=False),  # the source's name in the project file
        pa.field("path", pa.string(), nullable=False),  # relative to the source's folder; provenance only
        pa.field("index", pa.int64(), nullable=False),  # position within its file
        pa.field("title", pa.string()),
        pa.field("text", pa.large_string(), nullable=False),
        pa.field("num_bytes", pa.int64(), nullable=False),  # UTF-8 bytes of `text`
        pa.field("target", pa.large_string()),  # the other half of a pair (a translation, an answer); None for others
        pa.field("group_id", pa.string()),  # what no split may part: a conversation, the context of questions; or None
    ]
)

CLEAN_SCHEMA = pa.schema(
    [
        *RAW_SCHEMA,  # `text` is the cleaned text, `num_bytes` its UTF-8 bytes; `id` stays that of the raw text
        pa.field("raw_bytes", pa.int64(), nullable=False),  # UTF-8 bytes of the raw text
        pa.field(
            "text_hash", pa.string(), nullable=False
        ),  # document_id(cleaned text, target): exact duplicates share it
        pa.field("language", pa.string(), nullable=False),  # ISO 639-1, or "und"
        pa.field("language_confidence", pa.float32(), nullable=False),  # 0 to 1
        pa.field("num_characters", pa.int64(), nullable=False),
        pa.field("num_words", pa.int64(), nullable=False),  # white-space separated
        pa.field("num_lines", pa.int64(), nullable=False),
        pa.field("letter_fraction", pa.float32(), nullable=False),  # letters per character, 0 to 1
        pa.field("duplicate_line_fraction", pa.float32(), nullable=False),  # repeated non-empty lines, 0 to 1
        pa.field("repaired", pa.bool_(), nullable=False),  # mojibake was repaired
        pa.field("redactions", pa.map_(pa.string(), pa.int32())),  # kind of personal data -> placeholders put; or None
        pa.field(
            "target_language", pa.string()
        ),  # this and what follows of pairs alone, else null: ISO 639-1, or "und"
        pa.field("target_language_confidence", pa.float32()),  # 0 to 1
        pa.field("target_characters", pa.int64()),
        pa.field("length_ratio", pa.float32()),  # characters of the target per character of the text
        pa.field("source_hash", pa.string()),  # of the text's words: equal sentences share it
        pa.field("target_hash", pa.string()),  # of the target's words
        *(pa.field(name, pa.int64()) for name in SIGNAL_COUNTS),
        *(pa.field(name, pa.float32()) for name in SIGNAL_FRACTIONS),
    ]
)

CORPUS_SCHEMA = pa.schema(
    [
        *CLEAN_SCHEMA,
        pa.field("cluster_id", pa.string(), nullable=False),  # the smallest id among its duplicates
        pa.field("cluster_size", pa.int64(), nullable=False),
        pa.field("split", pa.string(), nullable=False),  # train | validation | test
        pa.field("repeats", pa.int32(), nullable=False),  # how often training reads it, 0 or more; 1 if held out
    ]
)

REJECT_SCHEMA = pa.schema(
    [
        pa.field("stage", pa.string(), nullable=False),
        pa.field("source", pa.string(), nullable=False),
        pa.field("path", pa.string(), nullable=False),
        pa.field("index", pa.int64(), nullable=False),  # position within the file (line of JSONL), from 0
        pa.field("id", pa.string()),  # None where no text could be read
        pa.field("reason", pa.string(), nullable=False),  # the rule's name or a fixed word: the ledger counts by it
        pa.field("detail", pa.string(), nullable=False),  # one sentence: value and threshold, or the parser's words
        pa.field("value", pa.float64()),  # what the rule compared; None where it compares no number
        pa.field("threshold", pa.float64()),  # with what
        pa.field("cluster_id", pa.string()),  # of a duplicate: the cluster, named by the document that was kept
        pa.field("num_bytes", pa.int64(), nullable=False),
        pa.field("excerpt", pa.string()),  # at most 200 characters
    ]
)

SPLITS = ("train", "validation", "test")


def document_id(text: str, target: str | None = None) -> str:
    """32 hexadecimal digits that depend on the text, or the pair, alone (BLAKE2b, 128 bits; lone surrogates are kept).

    A pair's two halves are hashed with their lengths between, so that no two pairs run together to the same bytes.
    """
    digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16)
    if target is not None:
        digest.update(f"\0{len(text)} {len(target)}\0".encode() + target.encode("utf-8", "surrogatepass"))
    return digest.hexdigest()


_REASONS_NAMED = 5


@dataclass(slots=True, kw_only=True)
class Count:
    """Documents and bytes."""

    documents: int = 0
    num_bytes: int = 0

    def add(self, *, documents: int = 1, num_bytes: int) -> None:
        self.documents += documents
        self.num_bytes += num_bytes


@dataclass(slots=True, kw_only=True)
class Ledger:
    """What came in, what was kept, what was rejected and why; bytes are those of the stage's input on every side.

    >>> ledger = Ledger()
    >>> ledger.take(num_bytes=10); ledger.keep(num_bytes=10)
    >>> ledger.check("clean_documents/novels")
    """

    taken: Count = field(default_factory=Count)
    kept: Count = field(default_factory=Count)
    rejected: dict[str, Count] = field(default_factory=dict)

    def take(self, *, documents: int = 1, num_bytes: int) -> None:
        self.taken.add(documents=documents, num_bytes=num_bytes)

    def keep(self, *, documents: int = 1, num_bytes: int) -> None:
        self.kept.add(documents=documents, num_bytes=num_bytes)

    def reject(self, reason: str, *, documents: int = 1, num_bytes: int) -> None:
        self.rejected.setdefault(reason, Count()).add(documents=documents, num_bytes=num_bytes)

    def merge(self, other: Ledger) -> None:
        """Adds another part's counts to these."""
        self.take(documents=other.taken.documents, num_bytes=other.taken.num_bytes)
        self.keep(documents=other.kept.documents, num_bytes=other.kept.num_bytes)
        for reason, count in other.rejected.items():
            self.reject(reason, documents=count.documents, num_bytes=count.num_bytes)

    def check(self, where: str) -> None:
        """Accounts for every document and byte.

        Raises:
            StageError: in is not kept plus rejected.
        """
        documents = self.kept.documents + sum(count.documents for count in self.rejected.values())
        num_bytes = self.kept.num_bytes + sum(count.num_bytes for count in self.rejected.values())
        if (documents, num_bytes) != (self.taken.documents, self.taken.num_bytes):
            raise StageError(
                f"{where}: the ledger does not balance: {self.taken.documents} documents ({self.taken.num_bytes} bytes)"
                f" came in, {documents} ({num_bytes} bytes) are accounted for. This is a fault of textmill; report it."
            )

    def in_words(self) -> str:
        """What was kept, and the commonest reasons for what was not: "2 of 5 documents kept (rejected: empty 2, too_short 1)"."""
        if not self.rejected:
            return f"{self.kept.documents:,} documents"
        commonest = sorted(self.rejected.items(), key=lambda entry: (-entry[1].documents, entry[0]))
        named = ", ".join(f"{reason} {count.documents:,}" for reason, count in commonest[:_REASONS_NAMED])
        more = ", ..." if len(commonest) > _REASONS_NAMED else ""
        return f"{self.kept.documents:,} of {self.taken.documents:,} documents kept (rejected: {named}{more})"

    def to_json(self) -> dict[str, Any]:
        """The ledger as the manifest holds it."""
        return {
            "taken": {"documents": self.taken.documents, "bytes": self.taken.num_bytes},
            "kept": {"documents": self.kept.documents, "bytes": self.kept.num_bytes},
            "rejected": {
                reason: {"documents": count.documents, "bytes": count.num_bytes}
                for reason, count in sorted(self.rejected.items())
            },
        }

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Ledger:
        """The inverse of `to_json`."""

        def count(entry: dict[str, int]) -> Count:
            return Count(documents=entry["documents"], num_bytes=entry["bytes"])

        return cls(
            taken=count(value["taken"]),
            kept=count(value["kept"]),
            rejected={reason: count(entry) for reason, entry in value["rejected"].items()},
        )
