"""The Transformer in the middle of beam search: its decoder, and a cache whose rows are put in another order."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from torch import Tensor

from pipeline.models.beam_search import beam_search
from pipeline.models.interface import GenerationParameters
from pipeline.models.transformer.decoding import Cache, Decoder

if TYPE_CHECKING:
    from jaxtyping import Float, Int

_BATCH_ROWS = 64
"""Beams followed at once: each holds keys and values of its own."""


def longest_text(parameters: GenerationParameters, *, context_tokens: int) -> int:
    """Tokens that a text found by beam search has at most; what is left of the context is the prompt's."""
    return min(parameters.max_new_tokens, max(1, context_tokens // 2))


def search(
    decoder: Decoder, prompts: list[list[int]], parameters: GenerationParameters, *, context_tokens: int, pad_id: int
) -> list[list[int]]:
    """The best continuation found of each prompt. It has at most half a context, and the prompt's end fills the rest."""
    num_new = longest_text(parameters, context_tokens=context_tokens)
    parameters = replace(parameters, max_new_tokens=num_new)
    windows = [prompt[-(context_tokens - num_new) :] for prompt in prompts]
    rows = max(1, _BATCH_ROWS // parameters.num_beams)
    found: list[list[int]] = []
    for start in range(0, len(windows), rows):
        logits, cache = decoder.read(windows[start : start + rows], num_steps=num_new, pad_id=pad_id)
        found += beam_search(logits, _Decoding(decoder, cache), parameters)
    return found


class _Decoding:
    """For `beam_search.py`."""

    def __init__(self, decoder: Decoder, cache: Cache) -> None:
        self._decoder, self._cache = decoder, cache

    def step(self, tokens: Int[Tensor, " rows"]) -> Float[Tensor, "rows vocab"]:
        return self._decoder.step(self._cache, tokens)

    def reorder(self, rows: Int[Tensor, " new_rows"]) -> None:
        cache = self._cache
        cache.kept = cache.kept[:, rows]
        cache.padding = None if cache.padding is None else cache.padding[rows]
        cache.hidden_places = None if cache.hidden_places is None else cache.hidden_places[rows]
