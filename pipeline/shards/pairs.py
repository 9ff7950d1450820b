"""Shards of pairs: a folder of token files, opened, checked and memory-mapped.

In: a folder with `pairs.json` and, for each split, two parallel series of shard files (format.py): document n of
`<split>-00000.source.tokens` and document n of `<split>-00000.target.tokens` are a pair, each `<s> tokens </s>`.
Out: the tokens of each pair, and the dataset's template. Needs numpy alone.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.errors import ArtifactDamaged
from pipeline.shards.format import read_offsets
from pipeline.shards.reader import PAIR_INDEX, open_shard


@dataclass(frozen=True, slots=True, kw_only=True)
class Vocabulary:
    """The tokenizer of one side."""

    vocab_size: int
    tokenizer_hash: str
    bos_id: int
    eos_id: int
    pad_id: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptTemplate:
    """The template in tokens: `<s> prefix text middle target </s>`."""

    prefix_ids: tuple[int, ...]
    middle_ids: tuple[int, ...]
    bos_id: int
    eos_id: int
    keep_source: str
    """`beginning` or `end`: what stays of a text that is too long."""

    @classmethod
    def of(cls, value: Mapping[str, Any], *, bos_id: int, eos_id: int, keep_source: str) -> PromptTemplate:
        """What `pairs.json` says of it."""
        return cls(
            prefix_ids=tuple(map(int, value["prefix_ids"])),
            middle_ids=tuple(map(int, value["middle_ids"])),
            bos_id=bos_id,
            eos_id=eos_id,
            keep_source=keep_source,
        )

    @property
    def num_tokens(self) -> int:
        """Beside text and target, `<s>` and `</s>` included."""
        return len(self.prefix_ids) + len(self.middle_ids) + 2

    def prompt(self, text_ids: Sequence[int] | np.ndarray) -> np.ndarray:
        """What stands before the target, int64."""
        return np.concatenate([[self.bos_id, *self.prefix_ids], text_ids, self.middle_ids]).astype(np.int64)


def shorten(ids: np.ndarray, max_tokens: int, *, keep: str) -> np.ndarray:
    """At most so many tokens of a text without its marks, from its beginning or its end.

    >>> shorten(np.array([5, 6, 7]), 2, keep="end").tolist()
    [6, 7]
    """
    size = min(len(ids), max(max_tokens, 0))
    return ids[:size] if keep == "beginning" else ids[len(ids) - size :]


class PairShards:
    """Pairs by split, memory-mapped and checked."""

    def __init__(self, folder: Path) -> None:
        """Opens and checks what `pairs.json` lists.

        Raises:
            ArtifactDamaged: a file is missing, cut, of another vocabulary, or the two sides are not equally many.
        """
        self.folder = folder
        try:
            index = json.loads((folder / PAIR_INDEX).read_text(encoding="utf-8"))
            self.task, self.keep_source = str(index["task"]), str(index["keep_source"])
            self.source, self.target = (Vocabulary(**index[side]) for side in ("source", "target"))
            self.template = self._template(index["template"])
            files: dict[str, dict[str, list[str]]] = dict(index["files"])
            listed = {split: (list(sides["source"]), list(sides["target"])) for split, sides in files.items()}
        except (FileNotFoundError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise ArtifactDamaged(f"{folder} holds no readable {PAIR_INDEX}. Build the shards again.") from error
        self._sides = {
            split: (Side(folder, source, self.source), Side(folder, target, self.target))
            for split, (source, target) in listed.items()
        }
        for split, (source_side, target_side) in self._sides.items():
            if len(source_side) != len(target_side):
                raise ArtifactDamaged(
                    f"The {split} split has {len(source_side)} sources and {len(target_side)} targets. Build the shards again."
                )

    def _template(self, value: Any) -> PromptTemplate | None:
        if value is None:
            return None
        bos_id, eos_id = self.source.bos_id, self.source.eos_id
        return PromptTemplate.of(value, bos_id=bos_id, eos_id=eos_id, keep_source=self.keep_source)

    @property
    def splits(self) -> tuple[str, ...]:
        return tuple(self._sides)

    def num_pairs(self, split: str) -> int:
        return len(self.sides(split)[0])

    def lengths(self, split: str) -> np.ndarray:
        """Tokens of each source and target, `<s>` and `</s>` included: int64 (N, 2)."""
        return np.stack([side.lengths for side in self.sides(split)], axis=1)

    def pair(self, split: str, number: int) -> tuple[np.ndarray, np.ndarray]:
        """Source and target of a pair, int64, each `<s> tokens </s>`."""
        source, target = self.sides(split)
        return source[number], target[number]

    def sides(self, split: str) -> tuple[Side, Side]:
        """Its sources and its targets.

        Raises:
            ValueError: there is no such split.
        """
        if split not in self._sides:
            raise ValueError(f"there is no split {split!r}; the shards hold {', '.join(self._sides)}")
        return self._sides[split]


class Side:
    """The documents of one side of a split, over its shards."""

    def __init__(self, folder: Path, names: list[str], vocabulary: Vocabulary) -> None:
        self._tokens: list[np.ndarray] = []
        self._offsets: list[np.ndarray] = []
        for name in names:
            path = folder / name
            header, tokens = open_shard(
                path, vocab_size=vocabulary.vocab_size, tokenizer_hash=vocabulary.tokenizer_hash
            )
            self._tokens.append(tokens)
            self._offsets.append(read_offsets(path, header))
        self._ends = np.cumsum([offsets.size - 1 for offsets in self._offsets], dtype=np.int64)
        sizes = [np.diff(offsets) for offsets in self._offsets]
        self.lengths = np.concatenate(sizes) if sizes else np.zeros(0, dtype=np.int64)

    def __len__(self) -> int:
        return self.lengths.size

    def __getitem__(self, number: int) -> np.ndarray:
        shard = int(np.searchsorted(self._ends, number, side="right"))
        offsets = self._offsets[shard]
        place = number - int(self._ends[shard]) + offsets.size - 1
        return self._tokens[shard][offsets[place] : offsets[place + 1]].astype(np.int64)

    def copy_into(
        self, rows: np.ndarray, columns: np.ndarray, numbers: np.ndarray, *, skip: np.ndarray, take: np.ndarray
    ) -> None:
        """Writes, for each document, `take` tokens after its first `skip` into its row from its column on.

        rows (B, L) is written to; the others are int64 (B,).
        """
        steps = np.arange(int(take.max(initial=0)))
        wanted = steps < take[:, None]  # (B, most)
        shard_of = np.searchsorted(self._ends, numbers, side="right")
        for shard in np.unique(shard_of):
            here = np.flatnonzero(shard_of == shard)
            offsets = self._offsets[shard]
            starts = offsets[numbers[here] - self._ends[shard] + offsets.size - 1] + skip[here]
            row, step = np.nonzero(wanted[here])
            rows[here[row], columns[here][row] + step] = self._tokens[shard][starts[row] + step]
