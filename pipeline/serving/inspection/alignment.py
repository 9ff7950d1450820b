"""Where an encoder-decoder looks in the source as it writes: the alignment of a target, averaged over the last layer's heads.

In: a model of pairs, a source and its target (or none: what the model writes). Out: tokens of both sides and a weight for each
pair of them (Bahdanau et al. 2015, arXiv 1409.0473, figure 3), and the bits of each target token.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pipeline.evaluation.spelling import spelt_bits

if TYPE_CHECKING:
    from pipeline.evaluation.pair_model import PairModel

MAX_TOKENS = 60
"""Of each side, on the page."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Alignment:
    """A target against its source."""

    text: str
    """The target."""
    was_written: bool
    """By the model; else it was given."""
    source: list[str]
    target: list[str]
    bits: list[float]
    """Of each target token, what <unk> leaves unsaid spelt out."""
    weights: list[list[float]]
    """Row t: how much each source token was looked at to predict target token t; it adds up to 1 over the whole source."""
    is_whole: bool
    """Every token of both sides is there."""


def align(asked: PairModel, text: str, target: str | None) -> Alignment:
    """The alignment of a target, or of what the model writes for the text.

    Raises:
        InputError: the source is longer than the model reads.
    """
    from pipeline.models.seq2seq_model import Seq2SeqModel

    model = asked.model
    assert isinstance(model, Seq2SeqModel)
    prompt, was_cut = asked.prompt(text, room=0)
    shown = asked.answer([text])[0] if target is None else target
    tokenizer = asked.tokenizer
    spans = tokenizer.spans(shown)
    kept = spans[: min(MAX_TOKENS, model.context_tokens)]
    ids = [token for token, _, _ in kept] or [tokenizer.eos_id]
    spelt = [spelt_bits(shown[start:end]) if token == tokenizer.unk_id else 0.0 for token, start, end in kept] or [0.0]
    weights = model.alignment(prompt, ids)[-1].mean(axis=0)  # (T, S)
    (scores,) = model.score_targets([prompt], [ids])
    return Alignment(
        text=shown,
        was_written=target is None,
        source=asked.source_tokenizer.pieces(prompt)[:MAX_TOKENS],
        target=tokenizer.pieces(ids),
        bits=(scores.astype(np.float64) / -np.log(2.0) + spelt).tolist(),
        weights=weights[:, :MAX_TOKENS].tolist(),
        is_whole=not was_cut and len(prompt) <= MAX_TOKENS and len(kept) == len(spans),
    )
