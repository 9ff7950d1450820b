"""Batches of pairs: source and target apart for encoder-decoders, in one row for decoders alone.

A batch holds pairs of like length, up to a number of tokens that counts both sides and the padding (see
`shards/pair_batches.py`). A validation reads the same few batches each time, about as many tokens as the spec's windows would
have.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
import torch

from pipeline.errors import ConfigurationError
from pipeline.shards.pair_batches import IGNORED, PairBatch, PairLoader, PromptBatch, PromptLoader
from pipeline.shards.pairs import PairShards
from pipeline.training.data import VALIDATION_SEED, Batch, check_tokenizer
from pipeline.training.families import EncoderDecoderShape
from pipeline.training.spec import TrainingSpec

L = TypeVar("L", PairLoader, PromptLoader)
"""What gives the batches of a split."""


class _OfPairs(ABC, Generic[L]):
    """What both kinds of data have in common: how much there is, and batches by step."""

    def __init__(self, spec: TrainingSpec, loader: L, validation: L) -> None:
        self._loader: L = loader
        self._validation: L = validation
        lengths = loader.shards.lengths("train")
        self._batches_per_epoch = loader.num_batches(0)
        whole = lengths.sum() * loader.num_pairs / max(1, len(lengths))
        self.tokens_per_step = max(1, round(float(whole) / self._batches_per_epoch))
        asked = -(-spec.validation_windows // spec.batch_windows)
        self._validation_batches = min(asked, validation.num_batches(0))
        self.identity: dict[str, Any] = {
            "tokenizer_hash": loader.shards.target.tokenizer_hash,
            "source_tokenizer_hash": loader.shards.source.tokenizer_hash,
            "train_pairs": loader.num_pairs,
            "train_target_tokens": loader.num_target_tokens,
            "validation_pairs": validation.num_pairs,
            "validation_target_tokens": validation.num_target_tokens,
        }

    @property
    def opening(self) -> list[int]:
        """Where a target begins."""
        return [self._loader.shards.target.bos_id]

    @property
    def remarks(self) -> list[str]:
        found, loader = [], self._loader
        if loader.num_left_out:
            found.append(
                f"{loader.num_left_out:,} of {loader.num_left_out + loader.num_pairs:,} training pairs are left out, since their "
                "targets do not fit the model. Raise its context_tokens, or lower the dataset's max_target_tokens."
            )
        if loader.num_truncated:
            end = "beginning" if loader.shards.keep_source == "end" else "end"
            found.append(
                f"{loader.num_truncated:,} of {loader.num_pairs:,} training texts are cut at their {end}, since they do not fit "
                "the model whole. Raise its context_tokens, or lower the dataset's max_source_tokens."
            )
        return found

    @abstractmethod
    def _batch(self, pairs: Any) -> Batch:
        """A loader's batch as tensors."""

    def tokens(self, num_steps: int) -> int:
        return num_steps * self.tokens_per_step

    def batch(self, step: int) -> Batch:
        return self._batch(self._loader.batch(step))

    def validation(self) -> Iterator[Batch]:
        for number in range(self._validation_batches):
            yield self._batch(self._validation.batch(number))

    def epochs(self, num_steps: int) -> float:
        return num_steps / self._batches_per_epoch


class PairData(_OfPairs[PairLoader]):
    """Pairs for an encoder-decoder: inputs are sources (B, S), their lengths (B,) and what the decoder reads (B, T)."""

    def __init__(self, spec: TrainingSpec, shape: EncoderDecoderShape) -> None:
        """Opens the splits.

        Raises:
            ConfigurationError: no pair fits, or tokenizers, vocabularies and shape are not each other's.
        """
        folder, context = Path(spec.shards_folder), shape.context_tokens
        settings = {
            "batch_tokens": spec.batch_windows * context,
            "max_source_tokens": context,
            "max_target_tokens": context + 1,  # the last </s> is predicted and not read
        }
        loader = PairLoader(folder, split="train", seed=spec.seed, **settings)
        super().__init__(spec, loader, PairLoader(folder, split="validation", seed=VALIDATION_SEED, **settings))
        shards = self._loader.shards
        _check_sizes(spec, shards, shape)
        check_tokenizer(spec, shards.source.tokenizer_hash, file=spec.source_tokenizer_file)
        check_tokenizer(spec, shards.target.tokenizer_hash)
        self._source_pad, self._target_pad = shards.source.pad_id, shards.target.pad_id

    @property
    def token_ids(self) -> dict[str, Any]:
        """Of the targets, and in `source` of the sources."""
        shards = self._loader.shards
        source, target = (
            {name: value for name, value in asdict(side).items() if name != "vocab_size"}
            for side in (shards.source, shards.target)
        )
        return {**target, "source": source}

    def _batch(self, pairs: PairBatch) -> Batch:
        lengths = (pairs.source != self._source_pad).sum(axis=1)
        targets = np.where(pairs.target[:, 1:] == self._target_pad, IGNORED, pairs.target[:, 1:])
        source, read = torch.from_numpy(pairs.source), torch.from_numpy(pairs.target)[:, :-1]
        return Batch.of((source, torch.from_numpy(lengths), read), torch.from_numpy(targets))


class PromptData(_OfPairs[PromptLoader]):
    """Pairs for a decoder alone: each a row of source and target through the dataset's template, the loss on the target, or while
    training on the whole row."""

    def __init__(self, spec: TrainingSpec, *, context_tokens: int) -> None:
        """Opens the splits.

        Raises:
            ConfigurationError: no pair fits, the sides have vocabularies of their own, or the tokenizer is not the shards' own.
        """
        folder = Path(spec.shards_folder)
        settings: dict[str, Any] = {
            "batch_tokens": spec.batch_windows * context_tokens,
            "context_tokens": context_tokens,
        }
        loader = PromptLoader(folder, split="train", seed=spec.seed, loss_on=spec.loss_on, **settings)
        super().__init__(spec, loader, PromptLoader(folder, split="validation", seed=VALIDATION_SEED, **settings))
        check_tokenizer(spec, self._loader.shards.target.tokenizer_hash)

    @property
    def token_ids(self) -> dict[str, Any]:
        target = asdict(self._loader.shards.target)
        return {name: value for name, value in target.items() if name != "vocab_size"}

    @property
    def opening(self) -> list[int]:
        """A text of the validation split in its template: the pair that every validation reads first."""
        batch = self._validation.batch(0)
        (predicting, *_) = np.flatnonzero(batch.targets[0] != IGNORED)
        ids: list[int] = batch.token_ids[0, : predicting + 1].tolist()
        return ids

    def _batch(self, pairs: PromptBatch) -> Batch:
        return Batch.of((torch.from_numpy(pairs.token_ids),), torch.from_numpy(pairs.targets))


def _check_sizes(spec: TrainingSpec, shards: PairShards, shape: EncoderDecoderShape) -> None:
    for side, found, expected in (
        ("encoder", shape.source_vocab_size, shards.source.vocab_size),
        ("decoder", shape.vocab_size, shards.target.vocab_size),
    ):
        if found != expected:
            raise ConfigurationError(
                f"{spec.name}: its {side} has a vocabulary of {found} tokens, its shards one of {expected}. Build the shards "
                "again with the model's tokenizers."
            )
    if shape.share_vocabulary and shards.source.tokenizer_hash != shards.target.tokenizer_hash:
        raise ConfigurationError(
            f"{spec.name}: encoder and decoder share one vocabulary, but its shards have a tokenizer for each side. Set "
            "share_vocabulary to false, or take target_tokenizer out of the dataset."
        )
