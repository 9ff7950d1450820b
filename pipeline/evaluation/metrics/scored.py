"""A metric over many texts, whole or resampled: confidence intervals and paired differences.

In: statistics of each text. Out: the metric of them all, of any draw of them, and the difference of two systems.

- The texts are drawn again with replacement (Koehn 2004; Efron and Tibshirani 1993); a draw is a count of every text. Texts that
  hang together, such as the turns of a conversation, are drawn together (Davison and Hinkley 1997, section 3.8): drawn one by one
  they would be taken for more evidence than they are.
- A statistic of sets, such as distinct n-grams, is smaller in every draw than in the whole, since a text drawn twice brings
  nothing new. So intervals are percentiles of the draws less their mean, laid around the value itself; and two systems are told
  apart by draws that are laid around their difference, since the more varied of them shrinks more.
- The seed is the caller's: the same comparison always gives the same figures.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

Array = np.ndarray[Any, Any]
NUM_RESAMPLES = 1_000
MAX_DRAWN = 2**22
"""Counts drawn at once: 32 MiB."""


class Scored(Protocol):
    """Texts measured by one metric."""

    @property
    def num_texts(self) -> int: ...

    @property
    def shrinks(self) -> bool:
        """Whether draws are smaller than the whole."""

    def under(self, counts: Array) -> Array:
        """float64 (R,): the metric where text n occurs `counts[r, n]` times; counts is (R, N)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Summed:
    """A metric of summed statistics: a mean, or a ratio such as BLEU's."""

    statistics: Array
    """float64 (N, S)"""
    combine: Callable[[Array], Array]
    """Sums (R, S) -> metric (R,)."""

    shrinks = False

    @property
    def num_texts(self) -> int:
        return len(self.statistics)

    def under(self, counts: Array) -> Array:
        return self.combine(counts @ self.statistics)


@dataclass(frozen=True, slots=True, kw_only=True)
class Distinct:
    """Distinct items over items: a metric of sets."""

    texts: Array
    """int64 (M,): which text an item is of."""
    items: Array
    """int64 (M,): which item it is."""
    num_texts: int

    shrinks = True

    def under(self, counts: Array) -> Array:
        sizes = counts @ np.bincount(self.texts, minlength=self.num_texts)
        num_items = int(self.items.max(initial=-1)) + 1
        distinct = [
            np.count_nonzero(np.bincount(self.items[row[self.texts] > 0], minlength=num_items)) for row in counts
        ]
        return _divided(np.array(distinct, dtype=np.float64), sizes.astype(np.float64))


def mean_of(values: Array) -> Summed:
    """The mean over texts, of one value (N,) each."""
    return ratio_of(values, np.ones(len(values)))


def ratio_of(numerators: Array, denominators: Array) -> Summed:
    """The sum of the ones over the sum of the others, such as bits per byte."""
    return Summed(
        statistics=np.stack([numerators, denominators], axis=1).astype(np.float64),
        combine=lambda sums: _divided(sums[:, 0], sums[:, 1]),
    )


def _divided(numerators: Array, denominators: Array) -> Array:
    return np.divide(numerators, denominators, out=np.zeros_like(numerators), where=denominators > 0)


def value_of(scored: Scored) -> float:
    """The metric of all texts."""
    return float(scored.under(np.ones((1, scored.num_texts), dtype=np.int64))[0])


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A value with the interval that holds 95 % of the draws."""

    value: float
    low: float
    high: float


def groups_of(names: Sequence[str | None]) -> Array | None:
    """int64 (N,): the number of each text's group, where None is a group of its own. None where no two texts share one, or all
    do: of one group nothing can be drawn.

    >>> groups_of(["a", None, "a"]).tolist()
    [0, 1, 0]
    """
    known: dict[str | int, int] = {}
    numbers = [known.setdefault(place if name is None else name, len(known)) for place, name in enumerate(names)]
    return np.array(numbers, dtype=np.int64) if 1 < len(known) < len(names) else None


def estimate(scored: Scored, *, seed: int, num_resamples: int = NUM_RESAMPLES, groups: Array | None = None) -> Estimate:
    """The metric and its 95 % interval; `groups` as in `draws`."""
    value = value_of(scored)
    drawn = np.concatenate([scored.under(counts) for counts in draws(scored.num_texts, num_resamples, seed, groups)])
    low, high = np.percentile(drawn - drawn.mean(), [2.5, 97.5])
    return Estimate(value=value, low=value + float(low), high=value + float(high))


@dataclass(frozen=True, slots=True, kw_only=True)
class PairedDifference:
    """First minus second, on the same texts."""

    difference: float
    low: float
    high: float
    """The interval that holds 95 % of the draws."""
    confidence: float
    """Share of draws in which the first is larger; a draw in which both are equal counts half."""


def paired_difference(
    first: Scored, second: Scored, *, seed: int, num_resamples: int = NUM_RESAMPLES, groups: Array | None = None
) -> PairedDifference:
    """How far two systems are apart, every draw being the same texts for both; `groups` as in `draws`.

    Raises:
        ValueError: they were measured on different numbers of texts.
    """
    if first.num_texts != second.num_texts:
        raise ValueError(f"{first.num_texts} and {second.num_texts} texts; a paired comparison needs the same ones")
    value = value_of(first) - value_of(second)
    drawn = np.concatenate(
        [first.under(counts) - second.under(counts) for counts in draws(first.num_texts, num_resamples, seed, groups)]
    )
    low, high = np.percentile(drawn - drawn.mean(), [2.5, 97.5])
    compared = drawn + (value - drawn.mean()) if first.shrinks else drawn
    confidence = float((compared > 0).mean() + (compared == 0).mean() / 2)
    return PairedDifference(difference=value, low=value + float(low), high=value + float(high), confidence=confidence)


def draws(num_texts: int, num_resamples: int, seed: int, groups: Array | None = None) -> Iterator[Array]:
    """int64 (R, N) at a time: how often each text was drawn. `groups` (N,), numbers from 0, are drawn as wholes."""
    rng = np.random.default_rng(seed)
    step = max(1, MAX_DRAWN // num_texts)
    num_drawn = num_texts if groups is None else int(groups.max()) + 1
    even = np.full(num_drawn, 1 / num_drawn)
    for first in range(0, num_resamples, step):
        counts = rng.multinomial(num_drawn, even, size=min(step, num_resamples - first))
        yield counts if groups is None else counts[:, groups]
