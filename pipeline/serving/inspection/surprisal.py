"""How surprised a model is by every token of a text, with the characters that the token covers.

In: a text, a model and its tokenizer. Out: tokens in order; their characters cover the text without gaps, so models with
different tokenizers can stand side by side. A token within a character (a byte of it) covers none; its bits count with the token
that completes the character.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from pipeline.errors import InputError
from pipeline.evaluation.scoring import windows
from pipeline.evaluation.spelling import spelt_bits

if TYPE_CHECKING:
    from pipeline.models.interface import LanguageModel
    from pipeline.tokenizer.model import Tokenizer


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenSurprisal:
    """One token of a text."""

    token_id: int
    piece: str
    start: int
    """Its characters: start to end, in the text."""
    end: int
    bits: float
    """Minus log2 of its probability given all before it, and what <unk> leaves unsaid spelt out, as in the evaluation."""
    rank: int
    """How many tokens were more likely."""
    context_tokens: int | None
    """Of an n-gram model: how many tokens before it the prediction was made from; None for other families."""


def token_surprisals(model: LanguageModel, tokenizer: Tokenizer, text: str) -> list[TokenSurprisal]:
    """Every token of a text after BOS; longer texts through windows that overlap by half.

    Raises:
        InputError: the text has no tokens.
    """
    spans = tokenizer.spans(text)
    if not spans:
        raise InputError("The text is empty, so there is nothing to inspect. Give some words.")
    ids = np.array([tokenizer.bos_id, *(token for token, _, _ in spans)], dtype=np.int64)
    bits, ranks = np.zeros(len(ids)), np.zeros(len(ids), dtype=np.int64)
    for start, end, first in windows(len(ids), context_tokens=model.context_tokens):
        with torch.inference_mode():
            found = model.score(torch.from_numpy(ids[None, start:end]))
        part = slice(first - start - 1, end - start - 1)
        bits[first:end] = found.log_probabilities.float().cpu().numpy()[0, part].astype(np.float64) / -np.log(2.0)
        ranks[first:end] = found.ranks.cpu().numpy()[0, part]
    contexts = _contexts(model, ids)
    pieces = tokenizer.pieces([token for token, _, _ in spans])
    return [
        TokenSurprisal(
            token_id=token,
            piece=piece,
            start=start,
            end=end,
            bits=float(bits[place]) + (spelt_bits(text[start:end]) if token == tokenizer.unk_id else 0.0),
            rank=int(ranks[place]),
            context_tokens=None if contexts is None else int(contexts[place - 1]),
        )
        for place, ((token, start, end), piece) in enumerate(zip(spans, pieces, strict=True), start=1)
    ]


def _contexts(model: LanguageModel, ids: np.ndarray) -> np.ndarray | None:
    from pipeline.models.ngram.model import NgramModel

    if not isinstance(model, NgramModel):
        return None
    contexts: np.ndarray = model.table.found_orders(ids[None])[0] - 1
    return contexts
