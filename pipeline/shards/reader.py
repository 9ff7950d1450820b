"""The shards of one dataset: checked on opening, memory-mapped on use.

In: a folder with `shards.json` and the files it lists. Trade-off: opening compares every id with the vocabulary, which
reads each shard once (about 1 GB/s); training then indexes embeddings without a check.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from pipeline.errors import ArtifactDamaged, TrainingError
from pipeline.shards.format import Header, map_tokens, read_header, read_offsets

INDEX, PAIR_INDEX = "shards.json", "pairs.json"
_CHECK_TOKENS = 1 << 24


def open_shard(path: Path, *, vocab_size: int, tokenizer_hash: str) -> tuple[Header, np.ndarray]:
    """A shard's header and its memory-mapped tokens, each of them looked at once.

    Raises:
        ArtifactDamaged: it is missing, cut, of another vocabulary, or holds an id outside it.
    """
    if not path.is_file():
        raise ArtifactDamaged(f"{path.name} is listed and not there. Build the shards again.")
    header = read_header(path)
    if (header.vocab_size, header.tokenizer_hash) != (vocab_size, tokenizer_hash):
        raise ArtifactDamaged(f"{path.name} was made with another tokenizer than its folder says. Build it again.")
    tokens = map_tokens(path, header)
    for start in range(0, tokens.size, _CHECK_TOKENS):
        largest = int(tokens[start : start + _CHECK_TOKENS].max())
        if largest >= vocab_size:
            raise ArtifactDamaged(f"{path.name} holds the token id {largest}; its vocabulary has {vocab_size}.")
    return header, tokens


def has_pairs(folder: Path) -> bool:
    """Whether shards hold pairs, not streams."""
    return (folder / PAIR_INDEX).is_file()


class TokenShards:
    """Token streams by split; every document is `<s> tokens </s>`."""

    def __init__(self, folder: Path) -> None:
        """Opens and checks what `shards.json` lists.

        Raises:
            TrainingError: the folder holds pairs.
            ArtifactDamaged: a file is missing, cut, of another vocabulary, or holds an id outside it.
        """
        self.folder = folder
        if has_pairs(folder):
            raise TrainingError(
                "The dataset holds pairs, and this family learns from text alone. Set the dataset's task to language_model, "
                "or choose a family that learns from pairs."
            )
        try:
            index = json.loads((folder / INDEX).read_text(encoding="utf-8"))
            self.vocab_size = int(index["vocab_size"])
            self.tokenizer_hash = str(index["tokenizer_hash"])
            self.bos_id, self.eos_id, self.pad_id = (int(index[key]) for key in ("bos_id", "eos_id", "pad_id"))
            files: dict[str, list[str]] = {split: list(names) for split, names in index["files"].items()}
        except (FileNotFoundError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise ArtifactDamaged(f"{folder} holds no readable {INDEX}. Build the shards again.") from error
        self._files = files
        self._tokens = {split: [self._open(name) for name in names] for split, names in files.items()}

    def _open(self, name: str) -> np.ndarray:
        return open_shard(self.folder / name, vocab_size=self.vocab_size, tokenizer_hash=self.tokenizer_hash)[1]

    @property
    def splits(self) -> tuple[str, ...]:
        return tuple(self._tokens)

    def num_tokens(self, split: str) -> int:
        """Tokens of a split, BOS and EOS included."""
        return sum(part.size for part in self.tokens(split))

    def document_offsets(self, split: str) -> np.ndarray:
        """Where the documents of a split begin in its stream, and where the last one ends: int64.

        Raises:
            ArtifactDamaged: a file's offsets do not cover its tokens.
        """
        offsets, begin = [np.zeros(1, dtype=np.int64)], 0
        for name in self._files[split]:
            path = self.folder / name
            found = read_offsets(path, read_header(path))
            offsets.append(begin + found[1:])
            begin += int(found[-1])
        return np.concatenate(offsets)

    def tokens(self, split: str) -> list[np.ndarray]:
        """The split's memory-mapped arrays (uint16 or uint32), in stream order; none where it has no document.

        Raises:
            ValueError: there is no such split.
        """
        if split not in self._tokens:
            raise ValueError(f"there is no split {split!r}; the shards hold {', '.join(self._tokens)}")
        return list(self._tokens[split])
