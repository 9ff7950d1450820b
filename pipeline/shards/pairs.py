"""Shards of pairs, and the batches that training reads from them.

In: a folder with `pairs.json` and, for each split, two parallel series of shard files (format.py): document n of
`<split>-00000.source.tokens` and document n of `<split>-00000.target.tokens` are a pair, each `<s> tokens </s>`.
Out: for an encoder-decoder, sources (B, S) and targets (B, T); for a decoder alone, the two in one row through the dataset's
template, with the loss on the target or on both. Which pairs share a batch is told by buckets.py. Needs numpy alone.

What does not fit a model: a source is cut at the end that the dataset names, `<s>` and `</s>` stay; a pair whose target does
not fit is left out. Both are counted.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.errors import ArtifactDamaged, ConfigurationError
from pipeline.shards.buckets import Schedule
from pipeline.shards.format import read_offsets
from pipeline.shards.reader import PAIR_INDEX, open_shard

IGNORED = -100
"""In targets: a position without a loss; torch's own default."""


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

    def prompt(self, text_ids: Sequence[int] | np.ndarray, *, max_tokens: int | None = None) -> np.ndarray:
        """What stands before the target, int64; the text is cut where the prompt would have more than `max_tokens`."""
        text = np.asarray(text_ids, dtype=np.int64)
        if max_tokens is not None:
            text = shorten(text, max_tokens - self.num_tokens + 1, keep=self.keep_source)
        return np.concatenate([[self.bos_id, *self.prefix_ids], text, self.middle_ids]).astype(np.int64)


