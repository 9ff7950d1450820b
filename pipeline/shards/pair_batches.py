"""Batches of pairs for training: the batch of a step is a function of the step, the seed and the shards.

In: shards of pairs (pairs.py). Out: for an encoder-decoder, sources (B, S) and targets (B, T); for a decoder alone, the two in
one row through the dataset's template, with the loss on the target or on both. Which pairs share a batch is told by
buckets.py. Needs numpy alone.

What does not fit a model: a source is cut at the end that the dataset names, `<s>` and `</s>` stay; a pair whose target does
not fit is left out. Both are counted.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipeline.errors import ConfigurationError
from pipeline.shards.buckets import Schedule
from pipeline.shards.pairs import PairShards, PromptTemplate, Side, Vocabulary

IGNORED = -100
"""In targets: a position without a loss; torch's own default."""


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


class _Loader:
    """The pairs of a split that fit a model, and which of them share a batch."""

    def __init__(
        self,
        shards: PairShards,
        *,
        split: str,
        fits: np.ndarray,
        sources: np.ndarray,
        widths: np.ndarray,
        batch_tokens: int,
        seed: int,
    ) -> None:
        """`fits` (N,) says which pairs do. Of those, n in number, `sources` (n,) counts the tokens of the source that are read,
        `<s>` and `</s>` included, and `widths` (n, sides) those that a batch pads: as many as `batch_tokens` in all, at most.

        Raises:
            ConfigurationError: no pair is left, or one is longer than a batch.
        """
        lengths = shards.lengths(split)[fits]
        self.shards, self._split = shards, split
        self._numbers, self._sources, self._targets = np.flatnonzero(fits), sources, lengths[:, 1]
        self.num_pairs, self.num_left_out = len(lengths), int((~fits).sum())
        self.num_truncated = int((sources < lengths[:, 0]).sum())
        self.num_target_tokens = int(self._targets.sum()) - self.num_pairs
        """Predicted in an epoch, `</s>` included."""
        self._refuse(widths, batch_tokens)
        self._schedule = Schedule(widths, batch_tokens=batch_tokens, seed=seed)

    def num_batches(self, epoch: int) -> int:
        """Batches of an epoch; it differs a little from one to the next."""
        return len(self._schedule.batches(epoch))

    def _refuse(self, lengths: np.ndarray, batch_tokens: int) -> None:
        if not self.num_pairs:
            why = (
                f"the targets of all its {self.num_left_out} pairs are too long"
                if self.num_left_out
                else "it has no pair"
            )
            raise ConfigurationError(
                f"The {self._split} split gives nothing to learn from: {why}. Raise the model's context_tokens or give the "
                "corpus more pairs."
            )
        longest = int(lengths.sum(axis=1).max())
        if longest > batch_tokens:
            raise ConfigurationError(
                f"A pair of the {self._split} split has {longest} tokens and a batch at most {batch_tokens}. Raise batch_tokens "
                "or lower the dataset's max_source_tokens."
            )


class PairLoader(_Loader):
    """Batches for encoder-decoders."""

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
        shards = PairShards(folder)
        lengths = shards.lengths(split)
        fits = lengths[:, 1] <= _limit(max_target_tokens)
        sources = np.minimum(lengths[fits, 0], _limit(max_source_tokens))
        widths = np.stack([sources, lengths[fits, 1]], axis=1)
        super().__init__(
            shards, split=split, fits=fits, sources=sources, widths=widths, batch_tokens=batch_tokens, seed=seed
        )

    def batch(self, step: int) -> PairBatch:
        """The batch of step `step` of training, from 0; epoch follows epoch."""
        rows = self._schedule.rows(step)
        source, target = self.shards.sides(self._split)
        return PairBatch(
            source=self._marked(source, self.shards.source, self._numbers[rows], self._sources[rows]),
            target=self._marked(target, self.shards.target, self._numbers[rows], self._targets[rows]),
        )

    def _marked(self, side: Side, vocabulary: Vocabulary, numbers: np.ndarray, sizes: np.ndarray) -> np.ndarray:
        """Documents cut to so many tokens, their marks included: int64 (B, longest)."""
        batch = np.full((numbers.size, int(sizes.max())), vocabulary.pad_id, dtype=np.int64)
        batch[:, 0] = vocabulary.bos_id
        skip = 1 + cut_before(side.lengths[numbers] - sizes, keep=self.shards.keep_source)
        side.copy_into(batch, np.ones_like(numbers), numbers, skip=skip, take=sizes - 2)
        batch[np.arange(numbers.size), sizes - 1] = vocabulary.eos_id
        return batch


class PromptLoader(_Loader):
    """Batches for decoders alone: text and target as one row."""

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
        """Opens a split. A row reads at most `context_tokens` tokens; a batch has at most `batch_tokens`, padding included. The
        loss is on the `targets` and their ends, or with `whole_pairs` on all tokens but `<s>`.

        Raises:
            ConfigurationError: the sides have vocabularies of their own, no pair is left, or one is longer than a batch.
        """
        shards = PairShards(folder)
        self._template, self._loss_on = _template_of(shards), loss_on
        sources, targets = (shards.lengths(split) - 2).T  # without marks
        room = context_tokens + 1 - self._template.num_tokens  # the last </s> is predicted and not read
        fits = targets < room  # at least one token of the source beside it
        targets = targets[fits]
        sources = np.minimum(sources[fits], room - targets)
        widths = (sources + targets + self._template.num_tokens - 1)[:, None]
        super().__init__(
            shards, split=split, fits=fits, sources=sources + 2, widths=widths, batch_tokens=batch_tokens, seed=seed
        )

    def batch(self, step: int) -> PromptBatch:
        """The batch of step `step` of training, from 0; epoch follows epoch."""
        rows = self._schedule.rows(step)
        numbers, num_sources, num_targets = self._numbers[rows], self._sources[rows] - 2, self._targets[rows] - 2
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


def _limit(tokens: int | None) -> int:
    return sys.maxsize if tokens is None else tokens


def _template_of(shards: PairShards) -> PromptTemplate:
    if shards.template is None:
        raise ConfigurationError(
            "The dataset has a tokenizer for each side; a decoder-only model reads both as one text. Take target_tokenizer "
            "out of it, or choose an encoder-decoder."
        )
    return shards.template
