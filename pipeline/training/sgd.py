"""Plain gradient descent at one rate for all parameters: w -= rate (gradient + decay w). Its average is in averaging.py."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from pipeline.training.distributed import ALONE, Alone

if TYPE_CHECKING:
    from jaxtyping import Bool


class Sgd:
    """Keeps nothing from step to step; each process updates what it holds of a parameter."""

    def __init__(self, network: nn.Module, *, learning_rate: float, weight_decay: float, ranks: Alone = ALONE) -> None:
        self._parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
        self._rate, self._weight_decay, self._ranks = learning_rate, weight_decay, ranks

    @torch.no_grad()
    def step(self, scale: float, allowed: Bool[Tensor, ""] | None = None) -> None:
        """One update with the rate times `scale`; where `allowed` is False, nothing changes, not even by NaN."""
        for parameter in self._parameters:
            assert parameter.grad is not None, "every parameter takes part in the loss"
            weights = self._ranks.own(parameter).data
            moved = weights - scale * self._rate * self._ranks.own(parameter.grad).add(
                weights, alpha=self._weight_decay
            )
            weights.copy_(moved if allowed is None else torch.where(allowed, moved, weights))

    def state(self) -> dict[str, Tensor]:
        """Nothing: the next step depends on the weights alone."""
        return {}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """The inverse of `state`."""
