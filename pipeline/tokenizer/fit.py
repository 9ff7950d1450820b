"""How well a tokenizer fits a text: compression, fallbacks, vocabulary use, and whether the text comes back."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from pipeline.tokenizer.model import Tokenizer


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """What was measured on some documents."""

    num_documents: int
    num_bytes: int
    num_tokens: int
    bytes_per_token: float
    unknown_fraction: float
    """Of the tokens, <unk>: text that is lost."""
    byte_fallback_fraction: float
    """Of the tokens, byte pieces: text the vocabulary spells out."""
    vocabulary_use_fraction: float
    """Of the pieces that text can give, those seen."""
    round_trip_failures: int
    """Documents whose decoded text differs; for words, differs by more than white space."""


def measure(tokenizer: Tokenizer, documents: Iterable[str], *, max_bytes: int, by_words: bool = False) -> Fit:
    """Encodes and decodes documents up to a budget of UTF-8 bytes; at least one.

    `by_words` compares what comes back word by word, white space apart.
    """
    seen = np.zeros(tokenizer.vocab_size, dtype=np.int64)
    num_documents = num_bytes = failures = 0
    for text in documents:
        if num_documents and num_bytes >= max_bytes:
            break
        token_ids = tokenizer.encode_batch([text])[0]
        np.add.at(seen, token_ids, 1)
        num_documents += 1
        num_bytes += len(text.encode())
        back = tokenizer.decode(token_ids)
        failures += back.split() != text.split() if by_words else back != text
    is_byte = np.array([tokenizer.is_byte(token) for token in range(tokenizer.vocab_size)])
    is_control = np.array([tokenizer.is_control(token) for token in range(tokenizer.vocab_size)])
    num_tokens = int(seen.sum())
    return Fit(
        num_documents=num_documents,
        num_bytes=num_bytes,
        num_tokens=num_tokens,
        bytes_per_token=num_bytes / max(num_tokens, 1),
        unknown_fraction=float(seen[tokenizer.unk_id]) / max(num_tokens, 1),
        byte_fallback_fraction=float(seen[is_byte].sum()) / max(num_tokens, 1),
        vocabulary_use_fraction=float((seen[~is_control] > 0).sum()) / max(int((~is_control).sum()), 1),
        round_trip_failures=failures,
    )
