"""Interpolated modified Kneser-Ney smoothing (Chen & Goodman 1998, TR-10-98; Heafield et al. 2013, as KenLM's lmplz).

    p(w | h) = (c(hw) - D(c(hw))) / sum_v c(hv)  +  gamma(h) p(w | h without its first word)
    gamma(h) = sum_i D_i N_i(h) / sum_v c(hv)

c is the count at the highest order. Below it is the number of distinct words that precede the n-gram, except where it
begins with BOS, which nothing precedes: there it is the count. D_1, D_2, D_3+ follow from the numbers t_1..t_4 of n-grams seen
once to four times. Unigrams are interpolated with the uniform distribution over everything that can be predicted.

A pruned n-gram keeps its part in the sums and loses its own share, which gamma(h) hands to the lower order: what is left is
a model of the same counts whose probabilities still sum to one (lmplz --prune).

Everything goes block by block, whole contexts at a time: beside the arrays of the results, one block is in memory.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.models.ngram.counting import OrderCounts
from pipeline.models.ngram.scratch import NewArray

if TYPE_CHECKING:
    from jaxtyping import Float

Array = np.ndarray[Any, Any]
FALLBACK_DISCOUNTS = (0.5, 1.0, 1.5)
"""Where the counts of counts give none, as lmplz --discount_fallback takes them."""
ESTIMATED_BYTES = 33
"""What the arrays of the results take for each n-gram while they are made."""
_BLOCK_NGRAMS = 1 << 18


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


def modified_discounts(seen: Sequence[int]) -> tuple[tuple[float, float, float], bool]:
    """D_1, D_2, D_3+ given how many n-grams have the counts 1, 2, 3 and 4, and whether they are the fallback.

    D_k = k - (k + 1) Y t_(k+1) / t_k with Y = t_1 / (t_1 + 2 t_2), Chen & Goodman's equation 26. t_4 stands in no divisor: where
    it is 0, D_3+ is 3, as lmplz has it.
    """
    if not all(seen[:3]):
        return FALLBACK_DISCOUNTS, True
    scale = seen[0] / (seen[0] + 2 * seen[1])
    first, second, third = (k - (k + 1) * scale * seen[k] / seen[k - 1] for k in (1, 2, 3))
    if not (0 < first <= 1 and 0 < second <= 2 and 0 < third <= 3):  # without a discount nothing is left for the unseen
        return FALLBACK_DISCOUNTS, True
    return (first, second, third), False


def estimate(
    orders: list[OrderCounts],
    *,
    never_predicted: Iterable[int],
    prune: Sequence[int] = (0,),
    new: NewArray = np.empty,
) -> list[OrderProbabilities]:
    """Probabilities and back-off weights of every order.

    `never_predicted` are ids that take no probability: BOS and padding. `prune` says for orders 1, 2, ... up to which count
    n-grams are taken out; its last value holds for all orders beyond. It begins with 0 and does not fall, so that a context
    is never pruned before its followers. `new` makes the arrays of the results.
    """
    estimated: list[OrderProbabilities] = []
    can_be = np.ones(orders[0].words.size, dtype=bool)
    can_be[list(never_predicted)] = False
    lower = can_be / can_be.sum()  # the uniform distribution
    for counted, longer in zip(orders, [*orders[1:], None], strict=True):
        counts = counted.counts if longer is None else _adjusted(counted, longer, new)
        if counted.order == 1:
            counts = np.where(can_be, counts, 0)
        limit = prune[min(counted.order, len(prune)) - 1] if counted.order > 1 else -1
        discounts, is_fallback = modified_discounts(_counts_of_counts(counts))
        size = counted.words.size
        found = OrderProbabilities(
            log_probabilities=new(size, np.float64),
            log_backoffs=new(size, np.float64),
            keeps=new(size, np.bool_),
            discounts=discounts,
            is_fallback=is_fallback,
        )
        found.log_backoffs[:] = 0.0
        probabilities = new(size, np.float64)
        for part, contexts in _blocks(counted.prefixes):
            block = counts[part]
            keeps = counted.counts[part] > limit
            prefixes = counted.prefixes[part] - contexts.start
            discounted = np.maximum(block - np.array([0.0, *discounts])[np.minimum(block, 3)], 0.0) * keeps
            totals = np.bincount(prefixes, weights=block)
            kept = np.bincount(prefixes, weights=discounted)
            with np.errstate(invalid="ignore", divide="ignore"):
                gammas = np.where(totals > 0, (totals - kept) / totals, 1.0)
                shares = np.where(totals[prefixes] > 0, discounted / totals[prefixes], 0.0)
                suffixes = (counted.suffixes if counted.order > 1 else counted.words)[part]
                probabilities[part] = shares + gammas[prefixes] * lower[suffixes]
                found.log_probabilities[part] = np.log(probabilities[part])
                if counted.order > 1:
                    estimated[-1].log_backoffs[contexts] = np.log(gammas)
            found.keeps[part] = keeps
        estimated.append(found)
        lower = probabilities
    return estimated


def _blocks(prefixes: Array) -> Iterator[tuple[slice, slice]]:
    """Parts of the n-grams that end where a context does, and the contexts from their first to their last."""
    begin = 0
    while begin < prefixes.size:
        last = prefixes[min(begin + _BLOCK_NGRAMS, prefixes.size) - 1]
        end = int(np.searchsorted(prefixes, last, side="right"))
        yield slice(begin, end), slice(int(prefixes[begin]), int(last) + 1)
        begin = end


def _adjusted(counted: OrderCounts, longer: OrderCounts, new: NewArray) -> Array:
    """How many distinct words precede each n-gram, and its count where none can."""
    adjusted = new(counted.words.size, np.int64)
    adjusted[:] = 0
    for begin in range(0, longer.suffixes.size, _BLOCK_NGRAMS):
        np.add.at(adjusted, longer.suffixes[begin : begin + _BLOCK_NGRAMS], 1)
    np.copyto(adjusted, counted.counts, where=counted.opens)
    return adjusted


def _counts_of_counts(counts: Array) -> list[int]:
    """How many are 1, 2, 3 and 4."""
    seen = np.zeros(6, dtype=np.int64)
    for begin in range(0, counts.size, _BLOCK_NGRAMS):
        seen += np.bincount(np.minimum(counts[begin : begin + _BLOCK_NGRAMS], 5), minlength=6)
    return [int(number) for number in seen[1:5]]
