"""One HTML page of what several models make of one text: self-contained, no scripts, every text escaped.

In: a text and models with their tokenizers. Out: the page. Surprisal stands side by side, aligned by characters: each token
covers the columns of its characters. Transformers add attention maps and the logit lens over the first tokens; encoder-decoders,
which score no text alone, show where they look in it as they write.
"""

from __future__ import annotations

import base64
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from pipeline.errors import InputError
from pipeline.serving.inspection.plots import attention_maps
from pipeline.serving.inspection.surprisal import TokenSurprisal, token_surprisals

if TYPE_CHECKING:
    from pipeline.evaluation.pair_model import PairModel, TextModel

COLUMNS = 48
"""Characters of a band of the side-by-side view."""

LENS_TOKENS = 40
"""Tokens, BOS included, of attention maps and logit lens."""

DARKEST_BITS = 12.0

_UNSEEN = ("Cc", "Cf", "Zl", "Zp")
"""Categories of characters that show nothing, some of which turn round what stands beside them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """A model on the page."""

    name: str
    writer: TextModel | PairModel


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """Some columns of a model's row: a token, or the part of one that a band holds."""

    width: int
    bits: float
    shown: str
    tip: str
    context: str

    @property
    def shade(self) -> float:
        """0 (expected) to 1 (12 bits or more)."""
        return round(min(self.bits / DARKEST_BITS, 1.0), 3)


def inspection_page(text: str, subjects: Sequence[Subject], *, target: str | None = None) -> str:
    """The page; `target` is what encoder-decoders are aligned with, by default what they write.

    Raises:
        InputError: the text is empty, or longer than an encoder-decoder reads.
    """
    from pipeline.evaluation.pair_model import PairModel
    from pipeline.models.transformer.model import TransformerModel
    from pipeline.serving.inspection.alignment import MAX_TOKENS, align

    if not text:
        raise InputError("The text is empty, so there is nothing to inspect. Give some words.")
    alignments = [
        {"name": subject.name, "found": align(subject.writer, text, target)}
        for subject in subjects
        if isinstance(subject.writer, PairModel) and subject.writer.is_encoder_decoder
    ]
    subjects = [subject for subject in subjects if not getattr(subject.writer.model, "is_encoder_decoder", False)]
    surprisals = {
        subject.name: token_surprisals(subject.writer.model, subject.writer.tokenizer, text) for subject in subjects
    }
    environment = Environment(
        loader=PackageLoader("pipeline.serving.inspection", ""),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["piece"] = _piece
    return environment.get_template("inspection.html").render(
        text=text,
        summaries=[_summary(subject, surprisals[subject.name], text) for subject in subjects],
        bands=_bands(text, surprisals) if subjects else [],
        alignments=alignments,
        max_tokens=MAX_TOKENS,
        insides=[_inside(subject, text) for subject in subjects if isinstance(subject.writer.model, TransformerModel)],
    )


def _summary(subject: Subject, tokens: list[TokenSurprisal], text: str) -> dict[str, Any]:
    bits = sum(token.bits for token in tokens)
    return {
        "name": subject.name,
        "family": subject.writer.model.family,
        "parameters": subject.writer.model.num_parameters,
        "num_tokens": len(tokens),
        "bits": bits,
        "bits_per_byte": bits / len(text.encode()),
        "num_first": sum(token.rank == 0 for token in tokens),
    }


def _bands(text: str, surprisals: dict[str, list[TokenSurprisal]]) -> list[dict[str, Any]]:
    """The text in bands of columns; in each, every model's cells cover all of them."""
    bands = []
    for first in range(0, len(text), COLUMNS):
        last = min(first + COLUMNS, len(text))
        rows = {name: _cells(tokens, first, last) for name, tokens in surprisals.items()}
        has_contexts = {name for name, tokens in surprisals.items() if tokens[0].context_tokens is not None}
        bands.append(
            {
                "characters": [_visible(character) for character in text[first:last]],
                "rows": [
                    {"name": name, "cells": cells, "contexts": name in has_contexts} for name, cells in rows.items()
                ],
            }
        )
    return bands


def _cells(tokens: list[TokenSurprisal], first: int, last: int) -> list[Cell]:
    cells = []
    for group in _groups(tokens):
        start, end = max(group[0].start, first), min(group[-1].end, last)
        if start >= end:
            continue
        bits = sum(token.bits for token in group)
        begins_here = group[0].start >= first
        contexts = [token.context_tokens for token in group if token.context_tokens is not None]
        cells.append(
            Cell(
                width=end - start,
                bits=bits,
                shown=(f"{bits:.1f}" if end - start > 2 else f"{bits:.0f}") if begins_here else "…",
                tip="; ".join(_tip(token) for token in group),
                context=str(contexts[0]) if contexts and begins_here else "…",
            )
        )
    return cells


def _groups(tokens: list[TokenSurprisal]) -> list[list[TokenSurprisal]]:
    """Tokens, those within one character together with the one that completes it."""
    groups: list[list[TokenSurprisal]] = []
    waiting: list[TokenSurprisal] = []
    for token in tokens:
        waiting.append(token)
        if token.end > token.start:
            groups.append(waiting)
            waiting = []
    if waiting and groups:
        groups[-1] += waiting
    return groups


def _tip(token: TokenSurprisal) -> str:
    context = "" if token.context_tokens is None else f", from {token.context_tokens} tokens before it"
    return f"{token.piece!r}: {token.bits:.2f} bits, {token.rank} tokens were likelier{context}"


def _visible(character: str) -> str:
    if unicodedata.category(character) in _UNSEEN:
        return {"\n": "↵", "\t": "⇥"}.get(character, "▫")
    return "␣" if character == " " else character


def _inside(subject: Subject, text: str) -> dict[str, Any]:
    from pipeline.models.transformer.model import TransformerModel
    from pipeline.serving.inspection.internals import look_inside

    model, tokenizer = subject.writer.model, subject.writer.tokenizer
    assert isinstance(model, TransformerModel)
    ids = [tokenizer.bos_id, *tokenizer.encode(text)][: min(LENS_TOKENS, model.context_tokens)]
    inside = look_inside(model, ids)
    picture = attention_maps(inside.attention.numpy())
    return {
        "name": subject.name,
        "num_tokens": len(ids),
        "attention": base64.b64encode(picture).decode(),
        "tokens": [_piece(piece) for piece in tokenizer.pieces(ids)],
        "layers": [
            [
                {"piece": _piece(piece), "share": round(share, 3), "right": after is not None and guess == after}
                for piece, share, guess, after in zip(
                    tokenizer.pieces(guesses), shares, guesses, [*ids[1:], None], strict=True
                )
            ]
            for guesses, shares in zip(inside.predictions.tolist(), inside.confidences.tolist(), strict=True)
        ],
    }


def _piece(piece: str) -> str:
    return "".join("␣" if character == "\u2581" else _visible(character) for character in piece)
