"""What it costs to spell out text that a model leaves unsaid, so that losing it is never cheaper than predicting it.

A model that predicts <unk> has not said which text that is. Here its bytes are told after it, and where they end, 8 bits each:
a code like any other, so that bits per byte compare models of any vocabulary. Byte-fallback tokenizers lose nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pipeline.tokenizer.model import Tokenizer

BITS = 8.0
"""A byte, or the end."""


def spelt_bits(text: str) -> float:
    """Of a text by its bytes alone.

    >>> spelt_bits("né")
    32.0
    """
    return BITS * (len(text.encode()) + 1)


def unknown_bits(tokenizer: Tokenizer, text: str) -> float:
    """Of what a text's unknown tokens stand for."""
    spans = tokenizer.spans(text)
    return sum(spelt_bits(text[start:end]) for token, start, end in spans if token == tokenizer.unk_id)
