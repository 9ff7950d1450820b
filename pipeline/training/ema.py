"""An exponential moving average of the weights, evaluated and saved in their place (Polyak & Juditsky 1992).

After step t, average += (1 - d) (weights - average) with d = min(decay, (1 + t) / (10 + t)): early on the average follows the
weights closely, so that random ones are forgotten. The two are exchanged in place, since a compiled step knows where its weights
lie; whatever saves the state takes the exchange back first.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

_PREFIX = "average."


class WeightAverage:
    """The average of every parameter that is trained."""

    def __init__(self, weights: Mapping[str, Tensor], *, decay: float) -> None:
        """Of these tensors, the network's own memory, beginning as they are now."""
        self._decay, self._is_in_place = decay, False
        self._names, self._weights = list(weights), list(weights.values())
        self._average = [weights.clone() for weights in self._weights]

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Takes in the weights after step `step`, counted from 1."""
        assert not self._is_in_place
        decay = min(self._decay, (1 + step) / (10 + step))
        torch._foreach_lerp_(self._average, self._weights, 1 - decay)

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
