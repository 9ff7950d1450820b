"""Where a corpus keeps its documents: the one place that knows.

The training split and the rejects lie in bins, `documents/train-<bin>.parquet` and `rejects/<bin>.parquet`; the held-out
splits, a hundredth of the text, in one file each, `documents/validation.parquet` and `documents/test.parquet`. Every file
is sorted by id, a random order.

A bin holds what came from some files of clean documents, so that new files leave most bins as they are. Which bin a file
falls into is a hash of its name, which is a hash of its content, and there are as many bins as the text's size asks for:
both are functions of the documents, whatever was built before. Below two bins' size there is one bin, whatever the files.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from pipeline.artifacts import Artifact

BIN_BYTES = 2_000_000
"""A bin's text at least, and twice this at most, on average: little to rewrite for one document, enough for a file."""


def num_bins(num_bytes: int) -> int:
    """A power of two, so that a corpus is laid out anew only when it has doubled: 8 for 16 to 31 MB."""
    return 1 << max(num_bytes // BIN_BYTES, 1).bit_length() - 1


def bin_of(source: str, clean: Path, *, num_bins: int) -> int:
    """Where the documents of a source's file of clean documents go."""
    digest = hashlib.blake2b(f"{source}/{clean.stem}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") % num_bins


def train_file(number: int) -> str:
    """A bin's training documents, in the artifact."""
    return f"documents/train-{number:05d}.parquet"


def rejects_file(number: int) -> str:
    """A bin's rejects, in the artifact."""
    return f"rejects/{number:05d}.parquet"


def train_files(corpus: Artifact) -> list[Path]:
    """The training split, in order."""
    return corpus.files("documents/train*.parquet")


def split_files(corpus: Artifact, split: str) -> list[Path]:
    """A split, in order."""
    return train_files(corpus) if split == "train" else [corpus.file(f"documents/{split}.parquet")]


def reject_files(corpus: Artifact) -> list[Path]:
    """The rejects of the corpus stage, in order."""
    return corpus.files("rejects*.parquet")
