"""Continuations of prompts by a Transformer: drawn token by token, or the likeliest by beam search, a batch of rows at a time.

Both move the rows of a decoder's cache. Drawn texts may outgrow the context and go on with the last half of it as their new
context, each where it would alone; beams stay within one.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from torch import Tensor

from pipeline.models.beam_search import beam_search
from pipeline.models.interface import GenerationParameters
from pipeline.models.sampling import draw
from pipeline.models.transformer.decoding import Decoder

if TYPE_CHECKING:
    from jaxtyping import Float, Int

_BATCH_ROWS = 64
"""Texts followed at once: each holds keys and values of its own."""


def kept_of_prompt(length: int, parameters: GenerationParameters, *, context_tokens: int) -> int:
    """How many of a prompt's tokens, the last ones, become context: all that fit with a token to spare, else half; for beams all
    that fit before what they write."""
    if parameters.num_beams > 1:
        return min(length, context_tokens - _longest_text(parameters, context_tokens))
    return length if length < context_tokens else _half(context_tokens)


def continuations(
    decoder: Decoder, prompts: list[list[int]], parameters: GenerationParameters, *, context_tokens: int, pad_id: int
) -> list[list[int]]:
    """The continuation of each prompt, without the token that ends it."""
    if parameters.num_beams > 1:
        parameters = replace(parameters, max_new_tokens=_longest_text(parameters, context_tokens))
    windows = [prompt[-kept_of_prompt(len(prompt), parameters, context_tokens=context_tokens) :] for prompt in prompts]
    rows = max(1, _BATCH_ROWS // parameters.num_beams)
    found: list[list[int]] = []
    for start in range(0, len(windows), rows):
        some = windows[start : start + rows]
        decoding = _Decoding(decoder, some, parameters, context_tokens=context_tokens, pad_id=pad_id)
        if parameters.num_beams > 1:
            found += beam_search(decoding.logits, decoding, parameters)
        else:
            found += draw(decoding.logits, decoding, parameters, prompts=some)
    return found


def _longest_text(parameters: GenerationParameters, context_tokens: int) -> int:
    """Tokens that beam search writes at most; what is left of the context is the prompt's."""
    return min(parameters.max_new_tokens, _half(context_tokens))


def _half(context_tokens: int) -> int:
    return max(1, context_tokens // 2)


class _Decoding:
    """For `beam_search.py` and `draw`: rows that are read anew where one of them has filled the context."""

    def __init__(
        self,
        decoder: Decoder,
        windows: list[list[int]],
        parameters: GenerationParameters,
        *,
        context_tokens: int,
        pad_id: int,
    ) -> None:
        self._decoder, self._context_tokens, self._pad_id = decoder, context_tokens, pad_id
        self._steps_left = parameters.max_new_tokens - 1
        self.logits, self._cache = decoder.read(windows, num_steps=self._steps_left, pad_id=pad_id)
        is_outgrown = max(map(len, windows)) + self._steps_left > context_tokens
        self._windows = list(map(list, windows)) if is_outgrown else None
        """What each row has for context, where it may be needed."""

    def step(self, tokens: Int[Tensor, " rows"]) -> Float[Tensor, "rows vocab"]:
        self._steps_left -= 1
        if self._windows is None:
            return self._decoder.step(self._cache, tokens)
        for window, token in zip(self._windows, tokens.tolist(), strict=True):
            window.append(token)
        if not self._cache.is_full:
            return self._decoder.step(self._cache, tokens)
        for window in self._windows:
            if len(window) > self._context_tokens:
                del window[: -_half(self._context_tokens)]
        logits, self._cache = self._decoder.read(self._windows, num_steps=self._steps_left, pad_id=self._pad_id)
        return logits

    def reorder(self, rows: Int[Tensor, " new_rows"]) -> None:
        cache = self._cache
        cache.kept = cache.kept[:, rows]
        cache.padding = None if cache.padding is None else cache.padding[rows]
        cache.hidden_places = None if cache.hidden_places is None else cache.hidden_places[rows]
        if self._windows is not None:
            self._windows = [list(self._windows[row]) for row in rows.tolist()]