@dataclass(frozen=True, slots=True, kw_only=True)
class PairBatch:
    """Pairs of like length, padded on the right."""

    source: np.ndarray
    """int64 (B, S): `<s> text </s>`."""
    target: np.ndarray
    """int64 (B, T): `<s> target </s>`; without its last column what the decoder reads, without its first what it predicts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptBatch:
    """Pairs as one text each, padded on the right."""

    token_ids: np.ndarray
    """int64 (B, L)."""
    targets: np.ndarray
    """int64 (B, L): for each token the one that follows it, where it is predicted; IGNORED elsewhere."""


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
            index = json.loads((folder / PAIR_INDEX).read_text())
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


class PairLoader:
    """Batches for encoder-decoders: the batch of a step is a function of the step, the seed and the shards."""

    def __init__(
        self,
        folder: Path,
        *,
        split: str,
        batch_tokens: int,
        seed: int,
        max_source_tokens: int | None = None,
        max_target_tokens: int | None = None,
    ) -> None:
        """Opens a split. The limits are a model's, and count `<s>` and `</s>`; a batch has at most `batch_tokens` tokens of both
        sides, padding included.

        Raises:
            ConfigurationError: no pair is left, or one is longer than a batch.
        """
        self.shards = PairShards(folder)
        self._split = split
        lengths = self.shards.lengths(split)
        fitting = _within(lengths[:, 1], max_target_tokens)
        self.num_left_out = int((~fitting).sum())
        self._numbers = np.flatnonzero(fitting)
        lengths = lengths[fitting]
        self.num_truncated = int((~_within(lengths[:, 0], max_source_tokens)).sum())
        if max_source_tokens is not None:
            lengths = np.stack([np.minimum(lengths[:, 0], max_source_tokens), lengths[:, 1]], axis=1)
        self._lengths = lengths
        self.num_pairs = len(lengths)
        self.num_target_tokens = int(lengths[:, 1].sum()) - self.num_pairs
        """Predicted in an epoch, `</s>` included."""
        _refuse(split, lengths, batch_tokens, self.num_left_out)
        self._schedule = Schedule(lengths, batch_tokens=batch_tokens, seed=seed)

    def num_batches(self, epoch: int) -> int:
        """Batches of an epoch; it differs a little from one to the next."""
        return len(self._schedule.batches(epoch))

    def batch(self, step: int) -> PairBatch:
        """The batch of step `step` of training, from 0; epoch follows epoch."""
        rows = self._schedule.rows(step)
        source, target = self.shards.sides(self._split)
        return PairBatch(
            source=self._marked(source, self.shards.source, self._numbers[rows], self._lengths[rows, 0]),
            target=self._marked(target, self.shards.target, self._numbers[rows], self._lengths[rows, 1]),
        )

    def _marked(self, side: Side, vocabulary: Vocabulary, numbers: np.ndarray, sizes: np.ndarray) -> np.ndarray:
        """Documents cut to so many tokens, their marks included: int64 (B, longest)."""
        batch = np.full((numbers.size, int(sizes.max())), vocabulary.pad_id, dtype=np.int64)
        batch[:, 0] = vocabulary.bos_id
        skip = 1 + cut_before(side.lengths[numbers] - sizes, keep=self.shards.keep_source)
        side.copy_into(batch, np.ones_like(numbers), numbers, skip=skip, take=sizes - 2)
        batch[np.arange(numbers.size), sizes - 1] = vocabulary.eos_id
        return batch


class PromptLoader:
    """Batches for decoders alone: text and target as one row, and the loss on the target and its end."""

    def __init__(
        self,
        folder: Path,
        *,
        split: str,
        batch_tokens: int,
        seed: int,
        context_tokens: int,
        loss_on: str = "targets",
    ) -> None:
        """Opens a split. A row reads at most `context_tokens` tokens; a batch has at most `batch_tokens`, padding included. With
        `whole_pairs` in place of `targets` the loss is on all tokens but `<s>`.

        Raises:
            ConfigurationError: the sides have vocabularies of their own, no pair is left, or one is longer than a batch.
        """
        self.shards = PairShards(folder)
        template = self.shards.template
        if template is None:
            raise ConfigurationError(
                "The dataset has a tokenizer for each side; a decoder-only model reads both as one text. Take target_tokenizer "
                "out of it, or choose an encoder-decoder."
            )
        self._template, self._split, self._loss_on = template, split, loss_on
        lengths = self.shards.lengths(split) - 2  # without marks
        room = context_tokens + 1 - template.num_tokens  # the last </s> is predicted and not read
        fitting = lengths[:, 1] < room  # at least one token of the source beside it
        self.num_left_out = int((~fitting).sum())
        self._numbers, lengths = np.flatnonzero(fitting), lengths[fitting]
        sources = np.minimum(lengths[:, 0], room - lengths[:, 1])
        self.num_truncated = int((sources < lengths[:, 0]).sum())
        self.num_pairs = len(lengths)
        self.num_target_tokens = int(lengths[:, 1].sum()) + self.num_pairs
        self._sources, self._targets = sources, lengths[:, 1]
        rows = (sources + lengths[:, 1] + template.num_tokens - 1)[:, None]
        _refuse(split, rows, batch_tokens, self.num_left_out)
        self._schedule = Schedule(rows, batch_tokens=batch_tokens, seed=seed)

    def num_batches(self, epoch: int) -> int:
        """Batches of an epoch; it differs a little from one to the next."""
        return len(self._schedule.batches(epoch))

    def batch(self, step: int) -> PromptBatch:
        """The batch of step `step` of training, from 0; epoch follows epoch."""
        rows = self._schedule.rows(step)
        numbers, num_sources, num_targets = self._numbers[rows], self._sources[rows], self._targets[rows]
        source, target = self.shards.sides(self._split)
        template, eos = self._template, self.shards.source.eos_id
        head = np.array([template.bos_id, *template.prefix_ids])
        middles, answers = head.size + num_sources, head.size + num_sources + len(template.middle_ids)
        ends = answers + num_targets
        whole = np.full((numbers.size, int(ends.max()) + 1), self.shards.source.pad_id, dtype=np.int64)  # (B, L + 1)
        whole[:, : head.size] = head
        skip = 1 + cut_before(source.lengths[numbers] - 2 - num_sources, keep=template.keep_source)
        source.copy_into(whole, np.full_like(numbers, head.size), numbers, skip=skip, take=num_sources)
        for place, token in enumerate(template.middle_ids):
            whole[np.arange(numbers.size), middles + place] = token
        target.copy_into(whole, answers, numbers, skip=np.ones_like(numbers), take=num_targets)
        whole[np.arange(numbers.size), ends] = eos
        columns = np.arange(whole.shape[1])
        first = answers[:, None] if self._loss_on == "targets" else 1
        predicted = (columns >= first) & (columns <= ends[:, None])
        is_read = columns < ends[:, None]
        token_ids = np.where(is_read, whole, self.shards.source.pad_id)[:, :-1]
        return PromptBatch(token_ids=token_ids, targets=np.where(predicted, whole, IGNORED)[:, 1:])


def cut_before(num_cut: np.ndarray, *, keep: str) -> np.ndarray:
    """Of so many tokens cut from each text, those before what stays."""
    return num_cut if keep == "end" else np.zeros_like(num_cut)


def _within(lengths: np.ndarray, limit: int | None) -> np.ndarray:
    return lengths <= limit if limit is not None else np.ones(len(lengths), dtype=bool)


def _refuse(split: str, lengths: np.ndarray, batch_tokens: int, num_left_out: int) -> None:
    if not len(lengths):
        why = f"the targets of all its {num_left_out} pairs are too long" if num_left_out else "it has no pair"
        raise ConfigurationError(
            f"The {split} split gives nothing to learn from: {why}. Raise the model's context_tokens or give the corpus "
            "more pairs."
        )
    longest = int(lengths.sum(axis=1).max())
    if longest > batch_tokens:
        raise ConfigurationError(
            f"A pair of the {split} split has {longest} tokens and a batch at most {batch_tokens}. Raise batch_tokens or lower "
            "the dataset's max_source_tokens."
        )
