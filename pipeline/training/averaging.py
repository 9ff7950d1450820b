"""Averages of the weights, evaluated and saved in their place (Polyak & Juditsky 1992): by which share each step enters them.

After step t, average += share (weights - average).

| average | share |
|---|---|
| exponential, of `ema_decay` | 1 - min(decay, (1 + t) / (10 + t)): the random weights of the beginning are soon forgotten |
| triggered, of `averaged_sgd` | 1 up to step T of the trigger, then 1 / (t - T + 1): the mean of those after steps T to t |

The trigger is that of NT-ASGD (Merity et al. 2017, arXiv 1708.02182, algorithm 1, as its authors' program has it): the first
validation whose loss is above the best of all before it but the last n. It depends on the history of the run alone, which is in
every checkpoint.

Weights and averages are exchanged in place, since a compiled step knows where its weights lie; whatever saves the state takes
the exchange back first.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from pipeline.training.spec import TrainingSpec

_PREFIX = "average."


class Shares(Protocol):
    """By which share a step's weights enter the average."""

    def of(self, step: int) -> float:
        """Of the weights after step `step`, counted from 1."""

    def look_at(self, history: Sequence[Mapping[str, Any]]) -> None:
        """Takes note of the steps so far and their validations."""


class Exponential:
    """An exponential moving average."""

    def __init__(self, decay: float) -> None:
        self._decay = decay

    def of(self, step: int) -> float:
        return 1 - min(self._decay, (1 + step) / (10 + step))

    def look_at(self, history: Sequence[Mapping[str, Any]]) -> None:
        """Validations change nothing."""


class Triggered:
    """The mean since validation stopped improving, and the weights themselves before."""

    def __init__(self, patience: int) -> None:
        self._patience = patience
        self.began_at: int | None = None

    def of(self, step: int) -> float:
        return 1.0 if self.began_at is None else 1 / (step - self.began_at + 1)

    def look_at(self, history: Sequence[Mapping[str, Any]]) -> None:
        """Sees whether averaging has begun; the same history always gives the same answer."""
        self.began_at = averaging_begins(history, patience=self._patience)


def averaging_begins(history: Sequence[Mapping[str, Any]], *, patience: int) -> int | None:
    """The step of the first validation whose loss is above the best of all before it but the last `patience`, or None.

    >>> losses = [3.0, 2.0, 2.5, None, 2.2, 2.1]
    >>> averaging_begins([{"step": n, "validation_loss": loss} for n, loss in enumerate(losses)], patience=2)
    4
    """
    losses: list[float] = []
    for row in history:
        loss = row["validation_loss"]
        if loss is None:
            continue
        if len(losses) > patience and loss > min(losses[:-patience]):
            step: int = row["step"]
            return step
        losses.append(loss)
    return None


class WeightAverage:
    """The average of every parameter that is trained."""

    def __init__(self, weights: Mapping[str, Tensor], *, shares: Shares) -> None:
        """Of these tensors, the network's own memory, beginning as they are now."""
        self.shares, self._is_in_place = shares, False
        self._names, self._weights = list(weights), list(weights.values())
        self._average = [weights.clone() for weights in self._weights]

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Takes in the weights after step `step`, counted from 1."""
        assert not self._is_in_place
        torch._foreach_lerp_(self._average, self._weights, self.shares.of(step))

    def put_in_place(self) -> None:
        """The network has the averages for weights, until `take_back`."""
        if not self._is_in_place:
            self._exchange()

    def take_back(self) -> None:
        """The network has its own weights again."""
        if self._is_in_place:
            self._exchange()

    @torch.no_grad()
    def _exchange(self) -> None:
        kept = [weights.clone() for weights in self._weights]
        torch._foreach_copy_(self._weights, self._average)
        torch._foreach_copy_(self._average, kept)
        self._is_in_place = not self._is_in_place

    def state(self) -> dict[str, Tensor]:
        """Every tensor that later averages depend on; the network must have its own weights."""
        assert not self._is_in_place
        return {_PREFIX + name: average for name, average in zip(self._names, self._average, strict=True)}

    @torch.no_grad()
    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """The inverse of `state`."""
        for name, average in zip(self._names, self._average, strict=True):
            average.copy_(state[_PREFIX + name])


def average_of(spec: TrainingSpec, weights: Mapping[str, Tensor]) -> WeightAverage | None:
    """The average that a run evaluates and saves, if it has one."""
    if spec.averaged_sgd is not None:
        return WeightAverage(weights, shares=Triggered(spec.averaged_sgd["patience"]))
    return None if spec.ema_decay is None else WeightAverage(weights, shares=Exponential(spec.ema_decay))
