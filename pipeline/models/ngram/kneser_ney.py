"""Interpolated modified Kneser-Ney smoothing (Chen & Goodman 1998, TR-10-98; Heafield et al. 2013, as KenLM's lmplz).

    p(w | h) = (c(hw) - D(c(hw))) / sum_v c(hv)  +  gamma(h) p(w | h without its first word)
    gamma(h) = sum_i D_i N_i(h) / sum_v c(hv)

c is the count at the highest order. Below it is the number of distinct words that precede the n-gram, except where it
begins with BOS, which nothing precedes: there it is the count. D_1, D_2, D_3+ follow from the numbers t_1..t_4 of n-grams seen
once to four times. Unigrams are interpolated with the uniform distribution over everything that can be predicted.

A pruned n-gram keeps its part in the sums and loses its own share, which gamma(h) hands to the lower order: what is left is
a model of the same counts whose probabilities still sum to one (lmplz --prune).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.models.ngram.counting import OrderCounts

if TYPE_CHECKING:
    from jaxtyping import Float

Array = np.ndarray[Any, Any]
FALLBACK_DISCOUNTS = (0.5, 1.0, 1.5)
"""Where the counts of counts give none, as lmplz --discount_fallback takes them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderProbabilities:
    """What estimation adds to the n-grams of one order."""

    log_probabilities: Float[Array, " ngrams"]
    """Natural logarithms, float64; minus infinity for what is never predicted."""
    log_backoffs: Float[Array, " ngrams"]
    """Natural logarithm of gamma of the n-gram as a context; 0 where nothing follows it."""
    keeps: Array
    """bool: the n-gram was not pruned."""
    discounts: tuple[float, float, float]
    is_fallback: bool


def modified_discounts(counts: Array) -> tuple[tuple[float, float, float], bool]:
    """D_1, D_2, D_3+ of some counts, and whether they are the fallback.

    D_k = k - (k + 1) Y t_(k+1) / t_k with Y = t_1 / (t_1 + 2 t_2), Chen & Goodman's equation 26.
    """
    seen = [int((counts == number).sum()) for number in range(1, 5)]
    if not all(seen):
        return FALLBACK_DISCOUNTS, True
    scale = seen[0] / (seen[0] + 2 * seen[1])
    first, second, third = (k - (k + 1) * scale * seen[k] / seen[k - 1] for k in (1, 2, 3))
    if not (0 <= first <= 1 and 0 <= second <= 2 and 0 <= third <= 3):
        return FALLBACK_DISCOUNTS, True
    return (first, second, third), False


def estimate(
    orders: list[OrderCounts], *, never_predicted: Iterable[int], prune: Sequence[int] = (0,)
) -> list[OrderProbabilities]:
    """Probabilities and back-off weights of every order.

    `never_predicted` are ids that take no probability: BOS and padding. `prune` says for orders 1, 2, ... up to which count
    n-grams are taken out; its last value holds for all orders beyond. It begins with 0 and does not fall, so that a context
    is never pruned before its followers.
    """
    estimated: list[OrderProbabilities] = []
    num_words = orders[0].words.size
    can_be = np.ones(num_words, dtype=bool)
    can_be[list(never_predicted)] = False
    lower = can_be / can_be.sum()  # the uniform distribution
    contexts: list[Array] = []
    for counted, longer in zip(orders, [*orders[1:], None], strict=True):
        counts = counted.counts if longer is None else _adjusted(counted, longer)
        if counted.order == 1:
            counts = np.where(can_be, counts, 0)
        discounts, is_fallback = modified_discounts(counts)
        num_contexts = 1 if counted.order == 1 else orders[counted.order - 2].words.size
        classes = np.minimum(counts, 3)
        keeps = (
            counted.counts > prune[min(counted.order, len(prune)) - 1] if counted.order > 1 else np.ones_like(can_be)
        )
        discounted = np.maximum(counts - np.array([0.0, *discounts])[classes], 0.0) * keeps
        totals = np.bincount(counted.prefixes, weights=counts, minlength=num_contexts)
        kept = np.bincount(counted.prefixes, weights=discounted, minlength=num_contexts)
        with np.errstate(invalid="ignore", divide="ignore"):
            gammas = np.where(totals > 0, (totals - kept) / totals, 1.0)
            shares = np.where(totals[counted.prefixes] > 0, discounted / totals[counted.prefixes], 0.0)
            probabilities = (
                shares + gammas[counted.prefixes] * lower[counted.suffixes if counted.order > 1 else counted.words]
            )
            estimated.append(
                OrderProbabilities(
                    log_probabilities=np.log(probabilities),
                    log_backoffs=np.zeros(counted.words.size),
                    keeps=keeps,
                    discounts=discounts,
                    is_fallback=is_fallback,
                )
            )
            contexts.append(np.log(gammas))
        lower = probabilities
    for order, log_gammas in enumerate(contexts[1:]):
        estimated[order].log_backoffs[:] = log_gammas
    return estimated


def _adjusted(counted: OrderCounts, longer: OrderCounts) -> Array:
    """How many distinct words precede each n-gram, and its count where none can."""
    preceding = np.bincount(longer.suffixes, minlength=counted.words.size)
    return np.where(counted.opens, counted.counts, preceding)
