"""What predictions are worth, token by token: the probability of what came, how many were likelier, and the likeliest one's."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from pipeline.models.interface import TokenScores

if TYPE_CHECKING:
    from jaxtyping import Float, Int

_TOKENS = 256
"""Their probabilities, a vocabulary each, stay in a processor's caches from one operation to the next."""


def score_states(
    logits_of: Callable[[Tensor], Tensor],
    states: Float[Tensor, "batch seq width"],
    targets: Int[Tensor, "batch seq"],
) -> TokenScores:
    """Scores the token that follows each place; `logits_of` is the network's head."""
    parts = [
        score_logarithms(logits_of(state).log_softmax(-1), target)
        for state, target in zip(
            torch.split(states.flatten(0, 1), _TOKENS), torch.split(targets.flatten(), _TOKENS), strict=True
        )
    ]
    flat = joined(parts, dim=0)
    return TokenScores(
        log_probabilities=flat.log_probabilities.view(targets.shape),
        ranks=flat.ranks.view(targets.shape),
        confidences=flat.confidences.view(targets.shape),
    )


def score_logarithms(log_probabilities: Float[Tensor, "*places vocab"], targets: Int[Tensor, "*places"]) -> TokenScores:
    """Scores tokens whose distributions are given, as natural logarithms."""
    chosen = log_probabilities.gather(-1, targets[..., None])
    return TokenScores(
        log_probabilities=chosen.squeeze(-1),
        ranks=(log_probabilities > chosen).sum(-1),
        confidences=log_probabilities.amax(-1).exp(),
    )


def joined(parts: list[TokenScores], *, dim: int) -> TokenScores:
    """Scores one behind the other."""
    return TokenScores(
        log_probabilities=torch.cat([part.log_probabilities for part in parts], dim=dim),
        ranks=torch.cat([part.ranks for part in parts], dim=dim),
        confidences=torch.cat([part.confidences for part in parts], dim=dim),
    )
