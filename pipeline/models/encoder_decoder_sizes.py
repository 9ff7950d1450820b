"""The sizes that every encoder-decoder has. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class EncoderDecoderSizes:
    """Vocabularies and their tables, and the training's dropout and label smoothing.

    Raises:
        ValueError: one table is to serve two vocabularies.
    """

    source_vocab_size: int
    vocab_size: int
    """Of the targets."""
    context_tokens: int
    """The longest source and the longest target."""
    share_vocabulary: bool
    """One table for what encoder and decoder read."""
    tie_embeddings: bool
    """One table for what the decoder reads and what it predicts."""
    dropout: float
    label_smoothing: float

    def __post_init__(self) -> None:
        if self.share_vocabulary and self.source_vocab_size != self.vocab_size:
            raise ValueError(
                f"encoder and decoder share a table, but the source has {self.source_vocab_size} tokens and the target "
                f"{self.vocab_size}; set share_vocabulary to false"
            )

    @property
    def num_table_rows(self) -> int:
        """Of all tables together: what the encoder reads, what the decoder reads, what it predicts."""
        rows = self.vocab_size * (1 if self.tie_embeddings else 2)
        return rows if self.share_vocabulary else rows + self.source_vocab_size
