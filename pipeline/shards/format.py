"""One shard file: a 128-byte header, token ids, document offsets; little-endian throughout.

| bytes | what |
|---|---|
| 0-7 | magic `TXTMILL1` |
| 8-11, 12-15 | format version; bytes a token (2 or 4) |
| 16-23, 24-31, 32-39 | vocabulary size; tokens; documents |
| 40-103 | the tokenizer's hash, 64 ASCII digits |
| 128... | tokens, then documents + 1 offsets (uint64, counted in tokens) |

Offsets stand last so that tokens can be streamed; the header is written when both are there, and until then it is zeros.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from pipeline.errors import ArtifactDamaged

MAGIC = b"TXTMILL1"
VERSION = 1
HEADER_BYTES = 128
_HEADER = struct.Struct("<8sIIQQQ64s")


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """What a shard says of itself."""

    token_bytes: int
    vocab_size: int
    num_tokens: int
    num_documents: int
    tokenizer_hash: str

    @property
    def dtype(self) -> np.dtype:
        return np.dtype("<u2" if self.token_bytes == 2 else "<u4")

    @property
    def file_bytes(self) -> int:
        return HEADER_BYTES + self.num_tokens * self.token_bytes + (self.num_documents + 1) * 8


def token_bytes_for(vocab_size: int) -> int:
    """2 where every id fits in 16 bits, else 4."""
    return 2 if vocab_size <= 1 << 16 else 4


class ShardWriter:
    """Streams documents into one shard file; `close` completes it."""

    def __init__(self, path: Path, *, vocab_size: int, tokenizer_hash: str) -> None:
        self._file: BinaryIO = path.open("wb")
        self._file.write(bytes(HEADER_BYTES))
        self._vocab_size, self._tokenizer_hash = vocab_size, tokenizer_hash
        self._token_bytes = token_bytes_for(vocab_size)
        self._dtype = np.dtype("<u2" if self._token_bytes == 2 else "<u4")
        self._ends = [np.zeros(1, dtype=np.int64)]
        self.num_tokens = 0

    def add(self, tokens: np.ndarray, sizes: np.ndarray | Sequence[int] | None = None) -> None:
        """Appends documents: their tokens end to end, and the tokens each has; without sizes, one document.

        Raises:
            ValueError: an id outside the vocabulary.
        """
        sizes = np.asarray([tokens.size] if sizes is None else sizes, dtype=np.int64)
        assert int(sizes.sum()) == tokens.size, f"{sizes.sum()} tokens announced, {tokens.size} given"
        if tokens.size and not 0 <= int(tokens.min()) <= int(tokens.max()) < self._vocab_size:
            outside = int(tokens.min()) if tokens.min() < 0 else int(tokens.max())
            raise ValueError(f"token id {outside} is outside the vocabulary of {self._vocab_size}")
        self._file.write(tokens.astype(self._dtype).data)
        self._ends.append(self.num_tokens + np.cumsum(sizes))
        self.num_tokens += tokens.size

    def close(self) -> None:
        """Writes offsets and header."""
        offsets = np.concatenate(self._ends).astype("<u8")
        self._file.write(offsets.data)
        self._file.seek(0)
        fields = (MAGIC, VERSION, self._token_bytes, self._vocab_size, self.num_tokens, offsets.size - 1)
        self._file.write(_HEADER.pack(*fields, self._tokenizer_hash.encode("ascii")))
        self._file.close()

    def abandon(self) -> None:
        """Closes the file as it is; without a header no reader takes it."""
        self._file.close()


def read_header(path: Path) -> Header:
    """The header of a shard whose size is what it promises.

    Raises:
        ArtifactDamaged: no shard, another format version, or cut short; one sentence.
    """
    with path.open("rb") as file:
        data = file.read(HEADER_BYTES)
    if len(data) < HEADER_BYTES or not data.startswith(MAGIC):
        raise ArtifactDamaged(
            f"{path.name} is no token shard: its header is missing. Delete its version and run again."
        )
    _, version, token_bytes, vocab_size, num_tokens, num_documents, hash_ = _HEADER.unpack_from(data)
    if version != VERSION or token_bytes not in (2, 4):
        raise ArtifactDamaged(f"{path.name} has shard format {version}/{token_bytes}, not {VERSION}. Build it again.")
    header = Header(
        token_bytes=token_bytes,
        vocab_size=vocab_size,
        num_tokens=num_tokens,
        num_documents=num_documents,
        tokenizer_hash=hash_.decode("ascii", "replace"),
    )
    if path.stat().st_size != header.file_bytes:
        raise ArtifactDamaged(
            f"{path.name} has {path.stat().st_size} bytes where its header promises {header.file_bytes}. Build it again."
        )
    return header


def map_tokens(path: Path, header: Header) -> np.ndarray:
    """The tokens of a shard, memory-mapped, read-only."""
    if header.num_tokens == 0:
        return np.empty(0, dtype=header.dtype)
    return np.memmap(path, dtype=header.dtype, mode="r", offset=HEADER_BYTES, shape=(header.num_tokens,))


def read_offsets(path: Path, header: Header) -> np.ndarray:
    """Where documents begin, in tokens: int64, one more than documents.

    Raises:
        ArtifactDamaged: they do not rise from 0 to the number of tokens.
    """
    start = HEADER_BYTES + header.num_tokens * header.token_bytes
    offsets = np.fromfile(path, dtype="<u8", offset=start, count=header.num_documents + 1).astype(np.int64)
    if offsets[0] != 0 or offsets[-1] != header.num_tokens or (np.diff(offsets) < 0).any():
        raise ArtifactDamaged(f"{path.name} has document offsets that do not cover its tokens. Build it again.")
    return offsets
