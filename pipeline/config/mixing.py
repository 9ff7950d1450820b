"""Which documents must not be learnt from, and how often the others are read in training."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from pipeline.config.sections import Name, Section


class DecontaminateConfig(Section):
    """Rejects documents that share text with what models are judged by."""

    against: Annotated[tuple[Name, ...], Field(min_length=1)]
    """Corpora, of which the test split counts, or sources; where both have the name, the corpus."""
    ngram: Annotated[int, Field(ge=2, le=100)] = 13
    """Words in a row; a Chinese character is a word. Case and punctuation do not count."""
    min_shared: Annotated[int, Field(ge=1)] = 1
    """A document goes when it shares this many different n-grams, or a whole text shorter than one."""
    min_whole_words: Annotated[int, Field(ge=1)] = 8
    """An evaluation text shorter than the n-gram and at least this long is looked for whole within documents; one
    shorter still rejects only documents that hold nothing else."""


class BucketsConfig(Section):
    """Reads documents more or less often by one of their signals."""

    by: Annotated[str, Field(min_length=1)]
    """A signal that a threshold can bound, such as `letter_fraction`; or `language_confidence`."""
    edges: Annotated[tuple[float, ...], Field(min_length=1)]
    """Rising values that part the buckets; a value at an edge belongs to the bucket above."""
    factors: tuple[Annotated[float, Field(ge=0, le=100)], ...]
    """For each bucket, one more than there are edges: how much more often it is read. Not measured: 1."""

    @model_validator(mode="after")
    def _one_factor_a_bucket(self) -> BucketsConfig:
        if list(self.edges) != sorted(set(self.edges)):
            raise ValueError("has edges that do not rise. Sort them")
        if len(self.factors) != len(self.edges) + 1:
            raise ValueError(
                f"has {len(self.factors)} factors for {len(self.edges) + 1} buckets. Give one more factor than edges"
            )
        return self


class MixtureConfig(Section):
    """How often training reads each document; held-out documents are read once, and no text is copied."""

    weights: dict[Name, Annotated[float, Field(gt=0)]] | None = None
    """Source -> its share of the bytes read, instead of epochs; any positive numbers."""
    budget_bytes: Annotated[int, Field(ge=1)] | None = None
    """Bytes of text read in training. Null: with weights, as many as the training split has; else what the epochs give."""
    max_epochs: Annotated[float, Field(gt=0, le=1000)] = 4.0
    """No source is read more often to meet its weight or the budget (Muennighoff et al. 2023, arXiv:2305.16264: up to
    four epochs are worth nearly as much as new text). The statistics show what came of it."""
    buckets: BucketsConfig | None = None
    """Up-sampling by quality, on top of the sources' epochs or weights."""
