"""The continuous cache of Grave, Joulin & Usunier 2017 (arXiv 1612.04426): what followed a state like this one may follow again.

The token x_{t+1} after state h_t is predicted by

    p(w) = (1 - weight) p_model(w) + weight p_cache(w)
    p_cache(w) proportional to the sum over i = t - N .. t - 1 with x_{i+1} = w of exp(theta h_t . h_i)

so that x_t is the latest token in the cache and nothing is predicted from itself. With nothing to remember, at the first token of
a row, the model predicts alone. Nothing is learned: theta and weight are chosen, best on validation text.

A document is its own cache: it begins empty, as the state does. Carried from one document to the next, as in the paper, bits
would depend on the order of the documents and on which others are scored, and could not be compared document by document. A
document longer than `CONTEXT_TOKENS` is read through windows that overlap by half; no cache is larger than that half, so no
token that counts misses a state because of it.
"""

from __future__ import annotations

from math import log
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from pipeline.models.interface import TokenScores

if TYPE_CHECKING:
    from jaxtyping import Float, Int

    from pipeline.models.recurrent.model import RecurrentModel


class ContinuousCache:
    """The last states of rows that are read from their beginnings, span by span, and the token that followed each."""

    def __init__(self, *, num_tokens: int, theta: float, weight: float) -> None:
        self._num_tokens, self._theta, self._weight = num_tokens, theta, weight
        self._states: Tensor | None = None  # (B, K, W), oldest first
        self._followed: Tensor | None = None  # (B, K)

    def mixed(
        self,
        log_probabilities: Float[Tensor, "batch span vocab"],
        states: Float[Tensor, "batch span width"],
        targets: Int[Tensor, "batch span"],
    ) -> Float[Tensor, "batch span vocab"]:
        """The logarithms of the mixture for the next span, given the model's; remembers the span."""
        all_states = states if self._states is None else torch.cat((self._states, states), dim=1)  # (B, K + S, W)
        followed = targets if self._followed is None else torch.cat((self._followed, targets), dim=1)
        num_kept, span = all_states.shape[1] - states.shape[1], states.shape[1]
        now = torch.arange(num_kept, num_kept + span, device=states.device)[:, None]
        then = torch.arange(num_kept + span, device=states.device)
        is_seen = (then < now) & (then >= now - self._num_tokens)  # (S, K + S)
        likeness = self._theta * (states @ all_states.mT)  # (B, S, K + S)
        shares = likeness.masked_fill(~is_seen, float("-inf")).softmax(-1)
        remembers = is_seen.any(-1)  # (S,): all but the first token of a row
        shares = torch.where(remembers[:, None], shares, 0.0)
        cached = torch.zeros_like(log_probabilities)
        cached.scatter_add_(2, followed[:, None, :].expand_as(shares), shares)
        own = log_probabilities + torch.where(remembers, log(1 - self._weight), 0.0)[:, None]
        self._states, self._followed = all_states[:, -self._num_tokens :], followed[:, -self._num_tokens :]
        return torch.logaddexp(own, cached.log() + log(self._weight))


class CachedScorer:
    """Scores as its model does, mixed with a cache of each row's last states."""

    def __init__(self, model: RecurrentModel, *, num_tokens: int, theta: float, weight: float) -> None:
        """`num_tokens` is at most half the model's context, less one."""
        assert num_tokens < model.context_tokens // 2
        self._model, self._num_tokens, self._theta, self._weight = model, num_tokens, theta, weight

    @property
    def context_tokens(self) -> int:
        """The longest row that `score` takes."""
        return self._model.context_tokens

    def score(self, token_ids: Int[Tensor, "batch seq"]) -> TokenScores:
        """Scores positions 1..T-1 of each row under the mixture.

        Raises:
            ValueError: a sequence shorter than two tokens, or longer than `context_tokens`.
        """
        cache = ContinuousCache(num_tokens=self._num_tokens, theta=self._theta, weight=self._weight)
        return self._model.score(token_ids, cache=cache)
